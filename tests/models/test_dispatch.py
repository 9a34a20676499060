from itertools import chain, pairwise, product
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import func
from torch.autograd.functional import hessian, jacobian, jvp

from dynamoe_search.models import dispatch, masked_experts, sorted_experts
from dynamoe_search.models.activation import inner_width
from dynamoe_search.models.dispatch import prefers_masked
from dynamoe_search.specification import Style

STYLES: list[Style] = ["paper", "modern"]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def draw(
    tokens: int,
    experts: int,
    width: int,
    hidden: int,
    dtype: torch.dtype,
    seed: int,
    networks: int = 1,
    style: Style = "paper",
):
    """Choices in uneven groups, of which some are empty; weights, matrices and a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(networks, *shape, generator=generator, dtype=dtype)

    # How many tokens choose an expert differs by expert and network, and can be 0.
    popular = torch.rand(networks, 1, experts, generator=generator) - 0.2
    chosen = torch.rand(networks, tokens, experts, generator=generator) < popular
    chosen[..., 0] |= ~chosen.any(dim=-1)
    leaves = [
        normal(tokens, width),
        normal(tokens, experts).abs() * chosen,
        normal(experts, inner_width(hidden, style), width) / width**0.5,
        normal(experts, hidden, width) / hidden**0.5,
    ]
    return chosen, [leaf.requires_grad_() for leaf in leaves], normal(tokens, width)


@settings(max_examples=80)
@given(
    st.sampled_from([1, 3]),
    st.integers(0, 40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0, 1_000, 2**20]),
    st.sampled_from(STYLES),
    st.integers(0, 10_000),
)
def test_sorted_equals_masked_forward_and_backward(
    networks: int,
    tokens: int,
    experts: int,
    width: int,
    hidden: int,
    dtype: torch.dtype,
    block_bytes: int,
    style: Style,
    seed: int,
) -> None:
    chosen, leaves, incoming = draw(tokens, experts, width, hidden, dtype, seed, networks, style)
    x, weights, w_in, w_out = leaves
    tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}

    masked = masked_experts(x, weights, w_in, w_out, style)
    with patch.object(dispatch, "_BLOCK_BYTES", block_bytes):
        sparse = sorted_experts(x, chosen, weights, w_in, w_out, style)
    torch.testing.assert_close(sparse, masked, **tolerance)

    masked_gradients = torch.autograd.grad(masked, leaves, incoming)
    sparse_gradients = torch.autograd.grad(sparse, leaves, incoming)
    for index, (of_sparse, of_masked) in enumerate(
        zip(sparse_gradients, masked_gradients, strict=True)
    ):
        # The masked path also differentiates weights that are 0 because no token chose the expert.
        expected = of_masked * chosen if index == 1 else of_masked
        torch.testing.assert_close(of_sparse, expected, **tolerance)


def by_hand(
    x: torch.Tensor,
    chosen: torch.Tensor,
    weights: torch.Tensor,
    w_in: torch.Tensor,
    w_out: torch.Tensor,
    style: Style,
) -> torch.Tensor:
    """The formula, network by network, token by token and expert by expert."""
    networks, tokens, experts = chosen.shape
    rows = []
    for network, token in product(range(networks), range(tokens)):
        row = torch.zeros_like(x[network, token])
        for expert in range(experts):
            if chosen[network, token, expert]:
                hidden = w_in[network, expert] @ x[network, token]
                if style == "paper":
                    hidden = torch.clamp(hidden, min=0)
                else:
                    gate, up = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
                    hidden = gate / (1 + torch.exp(-gate)) * up
                row = row + weights[network, token, expert] * (hidden @ w_out[network, expert])
        rows.append(row)
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("name", ["masked", "sorted"])
@pytest.mark.parametrize("style", STYLES)
def test_the_experts_and_their_gradients_are_what_the_formula_says(
    name: str, networks: int, style: Style
) -> None:
    chosen, leaves, incoming = draw(7, 4, 3, 5, torch.float64, 0, networks, style)
    chosen[:, :, 2] = False  # of a group that is empty in all networks
    leaves[1] = (leaves[1].detach() * chosen).requires_grad_()
    sizes = chosen.sum(dim=1).flatten().tolist()
    assert len(set(sizes)) > 2
    output = outcome(name, chosen, leaves, style)
    expected = by_hand(leaves[0], chosen, *leaves[1:], style)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-12)
    found = list(torch.autograd.grad(output, leaves, incoming))
    found[1] = found[1] * chosen
    for one, exact in zip(found, torch.autograd.grad(expected, leaves, incoming), strict=True):
        torch.testing.assert_close(one, exact, atol=1e-12, rtol=1e-12)


@given(
    seeds=st.integers(1, 32),
    tokens=st.integers(0, 5000),
    width=st.integers(1, 256),
    hidden=st.integers(1, 512),
    experts=st.integers(1, 64),
    active=st.floats(1, 64),
)
def test_the_masked_path_is_for_few_tokens_and_small_experts(
    seeds: int, tokens: int, width: int, hidden: int, experts: int, active: float
) -> None:
    """Where it is preferred, it also is with less to compute in vain."""
    active = min(active, experts)
    if prefers_masked(seeds, tokens, width, hidden, experts, active):
        assert prefers_masked(seeds, tokens, width, max(1, hidden // 2), experts, active)
        assert prefers_masked(seeds, tokens // 2, width, hidden, experts, active)
        assert prefers_masked(max(1, seeds // 2), tokens, width, hidden, experts, active)
    assert prefers_masked(1, 1024, width, 64, 2, 2)  # nothing is in vain
    assert not prefers_masked(seeds, 10**9, width, 64, experts + 4, 1)


@pytest.mark.parametrize("style", STYLES)
def test_gradients_against_finite_differences(style: Style) -> None:
    chosen, leaves, _ = draw(6, 3, 4, 5, torch.float64, 1, style=style)

    def run(x, weights, w_in, w_out):
        return sorted_experts(x, chosen, weights * chosen, w_in, w_out, style)

    assert torch.autograd.gradcheck(run, tuple(leaves))


@pytest.mark.parametrize("style", STYLES)
def test_second_derivatives_against_finite_differences(style: Style) -> None:
    chosen, leaves, incoming = draw(6, 3, 4, 5, torch.float64, 1, style=style)

    def run(x, weights, w_in, w_out):
        return sorted_experts(x, chosen, weights * chosen, w_in, w_out, style)

    assert torch.autograd.gradgradcheck(run, tuple(leaves), incoming.requires_grad_())


@settings(max_examples=40)
@given(
    st.integers(0, 20),
    st.integers(1, 5),
    st.sampled_from(range(4)),
    st.sampled_from(STYLES),
    st.integers(0, 1000),
)
def test_second_derivatives_equal_those_of_the_masked_path(
    tokens: int, experts: int, of: int, style: Style, seed: int
) -> None:
    """Also where the incoming gradient needs none, as in a gradient penalty."""
    chosen, leaves, incoming = draw(tokens, experts, 4, 6, torch.float64, seed, style=style)
    found = []
    for name in ("sorted", "masked"):
        output = outcome(name, chosen, [leaves[0], leaves[1] * chosen, *leaves[2:]], style)
        first = torch.autograd.grad(output, leaves[of], incoming, create_graph=True)[0]
        penalty = first.square().sum()
        second = torch.autograd.grad(penalty, leaves, create_graph=True, materialize_grads=True)
        third = torch.autograd.grad(
            sum(one.square().sum() for one in second), leaves, materialize_grads=True
        )
        found.append([first, *second, *third])
    for of_sorted, of_masked in zip(*found, strict=True):
        torch.testing.assert_close(of_sorted, of_masked, rtol=1e-9, atol=1e-9)


def squares(name: str):
    """A function of four tokens, and a sum of its squares, by a way to compute the experts."""
    chosen, leaves, incoming = draw(4, 3, 2, 5, torch.float64, 1)
    _, weights, w_in, w_out = (leaf.detach() for leaf in leaves)

    def layer(x: torch.Tensor) -> torch.Tensor:
        return outcome(name, chosen, [x, weights, w_in, w_out])

    return layer, lambda x: (layer(x) * incoming).square().sum()


@pytest.mark.parametrize("name", ["masked", "sorted"])
def test_derivatives_by_transforms_are_right(name: str) -> None:
    x = draw(4, 3, 2, 5, torch.float64, 1)[1][0].detach()
    layer, loss = squares(name)
    by_masked = squares("masked")
    first, second = jacobian(by_masked[0], x), hessian(by_masked[1], x)
    for found in (jacobian(layer, x), func.jacrev(layer)(x)):
        torch.testing.assert_close(found, first)
    torch.testing.assert_close(func.grad(loss)(x), jacobian(by_masked[1], x))
    for found in (hessian(loss, x), func.jacrev(func.jacrev(loss))(x)):
        torch.testing.assert_close(found, second)
    tangent = torch.ones_like(x)
    torch.testing.assert_close(jvp(layer, x, tangent)[1], (first * tangent).sum(dim=(3, 4, 5)))


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
    transform(squares("masked")[0], x)
    with pytest.raises((RuntimeError, NotImplementedError)):
        transform(squares("sorted")[0], x)


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_expert_without_tokens_has_zero_gradient(empty: int) -> None:
    chosen, (x, _, w_in, w_out), _ = draw(5, 3, 4, 6, torch.float32, 0)
    chosen = torch.ones_like(chosen)
    chosen[..., empty] = False
    weights = chosen.float().requires_grad_()
    sorted_experts(x, chosen, weights, w_in, w_out).sum().backward()
    assert w_in.grad is not None
    assert w_in.grad[0, empty].abs().sum() == 0
    assert w_out.grad is not None
    assert w_out.grad[0, empty].abs().sum() == 0
    assert all(w_in.grad[0, other].abs().sum() > 0 for other in range(3) if other != empty)


def test_gradients_of_expanded_outputs_are_taken() -> None:
    chosen, (x, weights, w_in, w_out), _ = draw(5, 3, 4, 6, torch.float64, 0)
    sparse = torch.autograd.grad(sorted_experts(x, chosen, weights, w_in, w_out).sum(), x)
    masked = torch.autograd.grad(masked_experts(x, weights, w_in, w_out).sum(), x)
    torch.testing.assert_close(sparse, masked)


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


def draw_in_bfloat16(dtype: torch.dtype, style: Style = "paper"):
    """Leaves with bfloat16 values, so that rounding switches no ReLU."""
    chosen, leaves, incoming = draw(300, 5, 32, 48, torch.float32, 3, style=style)
    rounded = [leaf.detach().bfloat16().to(dtype).requires_grad_() for leaf in leaves]
    return chosen, rounded, incoming.bfloat16().to(dtype)


def outcome(
    name: str, chosen: torch.Tensor, leaves: list[torch.Tensor], style: Style = "paper"
) -> torch.Tensor:
    if name == "masked":
        return masked_experts(*leaves, style)
    return sorted_experts(leaves[0], chosen, *leaves[1:], style)


def expected_outcome(style: Style = "paper") -> list[torch.Tensor]:
    chosen, leaves, incoming = draw_in_bfloat16(torch.float64, style)
    output = masked_experts(*leaves, style)
    gradients = list(torch.autograd.grad(output, leaves, incoming))
    gradients[1] *= chosen
    return [output.detach(), *gradients]


@pytest.mark.parametrize("backward_too", [False, True])
@pytest.mark.parametrize("name", ["sorted", "masked"])
@pytest.mark.parametrize("style", STYLES)
def test_autocast_takes_products_in_bfloat16_and_leaves_the_rest(
    name: str, backward_too: bool, style: Style
) -> None:
    chosen, leaves, incoming = draw_in_bfloat16(torch.float32, style)
    with torch.autocast("cpu", torch.bfloat16):
        output = outcome(name, chosen, leaves, style)
    with torch.autocast("cpu", torch.bfloat16, enabled=backward_too):
        gradients = list(torch.autograd.grad(output, leaves, incoming))
    gradients[1] = gradients[1] * chosen
    for found, expected in zip([output, *gradients], expected_outcome(style), strict=True):
        assert found.dtype == torch.float32
        # Rounded to eight bits, and not computed in float32 after all.
        assert 1e-4 < relative_error(found, expected) < 1e-2


@pytest.mark.parametrize("name", ["sorted", "masked"])
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
    torch.testing.assert_close(sparse, masked_experts(*leaves), atol=1e-10, rtol=1e-10)


def test_a_token_of_many_experts_is_summed_in_float32() -> None:
    ones = [
        torch.ones(*shape, requires_grad=True) for shape in ((1, 1, 1), (1, 1, 300), (1, 300, 1, 1))
    ]
    x, weights, matrices = ones
    with torch.autocast("cpu", torch.bfloat16):
        output = sorted_experts(x, weights > 0, weights, matrices, matrices)
    # In bfloat16 the sum would stop at 256, where adding 1 changes nothing.
    assert output.item() == 300
    assert torch.autograd.grad(output, x)[0].item() == 300
