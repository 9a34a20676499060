"""Several seeds are trained at once, each as if it were alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from dynamoe_search.data import ImageSplit, TextSplit, embedded_digits, embedded_topics
from dynamoe_search.models import Model, moe
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Balance,
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Specification,
    Threshold,
    TopK,
    TopP,
)
from dynamoe_search.training.loop import Data, train
from dynamoe_search.training.settings import CurvePoint, TrainingSettings
from tests.training.devices import on

SEEDS = (11, 4, 7)
# A layer each; with noise where it is added in training.
ROUTERS = (
    *(TopK(1), TopK(2, noise=0.2), TopP(0.6), TopP(target=1.5, noise=0.1)),
    *(Percentile(), Relative(), Relative(target=1.5), Threshold(1.5, noise=0.1)),
)
BALANCES = [Balance(), Balance("switch", 0.1, z_loss=0.01), Balance("bias", 0.01)]
EXPERTS = Experts(4, Schedule((3, 4, 3, 4, 3, 4, 3, 4)), ROUTERS)
GATES = (TopK(2, gates="sigmoid"), TopK(2), TopK(2, renormalize=False))
MODERN = Experts(4, Schedule((0, 3, 4)), GATES, dense_hidden=6, shared=1, style="modern")
KINDS = ["images", "text", "modern"]
# 20 steps; the fourth of each epoch is smaller.
SETTINGS = TrainingSettings(epochs=5, batch=40, learning_rate=0.01, evaluations=2)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def problem(kind: str) -> tuple[Specification, Data, TrainingSettings]:
    """A network of all routers, a little data for it, and the settings for 20 steps."""
    if kind == "images":
        digits = embedded_digits(seed=0)
        train_, validation = (
            ImageSplit(split.images[:size].double(), split.labels[:size])
            for split, size in ((digits.train, 150), (digits.validation, 60))
        )
        data = replace(digits, train=train_, validation=validation)
        return Classifier(64, 10, 8, EXPERTS), data, SETTINGS
    topics = embedded_topics(context=6)

    def some(split: TextSplit, windows: int) -> TextSplit:
        return replace(split, tokens=split.tokens[: 6 * windows + 1])

    text = replace(topics, train=some(topics.train, 30), validation=some(topics.validation, 10))
    network = LanguageModel(257, 6, 8, 2, EXPERTS)
    if kind == "modern":
        network = LanguageModel(257, 6, 8, 4, MODERN, key_value_heads=2, query_key_norm=True)
    return network, text, replace(SETTINGS, batch=8)


@pytest.mark.slow
@pytest.mark.parametrize("balance", BALANCES, ids=str)
@pytest.mark.parametrize("dispatch", ["masked", "sorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_seed_of_a_block_is_trained_as_it_is_alone(
    float64: None, monkeypatch: pytest.MonkeyPatch, kind: str, dispatch: str, balance: Balance
) -> None:
    monkeypatch.setattr(moe, "prefers_masked", lambda *_: dispatch == "masked")
    network, data, settings = problem(kind)
    network = replace(network, blocks=replace(network.blocks, balance=balance))
    settings = replace(settings, average=0.2)
    together = train(network, data, settings, SEEDS)
    for place in (0, 2):
        alone = train(network, data, settings, [SEEDS[place]])
        found, expected = together.of_seeds[place], alone.of_seeds[0]
        assert found.seed == expected.seed == SEEDS[place]
        assert found.mean_active == expected.mean_active
        assert found.validation.load == expected.validation.load
        losses = [[point.loss for point in one.curve] for one in (found, expected)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-9)
        assert len(losses[0]) == 2
        for name, tensor in alone.model.state_dict().items():
            of_block = together.model.state_dict()[name][place]
            torch.testing.assert_close(
                of_block, tensor[0], atol=1e-9, rtol=1e-9, equal_nan=True, msg=name
            )


@pytest.mark.parametrize("dispatch", ["masked", "sorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_device_and_dispatch_trains_the_same_network(
    float64: None, monkeypatch: pytest.MonkeyPatch, kind: str, dispatch: str, device: str
) -> None:
    network, data, settings = problem(kind)
    settings = replace(settings, epochs=1, evaluations=1)
    found = []
    for some, is_masked in ((data, True), (on(data, device), dispatch == "masked")):
        monkeypatch.setattr(moe, "prefers_masked", lambda *_, is_masked=is_masked: is_masked)
        found.append(train(network, some, settings, SEEDS[:2]).model.state_dict())
    for name, tensor in found[0].items():
        again = found[1][name].cpu()
        torch.testing.assert_close(tensor, again, atol=1e-9, rtol=1e-9, equal_nan=True, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_has_the_same_bits_again_whatever_was_trained_before(kind: str) -> None:
    """In float32; also after other blocks, networks and random numbers of the same process."""
    network, data, settings = problem(kind)
    settings = replace(settings, epochs=2, evaluations=1)
    if isinstance(network, Classifier):
        train_ = ImageSplit(data.train.images.float(), data.train.labels)
        validation = ImageSplit(data.validation.images.float(), data.validation.labels)
        data = replace(data, train=train_, validation=validation)
    first = train(network, data, settings, SEEDS)
    torch.rand(3)
    other = replace(network, blocks=replace(network.blocks, router=TopK(1, noise=0.3)))
    train(other, data, replace(settings, epochs=1), SEEDS[1:])
    again = train(network, data, settings, SEEDS)
    assert again.of_seeds == first.of_seeds
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_the_order_of_the_data_is_of_each_seed_and_the_same_for_every_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, data, settings = problem("text")
    seen: list[torch.Tensor] = []
    batches = TextSplit.batches

    def watched(split: TextSplit, size: int, order: torch.Tensor | None = None):
        if order is not None:
            seen.append(order)
        return batches(split, size, order)

    monkeypatch.setattr(TextSplit, "batches", watched)
    settings = replace(settings, epochs=2, evaluations=1)
    dense = replace(network, blocks=replace(EXPERTS, schedule=Schedule((2,)), router=TopK(1)))
    for one, seeds in ((network, SEEDS), (dense, SEEDS[1:])):
        train(one, data, settings, seeds)
    orders = [order for order in seen if order.dim() == 2]
    # An order for the calibration of the first network, which has thresholds, and two epochs each.
    calibrated, *passes = orders
    assert torch.equal(calibrated, passes[0])
    assert [len(order) for order in passes] == [3, 3, 2, 2]
    assert torch.equal(passes[0][1:], passes[2])
    assert torch.equal(passes[1][1:], passes[3])
    rows = {tuple(row) for order in passes[:2] for row in order.tolist()}
    assert len(rows) == 6
    assert all(sorted(row) == list(range(len(data.train))) for row in rows)


def test_weights_are_averaged_over_the_last_part() -> None:
    """The mean of the weights after each of the last steps, which the averaging does not change."""
    network, data, settings = problem("text")
    steps: list[dict[str, torch.Tensor]] = []

    def keep(points: Sequence[CurvePoint], model: Model) -> None:
        steps.append({name: p.detach().clone() for name, p in model.named_parameters()})

    settings = replace(settings, epochs=2)
    train(network, data, replace(settings, evaluations=8), SEEDS[:2], on_evaluation=keep)
    assert len(steps) == 8
    averaged = train(network, data, replace(settings, average=0.4, evaluations=3), SEEDS[:2])
    # Steps of 8, 8, 8 and 6 windows of 30: the middle of the last three is in the last 40 %.
    for name, parameter in averaged.model.named_parameters():
        expected = torch.stack([step[name] for step in steps[-3:]]).mean(dim=0)
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-6)
