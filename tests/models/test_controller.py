"""Controllers hold a mean K on real data, in training and after calibration."""

import os

import pytest

from dynamoe_search.data import DIRECTORY_VARIABLE, embedded_topics, load_images
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    LanguageModel,
    Relative,
    Router,
    Threshold,
    TopP,
)
from dynamoe_search.training.evaluation import evaluate
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import TrainingSettings

STEPS = 200
HOLDING = [Threshold(2.0), Relative(target=2.5), TopP(target=2.0)]
SCHEDULE = Schedule((8, 6, 4, 6))


def assert_held(specification, data, batch: int, target: float) -> None:
    """Within 5 % in every layer, after a run of as many steps."""
    # Half an epoch or several, to the same number of steps.
    steps_an_epoch = -(-len(data.train) // batch)
    epochs = max(1, round(STEPS / steps_an_epoch))
    settings = TrainingSettings(epochs=epochs, batch=batch, evaluations=1)
    result = train(specification, data, settings, seeds=(0,))
    assert result.of_seeds[0].mean_active == pytest.approx([target] * 4, rel=0.05)
    # Other topics have another mean K (up to 13 %), so this is of the data of the calibration.
    frozen = evaluate(result.model, data.train).mean_active
    assert frozen == pytest.approx([target] * 4, rel=0.05)
    assert sum(frozen) / 4 == pytest.approx(target, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("router", HOLDING, ids=str)
def test_on_text(router: Router) -> None:
    assert router.target is not None
    data = embedded_topics(context=64)
    network = LanguageModel(257, 64, 32, heads=2, blocks=Experts(32, SCHEDULE, router))
    assert_held(network, data, batch=22, target=router.target)


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
@pytest.mark.parametrize("router", HOLDING, ids=str)
def test_on_mnist(router: Router) -> None:
    assert router.target is not None
    data = load_images("mnist")
    network = Classifier(784, 10, 32, Experts(64, SCHEDULE, router))
    assert_held(network, data, batch=250, target=router.target)
