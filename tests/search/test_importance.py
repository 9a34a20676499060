from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.importance import CHANCE, EVALUATORS
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.report import made_up


@pytest.fixture
def study(small_study: Path) -> Study:
    edit(small_study, ("runs = 14", "runs = 60"))
    made_up.search(small_study)
    return Study(small_study)


def test_shares_of_each_parameter_and_of_chance(study: Study) -> None:
    table = study.importance(repetitions=4)
    parameters = {"tilt", "peak", "wave", "cycles", "phase", "contrast", CHANCE}
    assert set(table["parameter"]) == parameters
    sums = table.groupby(["evaluator", "repetition"])["importance"].sum()
    assert len(sums) == len(EVALUATORS) * 4
    assert sums.tolist() == pytest.approx([1.0] * len(sums))
    assert (table["importance"] >= 0).all()
    assert set(table["candidates"]) == {study.training_runs()["candidate"].nunique()}
    # What the loss is made of is found.
    means = table.groupby(["evaluator", "parameter"])["importance"].mean()
    assert means["fanova"].idxmax() == "tilt"
    assert means["fanova", "tilt"] > 3 * means["fanova", CHANCE]


def test_the_draws_are_those_of_the_seed(study: Study) -> None:
    first, again = (study.importance(repetitions=2, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    spread = first.groupby(["evaluator", "parameter"])["importance"].nunique()
    assert (spread["fanova"] == 2).all()


def test_a_candidate_counts_once_and_only_where_it_was_proposed(small_study: Path) -> None:
    edit(small_study, ('family = "blend"', 'family = "blend"\npresets = ["pr_moe"]'))
    made_up.search(small_study)
    runs = Study(small_study).training_runs()
    in_family = runs[runs["parameter_tilt"].notna()]["candidate"].nunique()
    assert in_family < runs["candidate"].nunique()
    with pytest.raises(InvalidInput, match=rf"at least 15 candidates .* has {in_family}"):
        Study(small_study).importance()
