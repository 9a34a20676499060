import math
from dataclasses import replace

import pytest
import torch

from dynamoe_search.budgets import dense_twin, training_flops
from dynamoe_search.data import ImageData, embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Percentile, TopK, TopP
from dynamoe_search.training import (
    Interrupted,
    NonFiniteLoss,
    TrainingSettings,
    evaluate,
    train,
)

NETWORK = Classifier(64, 10, 16, 16, Schedule((4, 2)), TopK(2))
SHORT = TrainingSettings(epochs=3, batch=64, evaluations=2)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return embedded_digits(seed=0)


def test_learns_real_digits(digits: ImageData) -> None:
    settings = TrainingSettings(epochs=12, batch=64, learning_rate=5e-3)
    result = train(NETWORK, digits, settings, seed=0)
    assert result.validation.accuracy > 0.85
    assert result.curve[-1].loss < result.curve[0].loss
    assert len(result.curve) == 10
    assert result.curve[-1].samples == result.samples == 12 * len(digits.train)
    assert result.flops == training_flops(NETWORK, result.samples)
    assert evaluate(result.model, digits.validation) == result.validation


@pytest.mark.parametrize("router", [TopK(1), TopP(0.6), Percentile(0.5)], ids=str)
def test_mean_active_is_measured(digits: ImageData, router) -> None:
    network = replace(NETWORK, router=router)
    result = train(network, digits, SHORT, seed=0)
    for mean, experts in zip(result.mean_active, network.schedule, strict=True):
        least, most = router.active_bounds(experts)
        assert least <= mean <= most
    assert result.flops == training_flops(network, result.samples, result.mean_active)


def test_dense_twins_train_the_same_way(digits: ImageData) -> None:
    result = train(dense_twin(NETWORK, "total"), digits, SHORT, seed=0)
    assert result.mean_active == result.validation.mean_active == ()
    assert math.isfinite(result.validation.loss)


def test_same_seed_same_bits_other_seed_other_result(digits: ImageData) -> None:
    noisy = replace(NETWORK, router=TopP(0.6, noise=0.1))
    first, again, other = (train(noisy, digits, SHORT, seed) for seed in (1, 1, 2))
    assert first.curve == again.curve
    assert first.curve != other.curve
    for left, right in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_evaluation_is_exact_over_batches(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = train(NETWORK, digits, SHORT, seed=0).model.double()
    split = replace(digits.validation, images=digits.validation.images.double())
    whole = evaluate(model, split)
    monkeypatch.setattr("dynamoe_search.training._EVALUATION_BATCH", 7)
    pieces = evaluate(model, split)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-12)
    assert pieces.accuracy == whole.accuracy
    with torch.no_grad():
        logits = model(split.images)
    expected = torch.nn.functional.cross_entropy(logits, split.labels)
    assert whole.loss == pytest.approx(float(expected), rel=1e-12)


def test_a_diverging_loss_is_reported(digits: ImageData) -> None:
    with pytest.raises(NonFiniteLoss, match="validation loss is"):
        train(NETWORK, digits, replace(SHORT, learning_rate=1e30), seed=0)


def test_stops_when_asked(digits: ImageData) -> None:
    points: list = []
    with pytest.raises(Interrupted, match="in epoch 2 of 3"):
        train(
            NETWORK,
            digits,
            replace(SHORT, evaluations=3),
            seed=0,
            on_evaluation=points.append,
            should_stop=lambda: len(points) == 1,
        )


def test_misfits_and_bad_settings_are_named(digits: ImageData) -> None:
    with pytest.raises(InvalidInput, match="takes 63 values"):
        train(replace(NETWORK, inputs=63), digits, SHORT, seed=0)
    for name, value in [("epochs", 0), ("batch", 0), ("learning_rate", 0.0), ("weight_decay", -1)]:
        with pytest.raises(InvalidInput, match=f"{name} is"):
            replace(SHORT, **{name: value})
