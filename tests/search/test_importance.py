from pathlib import Path

import pytest
from dynamoe_search.run.results import load_trials

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.importance import CHANCE, EVALUATORS, parameter_importance
from tests.conftest import edit
from tests.report import made_up


@pytest.fixture
def study(small_study: Path) -> Path:
    edit(small_study, ("trials = 14", "trials = 60"))
    made_up.search(small_study)
    return small_study


def test_shares_of_each_parameter_and_of_chance(study: Path) -> None:
    table = parameter_importance(study, repetitions=4)
    parameters = {"tilt", "peak", "wave", "cycles", "phase", "contrast", CHANCE}
    assert set(table["parameter"]) == parameters
    sums = table.groupby(["evaluator", "repetition"])["importance"].sum()
    assert len(sums) == len(EVALUATORS) * 4
    assert sums.tolist() == pytest.approx([1.0] * len(sums))
    assert (table["importance"] >= 0).all()
    assert table.attrs["candidates"] == load_trials(study)["candidate"].nunique()
    # What the loss is made of is found.
    means = table.groupby(["evaluator", "parameter"])["importance"].mean()
    assert means["fanova"].idxmax() == "tilt"
    assert means["fanova", "tilt"] > 3 * means["fanova", CHANCE]


def test_the_draws_are_those_of_the_seed(study: Path) -> None:
    first, again = (parameter_importance(study, repetitions=2, seed=1) for _ in range(2))
    assert first.equals(again)
    spread = first.groupby(["evaluator", "parameter"])["importance"].nunique()
    assert (spread["fanova"] == 2).all()


def test_a_candidate_counts_once_and_only_where_it_was_chosen(small_study: Path) -> None:
    edit(small_study, ('family = "blend"', 'family = "blend"\npresets = ["pr_moe"]'))
    made_up.search(small_study)
    trials = load_trials(small_study)
    in_family = trials[trials["parameter_tilt"].notna()]["candidate"].nunique()
    assert in_family < trials["candidate"].nunique()
    with pytest.raises(InvalidInput, match=rf"at least 15 candidates .* has {in_family}"):
        parameter_importance(small_study)
