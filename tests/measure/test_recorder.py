import time
from collections.abc import Sequence

import pandas as pd
import pytest

from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.gradient_moments import pool_gradients
from dynamoe_search.measure.gradients import gradient_noise_by_group
from dynamoe_search.measure.recorder import TrainingRecorder
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import utilization_table
from dynamoe_search.models import Model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, TopK
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import CurvePoint, TrainingSettings

DATA = embedded_digits(seed=0)
NETWORK = Classifier(64, 10, 8, Experts(8, Schedule((4, 2)), TopK(1)))
SETTINGS = TrainingSettings(epochs=5, batch=64, evaluations=5)


def noise(model: Model) -> pd.DataFrame:
    return gradient_noise_by_group(model, DATA.train, 8, 4, seed=0)


def utilization(model: Model) -> pd.DataFrame:
    return utilization_table(count_routings(model, DATA.validation))


@pytest.mark.slow
def test_it_measures_at_every_second_evaluation_and_the_last() -> None:
    recorder = TrainingRecorder(noise, every=2)
    tables: list[pd.DataFrame] = []

    def both(points: Sequence[CurvePoint], model: Model) -> None:
        recorder(points, model)
        tables.append(noise(model))

    assert recorder.table.empty
    start = time.perf_counter()
    (result,) = train(NETWORK, DATA, SETTINGS, seeds=(0,), on_evaluation=both).of_seeds
    assert 0 < recorder.seconds < time.perf_counter() - start
    measured = (1, 3, 4)
    for name in ("fraction", "samples", "loss"):
        expected = [getattr(result.curve[index], name) for index in measured]
        assert recorder.table[name].unique().tolist() == expected
    for index in measured:
        is_here = recorder.table["fraction"] == result.curve[index].fraction
        rows = recorder.table[is_here].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[tables[index].columns], tables[index])
    pooled = pool_gradients(recorder.table, ["fraction"])
    expected = [tables[index]["trace"].sum() for index in measured]
    assert pooled["trace"].tolist() == pytest.approx(expected)


def test_rare_measurements_are_made_at_the_end() -> None:
    late = TrainingRecorder(utilization, every=6)
    result = train(NETWORK, DATA, SETTINGS, seeds=(0,), on_evaluation=late)
    assert late.table["fraction"].unique().tolist() == [1.0]
    after = utilization(result.model)
    pd.testing.assert_frame_equal(late.table[after.columns], after)


@pytest.mark.slow
def test_it_does_not_change_the_training() -> None:
    always = TrainingRecorder(utilization)
    followed = train(NETWORK, DATA, SETTINGS, seeds=(1,), on_evaluation=always).of_seeds
    assert always.table["fraction"].unique().tolist() == [p.fraction for p in followed[0].curve]
    assert train(NETWORK, DATA, SETTINGS, seeds=(1,)).of_seeds == followed


def test_every_zeroth_evaluation_is_refused() -> None:
    with pytest.raises(InvalidInput, match="every is 0"):
        TrainingRecorder(noise, every=0)
