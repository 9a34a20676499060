import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.models import dense_experts, sorted_experts

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
    st.integers(0, 10_000),
)
def test_sorted_equals_dense_forward_and_backward(
    tokens: int, experts: int, width: int, hidden: int, dtype: torch.dtype, seed: int
) -> None:
    chosen, leaves, incoming = draw(tokens, experts, width, hidden, dtype, seed)
    x, weights, w_in, w_out = leaves
    tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}

    dense = dense_experts(x, weights, w_in, w_out)
    sparse = sorted_experts(x, chosen, weights, w_in, w_out)
    torch.testing.assert_close(sparse, dense, **tolerance)

    dense_gradients = torch.autograd.grad(dense, leaves, incoming)
    sparse_gradients = torch.autograd.grad(sparse, leaves, incoming)
    for index, (of_sparse, of_dense) in enumerate(
        zip(sparse_gradients, dense_gradients, strict=True)
    ):
        # The dense path also differentiates weights that are 0 because nobody chose the expert.
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
