from itertools import chain, pairwise
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func
from torch.autograd.functional import hessian, jacobian, jvp

from dynamoe_search.models import dense_experts, dispatch, sorted_experts

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def draw(tokens: int, experts: int, width: int, hidden: int, dtype: torch.dtype, seed: int):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    chosen = torch.rand(tokens, experts, generator=generator) < 0.4
    if tokens:
        chosen[:, 0] |= ~chosen.any(dim=1)
    weights = normal(tokens, experts).abs() * chosen
    leaves = [
        normal(tokens, width),
        weights,
        normal(experts, width, hidden) / width**0.5,
        normal(experts, hidden, width) / hidden**0.5,
    ]
    return chosen, [leaf.requires_grad_() for leaf in leaves], normal(tokens, width)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0, 1_000, 2**20]),
    st.integers(0, 10_000),
)
def test_sorted_equals_dense_forward_and_backward(
    tokens: int,
    experts: int,
    width: int,
    hidden: int,
    dtype: torch.dtype,
    block_bytes: int,
    seed: int,
) -> None:
    chosen, leaves, incoming = draw(tokens, experts, width, hidden, dtype, seed)
    x, weights, w_in, w_out = leaves
    tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}

    dense = dense_experts(x, weights, w_in, w_out)
    with patch.object(dispatch, "_BLOCK_BYTES", block_bytes):
        sparse = sorted_experts(x, chosen, weights, w_in, w_out)
    torch.testing.assert_close(sparse, dense, **tolerance)

    dense_gradients = torch.autograd.grad(dense, leaves, incoming)
    sparse_gradients = torch.autograd.grad(sparse, leaves, incoming)
    for index, (of_sparse, of_dense) in enumerate(
        zip(sparse_gradients, dense_gradients, strict=True)
    ):
        # The dense path also differentiates weights that are 0 because no token chose the expert.
        expected = of_dense * chosen if index == 1 else of_dense
        torch.testing.assert_close(of_sparse, expected, **tolerance)


def test_dense_is_what_the_formula_says() -> None:
    _, (x, weights, w_in, w_out), _ = draw(7, 3, 4, 5, torch.float64, 0)
    expected = torch.zeros(7, 4, dtype=torch.float64)
    for token in range(7):
        for expert in range(3):
            hidden = torch.clamp(x[token] @ w_in[expert], min=0)
            expected[token] += weights[token, expert] * (hidden @ w_out[expert])
    torch.testing.assert_close(dense_experts(x, weights, w_in, w_out), expected)


def test_gradients_against_finite_differences() -> None:
    chosen, leaves, _ = draw(6, 3, 4, 5, torch.float64, 1)

    def run(x, weights, w_in, w_out):
        return sorted_experts(x, chosen, weights * chosen, w_in, w_out)

    assert torch.autograd.gradcheck(run, tuple(leaves))


def test_second_derivatives_against_finite_differences() -> None:
    chosen, leaves, incoming = draw(6, 3, 4, 5, torch.float64, 1)

    def run(x, weights, w_in, w_out):
        return sorted_experts(x, chosen, weights * chosen, w_in, w_out)

    assert torch.autograd.gradgradcheck(run, tuple(leaves), incoming.requires_grad_())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(1, 5), st.sampled_from(range(4)), st.integers(0, 1000))
def test_second_derivatives_equal_those_of_the_dense_path(
    tokens: int, experts: int, of: int, seed: int
) -> None:
    """Also where the incoming gradient needs none, as in a gradient penalty."""
    chosen, leaves, incoming = draw(tokens, experts, 4, 6, torch.float64, seed)
    found = []
    for name in ("sorted", "dense"):
        output = outcome(name, chosen, [leaves[0], leaves[1] * chosen, *leaves[2:]])
        first = torch.autograd.grad(output, leaves[of], incoming, create_graph=True)[0]
        penalty = first.square().sum()
        second = torch.autograd.grad(penalty, leaves, create_graph=True, materialize_grads=True)
        third = torch.autograd.grad(
            sum(one.square().sum() for one in second), leaves, materialize_grads=True
        )
        found.append([first, *second, *third])
    for of_sorted, of_dense in zip(*found, strict=True):
        torch.testing.assert_close(of_sorted, of_dense, rtol=1e-9, atol=1e-9)


