"""Who is confirmed against whom, and what must not change any more."""

from pathlib import Path

import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.confirmation import DENSE, Confirmation, plan_confirmation
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
LEADERS = ["6-3-2-1", "5-4-2-1", "4-4-3-1", "3-4-4-1"]  # the second is descending


@pytest.fixture
def plan(small_study: Path) -> Plan:
    return make_plan(read_study_file(small_study), DIGITS)


def planned(
    plan: Plan,
    begun: Confirmation | None = None,
    seeds: int | None = None,
    margin: float | None = None,
) -> Confirmation:
    return plan_confirmation(begun, plan, LEADERS, {}, seeds, margin)


def test_three_finalists_all_named_schedules_and_two_dense_networks(plan: Plan) -> None:
    found = planned(plan)
    by_candidate = {one.candidate: one for one in found.contenders}
    assert len(by_candidate) == len(found.contenders)
    assert list(by_candidate)[:3] == LEADERS[:3]
    assert LEADERS[3] not in by_candidate
    assert (found.reference, found.margin, found.seeds) == (LEADERS[0], 0.01, (8,))
    for name in PATTERNS_AND_UNIFORM:
        contender = by_candidate[str(plan.baselines[name])]
        assert name in contender.baselines
        assert contender.group == ("uniform" if name == "uniform" else "pattern")
    assert by_candidate["5-4-2-1"].name == "descending"
    assert by_candidate["6-3-2-1"].group == "searched"
    dense = [one for one in found.contenders if one.group == "dense"]
    assert [one.baselines for one in dense] == [(name,) for name in DENSE.values()]
    total = parameter_count(plan.network_with(plan.baselines["uniform"])).total
    built = parameter_count(plan.network_with(parse_candidate(dense[1].candidate))).total
    assert abs(built - total) < 2 * plan.study.model.width
    assert dense[1].name == f"dense, total parameters ({built:,})"


def test_baselines_that_coincide_are_one_contender_of_all_their_names(small_study: Path) -> None:
    edit(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 7"))
    plan = make_plan(read_study_file(small_study), DIGITS)
    same: dict[str, list[str]] = {}
    for name in PATTERNS_AND_UNIFORM:
        same.setdefault(str(plan.baselines[name]), []).append(name)
    found = plan_confirmation(None, plan, ["3-4"], {}, None, None)
    assert max(map(len, same.values())) > 1
    for contender in found.contenders:
        if contender.candidate in same:
            assert list(contender.baselines) == same[contender.candidate]
            assert contender.name == " = ".join(contender.baselines)


def test_it_comes_back_from_the_log(plan: Plan) -> None:
    found = planned(plan, seeds=3, margin=0.02)
    assert Confirmation.read(found.dump()) == found


def test_the_number_of_seeds_can_be_raised_and_nothing_else(plan: Plan) -> None:
    begun = planned(plan, seeds=3, margin=0.02)
    assert planned(plan, begun) == begun
    assert planned(plan, begun, seeds=2) == begun
    raised = planned(plan, begun, seeds=5, margin=0.02)
    assert raised.seeds == (3, 5)
    assert raised.contenders == begun.contenders
    with pytest.raises(InvalidInput, match=r"--margin is 0\.03, and .* begun with 0\.02"):
        planned(plan, begun, margin=0.03)


def test_its_study_file_must_not_change(plan: Plan, small_study: Path) -> None:
    begun = planned(plan)
    edit(small_study, ("epochs = 2", "epochs = 5"))
    changed = make_plan(read_study_file(small_study), DIGITS)
    with pytest.raises(InvalidInput, match=r"changed since its confirmation began \(training\)"):
        planned(changed, begun)


def test_how_long_the_search_runs_may_change(plan: Plan, small_study: Path) -> None:
    begun = planned(plan)
    edit(small_study, ("runs = 14", "runs = 99"))
    assert planned(make_plan(read_study_file(small_study), DIGITS), begun) == begun


@pytest.mark.parametrize("margin", [0.0, -0.1, float("inf"), float("nan")])
def test_a_margin_is_above_0(plan: Plan, margin: float) -> None:
    with pytest.raises(InvalidInput, match="--margin is"):
        planned(plan, margin=margin)


def test_there_must_be_something_to_confirm(plan: Plan) -> None:
    with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
        plan_confirmation(None, plan, [], {}, None, None)
