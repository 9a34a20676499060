import math

import pytest
import torch
from torch import nn

from dynamoe_search.models import Dispatch, MoELayer, calibrate
from dynamoe_search.models.balance import auxiliary_loss
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import (
    Balance,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)

ROUTERS = [
    *(Percentile(), TopK(1), TopK(2, noise=0.1), TopP(), TopP(target=1.5, noise=0.1)),
    *(Relative(), Relative(target=1.5), Threshold(1.5), Threshold(9.0)),
]
BALANCES = [Balance(), Balance("switch", 0.1), Balance("bias", 0.01), Balance(z_loss=0.1)]
HOLDING = [Threshold(2.5), Relative(target=2.5), TopP(target=2.5), Threshold(2.5, noise=0.05)]


class Reporting(nn.Sequential):
    """Layers of experts one after another."""

    def forward(self, x: torch.Tensor, report: list[Routing]) -> torch.Tensor:
        for layer in self:
            x = layer(x, report)
        return x


def train_to_imitate(layer: MoELayer, steps: int, tokens: int = 256) -> list[float]:
    """Teach a layer a function of its input, so that its router changes; the K of every step."""
    torch.manual_seed(0)
    width = layer.gate.shape[2]
    teacher = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, width))
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-3)
    means = []
    for _ in range(steps):
        x = torch.randn(1, tokens, width)
        report: list[Routing] = []
        (layer(x, report) - teacher(x)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        means.append(float(report[0].active.float().mean()))
    return means


@pytest.mark.slow
@pytest.mark.parametrize("router", HOLDING, ids=str)
def test_the_controller_holds_its_target_in_training_and_frozen(router: Router) -> None:
    torch.manual_seed(0)
    layer = MoELayer(8, 16, 32, router)
    before = layer.gate.detach().clone()
    means = train_to_imitate(layer, steps=200)
    assert (layer.gate - before).abs().max() > 0.1
    assert sum(means[-50:]) / 50 == pytest.approx(2.5, rel=0.02)
    calibrate(Reporting(layer), torch.randn(1, 4096, 16))
    assert layer.thresholds is not None
    frozen = layer.thresholds.clone()
    held = layer.route(torch.randn(1, 4096, 16)).active.float()
    assert float(held.mean()) == pytest.approx(2.5, rel=0.02)
    assert held.unique().numel() > 2
    assert torch.equal(layer.thresholds, frozen)


def test_calibrated_thresholds_fit_the_weights_as_they_are() -> None:
    torch.manual_seed(0)
    layers = [MoELayer(6, 8, 8, Threshold(2.0, noise=0.3)), MoELayer(4, 8, 8, TopK(2))]
    model = Reporting(*layers)
    x = torch.randn(1, 500, 8)
    calibrate(model, x)
    report: list[Routing] = []
    model(x, report)
    assert [float(routing.active.double().mean()) for routing in report] == [2.0, 2.0]
    assert not model.training


def test_a_batch_uses_the_threshold_of_those_before_it() -> None:
    torch.manual_seed(0)
    layer = MoELayer(6, 8, 8, Threshold(2.0))
    layer(torch.randn(1, 100, 8))
    assert layer.thresholds is not None
    threshold = layer.thresholds[:, 0].clone()
    x = torch.randn(1, 100, 8)
    report: list[Routing] = []
    layer(x, report)
    gates = report[0].gates.scatter(2, report[0].gates.argmax(2, keepdim=True), 2.0)
    assert torch.equal(report[0].chosen, gates >= threshold)
    assert not torch.equal(layer.thresholds[:, 0], threshold)


def test_an_untrained_layer_uses_the_threshold_of_the_batch_itself() -> None:
    layer = MoELayer(6, 8, 8, Threshold(2.0)).eval()
    assert float(layer.route(torch.randn(1, 100, 8)).active.float().mean()) == 2.0
    assert layer.thresholds is not None
    assert layer.thresholds.isnan().all()


@pytest.mark.parametrize("target", [4.0, 9.0])
def test_a_layer_with_no_more_experts_than_the_target_uses_all(target: float) -> None:
    layer = MoELayer(4, 8, 8, Threshold(target))
    assert layer.thresholds is None
    for _ in range(3):
        assert layer.route(torch.randn(1, 10, 8)).active.tolist() == [[4] * 10]


def test_evaluation_changes_nothing() -> None:
    layer = MoELayer(6, 8, 8, Threshold(2.0), balance=Balance("bias"))
    layer(torch.randn(1, 30, 8))
    calibrate(Reporting(layer), torch.randn(1, 30, 8))
    layer.train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.route(torch.randn(1, 30, 8))
    layer.eval()(torch.randn(1, 30, 8))
    assert layer.tokens == 30
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_bias_evens_out_the_load() -> None:
    def unevenness(balance: Balance) -> float:
        torch.manual_seed(0)
        layer = MoELayer(8, 16, 16, TopK(2), balance=balance)
        with torch.no_grad():
            layer.gate[:, 0] += 0.2  # one expert that most tokens prefer
        x = torch.randn(1, 512, 16) + 0.5
        for _ in range(300):
            layer(x)
        load = layer.route(x).chosen.sum(dim=(0, 1)).double()
        return float(load.max() / load.mean() - 1)

    assert unevenness(Balance()) > 1.0
    assert unevenness(Balance("bias", 0.003)) < 0.2


def test_counts_are_of_training_only() -> None:
    layer = MoELayer(5, 8, 8, TopK(2))
    assert math.isnan(layer.mean_active[0])
    layer(torch.randn(1, 10, 8))
    layer.eval()(torch.randn(1, 90, 8))
    assert (layer.tokens, layer.expert_uses.tolist(), layer.mean_active) == (10, [20], (2.0,))


def test_a_bias_does_not_move_k() -> None:
    torch.manual_seed(0)
    layer = MoELayer(8, 16, 16, TopP(0.7), balance=Balance("bias", 0.001))
    x = torch.randn(1, 512, 16)
    before = float(layer.route(x).active.float().mean())
    for _ in range(300):
        layer(x)
    assert layer.bias is not None
    assert float(layer.bias.abs().max()) > 0.003
    assert float(layer.bias.sum()) == pytest.approx(0, abs=1e-5)
    assert float(layer.route(x).active.float().mean()) == pytest.approx(before, rel=0.1)


def test_a_small_last_batch_does_not_disturb_the_controller() -> None:
    torch.manual_seed(0)
    layer = MoELayer(8, 16, 16, Threshold(1.3))
    for _ in range(40):
        for tokens in (256, 256, 1):
            layer(torch.randn(1, tokens, 16))
    assert layer.mean_active == pytest.approx((1.3,), rel=0.02)


def test_with_a_threshold_of_nan_every_token_uses_its_largest_gate() -> None:
    layer = MoELayer(8, 16, 16, Threshold(2.0))
    layer(torch.randn(1, 50, 16))
    assert layer.thresholds is not None
    layer.thresholds.fill_(float("nan"))
    assert layer.route(torch.randn(1, 50, 16)).active.tolist() == [[1] * 50]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dispatch", ["sorted", "masked"])
@pytest.mark.parametrize("balance", BALANCES, ids=str)
@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_an_empty_batch_has_no_output_no_gradient_and_no_effect(
    router: Router, balance: Balance, dispatch: Dispatch, training: bool
) -> None:
    layer = MoELayer(4, 8, 16, router, dispatch, balance).train(training)
    empty = torch.empty(1, 0, 8, requires_grad=True)
    for before in range(2):  # as the first batch, and after another one
        if before:
            layer(torch.randn(1, 20, 8))
        state = {name: value.clone() for name, value in layer.state_dict().items()}
        report: list[Routing] = []
        output = layer(empty, report)
        assert output.shape == (1, 0, 8)
        assert report[0].active.shape == (1, 0)
        added = auxiliary_loss(balance, report)
        assert added is None or added == 0
        (output.sum() if added is None else output.sum() + added).backward()
        assert empty.grad is not None
        assert empty.grad.shape == (1, 0, 8)
        for parameter in layer.parameters():
            assert parameter.grad is None or not parameter.grad.any()
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)
    assert layer.tokens == (20 if training else 0)


def test_no_tokens_calibrate_nothing() -> None:
    layer = MoELayer(6, 8, 8, Threshold(2.0))
    calibrate(Reporting(layer), torch.empty(1, 0, 8))
    assert layer.thresholds is not None
    assert layer.thresholds.isnan().all()
