from pathlib import Path

import optuna
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.importance import CHANCE, EVALUATORS, parameter_importance
from tests.search.driver import MemoryLog, Process, plan_of, run_alone


def importance_of(process: Process, **of: int) -> pd.DataFrame:
    return parameter_importance(process.progress, process.plan, **of)


def searched(path: Path, *changes: tuple[str, str]) -> Process:
    process = Process(MemoryLog(), plan_of(path, *changes))
    run_alone(process)
    return process


@pytest.fixture
def process(small_study: Path) -> Process:
    return searched(small_study, ("runs = 14", "runs = 60"))


def test_shares_of_each_parameter_and_of_chance(process: Process) -> None:
    table = importance_of(process, repetitions=4)
    parameters = {"tilt", "peak", "wave", "cycles", "phase", "contrast", CHANCE}
    assert set(table["parameter"]) == parameters
    sums = table.groupby(["evaluator", "repetition"])["importance"].sum()
    assert len(sums) == len(EVALUATORS) * 4
    assert sums.tolist() == pytest.approx([1.0] * len(sums))
    assert (table["importance"] >= 0).all()
    assert set(table["candidates"]) == {len(process.progress.results)}
    # What the loss is made of is found.
    means = table.groupby(["evaluator", "parameter"])["importance"].mean()
    assert means["fanova"].idxmax() == "tilt"
    assert means["fanova", "tilt"] > 3 * means["fanova", CHANCE]


@pytest.mark.slow
def test_the_draws_are_those_of_the_seed(process: Process) -> None:
    first, again = (importance_of(process, repetitions=2, seed=1) for _ in range(2))
    assert first.equals(again)
    spread = first.groupby(["evaluator", "parameter"])["importance"].nunique()
    assert (spread["fanova"] == 2).all()


def test_optuna_says_nothing(process: Process, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        importance_of(process, repetitions=1)
        assert capfd.readouterr().err == ""
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)


def test_what_is_searched_next_to_the_schedule_is_among_the_parameters(small_study: Path) -> None:
    process = searched(
        small_study,
        ("hidden = 8", "hidden = 52"),
        ('"blend"', '"blend"\nalso = { hidden = [52, 17, 31], k = [1, 3] }'),
        ("runs = 14", "runs = 60"),
    )
    table = importance_of(process, repetitions=2)
    assert {"tilt", "hidden", "k"} < set(table["parameter"])
    means = table.groupby(["evaluator", "parameter"])["importance"].mean()
    assert means["fanova", "k"] > means["fanova", "hidden"]


def test_a_candidate_counts_once_and_only_where_it_was_chosen(small_study: Path) -> None:
    process = searched(
        small_study, ('family = "blend"', 'family = "blend"\npresets = ["variable_width"]')
    )
    progress = process.progress
    in_family = {run.start.candidate for run in progress.runs if run.start.parameters is not None}
    assert 0 < len(in_family) < len(progress.results)
    with pytest.raises(InvalidInput, match=rf"at least 15 candidates .* has {len(in_family)}:"):
        importance_of(process)