def squares(name: str):
    """A function of four tokens, and a sum of its squares, by a way to compute the experts."""
    chosen, leaves, incoming = draw(4, 3, 2, 5, torch.float64, 1)
    _, weights, w_in, w_out = (leaf.detach() for leaf in leaves)

    def layer(x: torch.Tensor) -> torch.Tensor:
        return outcome(name, chosen, [x, weights, w_in, w_out])

    return layer, lambda x: (layer(x) * incoming).square().sum()


@pytest.mark.parametrize("name", ["dense", "sorted"])
def test_derivatives_by_transforms_are_right(name: str) -> None:
    x = draw(4, 3, 2, 5, torch.float64, 1)[1][0].detach()
    layer, loss = squares(name)
    by_dense = squares("dense")
    first, second = jacobian(by_dense[0], x), hessian(by_dense[1], x)
    for found in (jacobian(layer, x), func.jacrev(layer)(x)):
        torch.testing.assert_close(found, first)
    torch.testing.assert_close(func.grad(loss)(x), jacobian(by_dense[1], x))
    for found in (hessian(loss, x), func.jacrev(func.jacrev(loss))(x)):
        torch.testing.assert_close(found, second)
    tangent = torch.ones_like(x)
    torch.testing.assert_close(jvp(layer, x, tangent)[1], (first * tangent).sum(dim=(2, 3)))


@pytest.mark.parametrize(
    "transform",
    [
        lambda layer, x: func.jvp(layer, (x,), (x,)),
        lambda layer, x: func.jacfwd(layer)(x),
        lambda layer, x: func.vmap(layer)(x[None]),
        lambda layer, x: jacobian(layer, x, vectorize=True),
    ],
)
def test_transforms_that_sorted_experts_lack_are_errors(transform) -> None:
    x = draw(4, 3, 2, 5, torch.float64, 1)[1][0].detach()
    transform(squares("dense")[0], x)
    with pytest.raises((RuntimeError, NotImplementedError)):
        transform(squares("sorted")[0], x)


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_expert_without_tokens_has_zero_gradient(empty: int) -> None:
    chosen, (x, weights, w_in, w_out), _ = draw(5, 3, 4, 6, torch.float32, 0)
    chosen = torch.ones_like(chosen)
    chosen[:, empty] = False
    sorted_experts(x, chosen, weights, w_in, w_out).sum().backward()
    assert w_in.grad is not None
    assert w_in.grad[empty].abs().sum() == 0
    assert w_out.grad is not None
    assert w_out.grad[empty].abs().sum() == 0
    assert all(w_in.grad[other].abs().sum() > 0 for other in range(3) if other != empty)


def test_gradients_of_expanded_outputs_are_taken() -> None:
    chosen, (x, weights, w_in, w_out), _ = draw(5, 3, 4, 6, torch.float64, 0)
    sparse = torch.autograd.grad(sorted_experts(x, chosen, weights, w_in, w_out).sum(), x)
    dense = torch.autograd.grad(dense_experts(x, weights, w_in, w_out).sum(), x)
    torch.testing.assert_close(sparse, dense)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 30))
def test_blocks_are_neighboring_experts_and_no_larger_than_they_must_be(
    group_sizes: list[int], most: int
) -> None:
    blocks = dispatch._blocks(group_sizes, most)
    sizes = [group_sizes[experts] for _, experts in blocks]
    assert list(chain(*sizes)) == group_sizes
    end = 0
    for (rows, _), of_block in zip(blocks, sizes, strict=True):
        assert (rows.start, rows.stop) == (end, end + sum(of_block))
        end = rows.stop
        assert sum(of_block) <= most or sum(size > 0 for size in of_block) == 1
    assert all(sum(of_block) + of_next[0] > most for of_block, of_next in pairwise(sizes))


