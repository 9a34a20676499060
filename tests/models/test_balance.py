import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.models.balance import auxiliary_loss, bias_step, switch_loss, z_loss
from dynamoe_search.models.routing import route
from dynamoe_search.specification import Balance, Relative, Router, TopK, TopP


def random_logits(tokens: int, experts: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(tokens, experts, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("router", [TopK(1), TopK(3), TopP(0.6), Relative()], ids=str)
@settings(max_examples=30)
@given(experts=st.integers(1, 9), seed=st.integers(0, 1000))
def test_the_switch_loss_as_written(router: Router, experts: int, seed: int) -> None:
    routing = route(router, random_logits(30, experts, seed))
    assignments = [
        expert for row in routing.chosen.tolist() for expert, used in enumerate(row) if used
    ]
    expected = 0.0
    for expert in range(experts):
        share = assignments.count(expert) / len(assignments)
        expected += share * float(routing.gates[:, expert].mean())
    assert float(switch_loss(routing)) == pytest.approx(experts * expected)


@pytest.mark.parametrize("router", [TopK(1), TopK(2)], ids=str)
def test_the_switch_loss_is_1_at_balance_for_any_k(router: Router) -> None:
    # Every expert is the favorite of as many tokens, the runner-up of as many.
    logits = torch.stack([torch.tensor([2.0, 1.0, 0.0, -1.0]).roll(shift) for shift in range(4)])
    assert float(switch_loss(route(router, logits))) == pytest.approx(1.0)


def test_losses_have_right_gradients_and_push_the_right_way() -> None:
    logits = random_logits(12, 4, seed=1).requires_grad_()
    for loss in (switch_loss, z_loss):
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(route(TopK(2), z)), (logits,))
    crowded = torch.zeros(50, 4, dtype=torch.float64)
    crowded[:, 0] = 1.0
    crowded.requires_grad_()
    switch_loss(route(TopK(1), crowded)).backward()
    assert crowded.grad is not None
    assert (crowded.grad[:, 0] > 0).all()
    assert (crowded.grad[:, 1:] <= 0).all()


def test_the_z_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, -1.0]], dtype=torch.float64)
    expected = (torch.exp(logits).sum(1).log() ** 2).mean()
    assert float(z_loss(route(TopK(1), logits))) == pytest.approx(float(expected))


def test_the_auxiliary_loss_is_the_mean_over_layers() -> None:
    routings = [route(TopK(2), random_logits(20, n, seed=n)) for n in (3, 5)]
    assert auxiliary_loss(Balance(), routings) is None
    assert auxiliary_loss(Balance("bias"), routings) is None
    assert auxiliary_loss(Balance("switch", z_loss=0.1), []) is None
    loss = auxiliary_loss(Balance("switch", 0.5, z_loss=0.1), routings)
    assert loss is not None
    by_hand = sum(0.5 * switch_loss(r) + 0.1 * z_loss(r) for r in routings) / 2
    assert float(loss) == pytest.approx(float(by_hand))


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=20))
def test_the_bias_moves_towards_the_mean_load(rows: list[list[bool]]) -> None:
    chosen = torch.tensor(rows)
    load = chosen.sum(dim=0).double()
    assert bias_step(chosen).tolist() == torch.sign(load.mean() - load).tolist()
