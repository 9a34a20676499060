from pathlib import Path

import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.search import make_plan, read_study_file
from tests.conftest import edit


def test_every_candidate_has_the_same_parameters(small_study: Path) -> None:
    edit(small_study, ("experts = 12", "parameters = 4000"))
    plan = make_plan(read_study_file(small_study), inputs=64, classes=10)
    assert list(plan.baselines) == list(PATTERNS_AND_UNIFORM)
    counts = {parameter_count(plan.network_with(s)).total for s in plan.baselines.values()}
    assert counts == {plan.solution.parameters}
    assert plan.solution.parameters + plan.solution.residual == 4000
    assert plan.network.schedule == plan.baselines["uniform"]


def test_a_location_in_the_family_is_the_baseline(small_study: Path) -> None:
    plan = make_plan(read_study_file(small_study), inputs=64, classes=10)
    for pattern, schedule in plan.baselines.items():
        assert plan.schedule(plan.family.locate(pattern, plan.depth).parameters) == schedule


def test_seeds_differ_by_replicate_and_study_only(small_study: Path) -> None:
    plan = make_plan(read_study_file(small_study), inputs=64, classes=10)
    edit(small_study, ("seed = 3", "seed = 4"))
    other = make_plan(read_study_file(small_study), inputs=64, classes=10)
    seeds = [plan.seed(0), plan.seed(1), other.seed(0), other.seed(1)]
    assert len(set(seeds)) == 4
    assert plan.seed(1) == seeds[1]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("parameters = 100", r"budget\.parameters: .* smallest possible is [\d,]+"),
        ("parameters = 100000\nmaximum = 3", r"budget\.parameters: .* the largest: [\d,]+;"),
        ("experts = 3", r"budget\.experts: 4 layers of at least 1 experts need"),
        ("experts = 12\nmaximum = 2", r"budget\.experts: 4 layers of at most 2"),
    ],
)
def test_impossible_budgets_are_explained(small_study: Path, budget: str, message: str) -> None:
    edit(small_study, ("experts = 12", budget))
    with pytest.raises(InvalidInput, match=message):
        make_plan(read_study_file(small_study), inputs=64, classes=10)