def test_the_backward_pass_can_run_twice() -> None:
    chosen, leaves, incoming = draw(20, 3, 4, 6, torch.float32, 0)
    sparse = sorted_experts(leaves[0], chosen, *leaves[1:])
    first = torch.autograd.grad(sparse, leaves, incoming, retain_graph=True)
    second = torch.autograd.grad(sparse, leaves, incoming)
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.detach() - expected).norm() / expected.norm())


def draw_in_bfloat16(dtype: torch.dtype):
    """Leaves with bfloat16 values, so that rounding switches no ReLU."""
    chosen, leaves, incoming = draw(300, 5, 32, 48, torch.float32, 3)
    rounded = [leaf.detach().bfloat16().to(dtype).requires_grad_() for leaf in leaves]
    return chosen, rounded, incoming.bfloat16().to(dtype)


def outcome(name: str, chosen: torch.Tensor, leaves: list[torch.Tensor]) -> torch.Tensor:
    if name == "dense":
        return dense_experts(*leaves)
    return sorted_experts(leaves[0], chosen, *leaves[1:])


def expected_outcome() -> list[torch.Tensor]:
    chosen, leaves, incoming = draw_in_bfloat16(torch.float64)
    output = dense_experts(*leaves)
    gradients = list(torch.autograd.grad(output, leaves, incoming))
    gradients[1] *= chosen
    return [output.detach(), *gradients]


@pytest.mark.parametrize("backward_too", [False, True])
@pytest.mark.parametrize("name", ["sorted", "dense"])
def test_autocast_takes_products_in_bfloat16_and_leaves_the_rest(
    name: str, backward_too: bool
) -> None:
    chosen, leaves, incoming = draw_in_bfloat16(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = outcome(name, chosen, leaves)
    with torch.autocast("cpu", torch.bfloat16, enabled=backward_too):
        gradients = list(torch.autograd.grad(output, leaves, incoming))
    gradients[1] = gradients[1] * chosen
    for found, expected in zip([output, *gradients], expected_outcome(), strict=True):
        assert found.dtype == torch.float32
        # Rounded to eight bits, and not computed in float32 after all.
        assert 1e-4 < relative_error(found, expected) < 1e-2


@pytest.mark.parametrize("name", ["sorted", "dense"])
def test_bfloat16_throughout(name: str) -> None:
    chosen, leaves, incoming = draw_in_bfloat16(torch.bfloat16)
    output = outcome(name, chosen, leaves)
    gradients = list(torch.autograd.grad(output, leaves, incoming))
    gradients[1] = gradients[1] * chosen
    for found, expected in zip([output, *gradients], expected_outcome(), strict=True):
        assert found.dtype == torch.bfloat16
        assert relative_error(found, expected) < 1e-2


def test_autocast_leaves_float64_alone() -> None:
    chosen, leaves, _ = draw(20, 3, 4, 6, torch.float64, 0)
    with torch.autocast("cpu", torch.bfloat16):
        sparse = sorted_experts(leaves[0], chosen, *leaves[1:])
    torch.testing.assert_close(sparse, dense_experts(*leaves), atol=1e-10, rtol=1e-10)


def test_a_token_of_many_experts_is_summed_in_float32() -> None:
    ones = [torch.ones(*shape, requires_grad=True) for shape in ((1, 1), (1, 300), (300, 1, 1))]
    x, weights, matrices = ones
    with torch.autocast("cpu", torch.bfloat16):
        output = sorted_experts(x, weights > 0, weights, matrices, matrices)
    # In bfloat16 the sum would stop at 256, where adding 1 changes nothing.
    assert output.item() == 300
    assert torch.autograd.grad(output, x)[0].item() == 300
