"""Who is confirmed, and with whom they are compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamoe_search.budgets import active_parameters, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate
from dynamoe_search.plan.confirmation import (
    DENSE,
    FINALISTS,
    MOST_SEEDS,
    SEEDS,
    Confirmation,
    Until,
    loss_alone,
    plan_confirmation,
)
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.sequential import Looks
from tests.conftest import edit
from tests.search.driver import plan_of

LEADERS = ("6-3-2-1", "6-2-2-2", "5-3-3-1", "4-4-3-1")
TOP_P = ('"top_k"\nk = 1', '"top_p"')


def confirmation_of(
    plan: Plan,
    leaders: tuple[str, ...] = LEADERS,
    mean_active: dict[str, list[float]] | None = None,
    seeds: int | None = None,
    margin: float | None = None,
    begun: Confirmation | None = None,
    until: Until | None = None,
    most: int | None = None,
) -> Confirmation:
    return plan_confirmation(begun, plan, leaders, mean_active or {}, seeds, margin, until, most)


def by_candidate(confirmation: Confirmation) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    return {c.candidate: (c.name, c.group, c.baselines) for c in confirmation.contenders}


def test_finalists_patterns_uniform_and_two_dense_networks(small_study: Path) -> None:
    plan = plan_of(small_study, TOP_P)
    uniform = str(plan.baselines["uniform"])
    confirmation = confirmation_of(plan, mean_active={uniform: [1.5, 2.0, 2.0, 1.5]})
    assert (confirmation.reference, confirmation.margin) == (LEADERS[0], 0.01)
    assert confirmation.seeds == (SEEDS,)
    contenders = by_candidate(confirmation)
    assert [one.candidate for one in confirmation.contenders[:FINALISTS]] == list(LEADERS[:3])
    assert all(contenders[name] == ("", "searched", ()) for name in LEADERS[:FINALISTS])
    assert LEADERS[3] not in contenders
    patterns = {name: str(plan.baselines[name]) for name in PATTERNS_AND_UNIFORM}
    assert len(set(patterns.values())) == 7
    for name, candidate in patterns.items():
        group = "uniform" if name == "uniform" else "pattern"
        assert contenders[candidate] == (name, group, (name,))
    dense = [one for one in confirmation.contenders if one.group == "dense"]
    assert [one.baselines for one in dense] == [(DENSE["active"],), (DENSE["total"],)]
    assert len(confirmation.contenders) == FINALISTS + 7 + 2
    assert confirmation.names[uniform] == "uniform"
    assert confirmation.title == LEADERS[0]


def test_a_finalist_may_be_a_pattern(small_study: Path) -> None:
    plan = plan_of(small_study)
    descending = str(plan.baselines["descending"])
    confirmation = confirmation_of(plan, (descending, LEADERS[0]))
    assert [one.candidate for one in confirmation.contenders[:2]] == [descending, LEADERS[0]]
    assert by_candidate(confirmation)[descending] == ("descending", "pattern", ("descending",))
    assert confirmation.title == f"descending ({descending})"
    assert len({one.candidate for one in confirmation.contenders}) == len(confirmation.contenders)


def test_patterns_that_coincide_are_one_contender(small_study: Path) -> None:
    plan = plan_of(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 7"))
    confirmation = confirmation_of(plan, ("5-2",))
    expected: dict[str, list[str]] = {}
    for name, candidate in plan.baselines.items():
        expected.setdefault(str(candidate), []).append(name)
    assert len(expected) == 3
    found = by_candidate(confirmation)
    for candidate, same in expected.items():
        group = "uniform" if "uniform" in same else "pattern"
        assert found[candidate] == (" = ".join(same), group, tuple(same))
    # Each baseline is there once.
    baselines = [name for one in confirmation.contenders for name in one.baselines]
    assert sorted(baselines) == sorted([*PATTERNS_AND_UNIFORM, *DENSE.values()])


def test_presets_are_confirmed_only_where_they_lead(small_study: Path) -> None:
    plan = plan_of(small_study, ("blocks = 2", "blocks = 2\nalpha_lora = [1.0, 9.0, 1.0, 1.0]"))
    preset = str(plan.baselines["alpha_lora"])
    assert preset not in by_candidate(confirmation_of(plan))
    assert by_candidate(confirmation_of(plan, (*LEADERS[:2], preset)))[preset][1] == "searched"


def test_dense_networks_have_as_many_parameters(small_study: Path) -> None:
    plan = plan_of(small_study, TOP_P)
    uniform = plan.network_with(plan.baselines["uniform"])
    measured = [1.6, 2.1, 2.2, 1.9]
    confirmation = confirmation_of(plan, mean_active={str(plan.baselines["uniform"]): measured})
    wanted = {
        DENSE["active"]: active_parameters(uniform, measured).expected,
        DENSE["total"]: parameter_count(uniform).total,
    }
    dense = [one for one in confirmation.contenders if one.group == "dense"]
    assert len(dense) == 2
    for one in dense:
        candidate = parse_candidate(one.candidate)
        assert isinstance(candidate, DenseBaseline)
        count = parameter_count(plan.network_with(candidate)).total
        # A hidden unit costs two parameters a unit of width.
        assert abs(count - wanted[one.baselines[0]]) <= plan.network.width
        assert one.name == f"{one.baselines[0]} ({count:,})"


def test_what_uniform_uses_is_taken_from_the_search(small_study: Path) -> None:
    plan = plan_of(small_study, TOP_P)
    uniform = str(plan.baselines["uniform"])
    few, many = (
        confirmation_of(plan, mean_active={uniform: [k] * 4, LEADERS[0]: [3.0] * 4})
        for k in (1.0, 2.5)
    )
    dense = [
        {one.baselines[0]: one.candidate for one in each.contenders if one.group == "dense"}
        for each in (few, many)
    ]
    assert dense[0][DENSE["total"]] == dense[1][DENSE["total"]]
    assert dense[0][DENSE["active"]] != dense[1][DENSE["active"]]


def test_dense_networks_that_are_equal_are_one_contender(small_study: Path) -> None:
    # One expert per layer, always used: as many active parameters as there are.
    plan = plan_of(small_study, ("experts = 12", "experts = 4"))
    confirmation = confirmation_of(plan, ("1-1-1-1",))
    (dense,) = [one for one in confirmation.contenders if one.group == "dense"]
    assert dense.baselines == tuple(DENSE.values())
    assert len(confirmation.contenders) == 2
    assert confirmation.names["1-1-1-1"] == " = ".join(PATTERNS_AND_UNIFORM)


def test_it_comes_back_from_the_log(small_study: Path) -> None:
    confirmation = confirmation_of(plan_of(small_study), margin=0.1 + 0.2)
    assert Confirmation.read(confirmation.dump()) == confirmation


def test_it_stays_as_it_was_fixed(small_study: Path) -> None:
    plan = plan_of(small_study)
    begun = confirmation_of(plan, seeds=4, margin=0.02)
    # Whatever the search has found since.
    assert confirmation_of(plan, ("9-1-1-1",), begun=begun) == begun
    assert confirmation_of(plan, (), begun=begun, margin=0.02) == begun
    assert confirmation_of(plan, begun=begun, seeds=4) == begun


def test_seeds_are_only_raised(small_study: Path) -> None:
    plan = plan_of(small_study)
    begun = confirmation_of(plan, seeds=4)
    assert confirmation_of(plan, begun=begun, seeds=3) == begun
    more = confirmation_of(plan, begun=begun, seeds=6)
    assert more == replace(begun, seeds=(4, 6))
    assert confirmation_of(plan, begun=more, seeds=7).seeds == (4, 6, 7)


def test_until_all_is_decided(small_study: Path) -> None:
    plan = plan_of(small_study)
    fixed = confirmation_of(plan)
    assert (fixed.until, fixed.blocks, fixed.looks) == ("seeds", SEEDS, None)
    assert confirmation_of(plan, until="seeds") == fixed
    begun = confirmation_of(plan, until="decided")
    assert begun == replace(fixed, until="decided", seeds=(MOST_SEEDS,))
    assert begun.looks == Looks(every=4, planned=MOST_SEEDS, most=MOST_SEEDS)
    assert Confirmation.read(begun.dump()) == begun
    # As it was begun, without being asked again.
    assert confirmation_of(plan, begun=begun) == begun
    # The most is a whole number of looks. It can only be raised; how errors are spent stays.
    few = confirmation_of(plan, until="decided", most=10)
    assert few.seeds == (12,)
    assert confirmation_of(plan, begun=few, most=8) == few
    raised = confirmation_of(plan, begun=few, until="decided", most=19)
    assert raised == replace(few, seeds=(12, 20))
    assert raised.looks == Looks(every=4, planned=12, most=20)


def test_a_confirmation_from_before_there_was_a_choice(small_study: Path) -> None:
    begun = confirmation_of(plan_of(small_study))
    old = {key: value for key, value in begun.dump().items() if "block" not in key}
    del old["until"]
    assert Confirmation.read(old) == begun


def test_a_confirmation_from_before_a_key_was_there(small_study: Path) -> None:
    begun = confirmation_of(plan_of(small_study))
    budget = {key: value for key, value in begun.settings["budget"].items() if key != "step"}
    older = replace(begun, settings=begun.settings | {"budget": budget})
    assert older != begun
    assert confirmation_of(plan_of(small_study), begun=older, seeds=12).seeds == (8, 12)


@pytest.mark.parametrize(
    ("begun", "asked", "message"),
    [
        ("seeds", {"until": "decided"}, "begun with a fixed number of seeds, and must end so"),
        ("seeds", {"most": 64}, "--most-seeds is for a confirmation that ends when all is decided"),
        ("decided", {"until": "seeds"}, "begun until all is decided, and must end so"),
        ("decided", {"seeds": 16}, r"--seeds is a fixed number, .* give --most-seeds"),
        ("decided", {"most": 3}, "--most-seeds is 3; give 4, the seeds up to the first look"),
        ("decided", {"most": 1001}, "--most-seeds is 1001; give 4, .* to 1,000"),
    ],
)
def test_how_it_ends_is_fixed_before_the_first_run(
    small_study: Path, begun: Until, asked: dict[str, Any], message: str
) -> None:
    plan = plan_of(small_study)
    before = confirmation_of(plan, until=begun)
    with pytest.raises(InvalidInput, match=message):
        confirmation_of(plan, begun=before, **asked)


def test_another_margin_is_refused(small_study: Path) -> None:
    plan = plan_of(small_study)
    begun = confirmation_of(plan)
    with pytest.raises(InvalidInput, match=r"--margin is 0\.5, .* begun with 0\.01; .* must not"):
        confirmation_of(plan, begun=begun, margin=0.5)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("inf"), float("nan")])
def test_a_margin_is_a_loss(small_study: Path, margin: float) -> None:
    with pytest.raises(InvalidInput, match="--margin is"):
        confirmation_of(plan_of(small_study), margin=margin)


def test_nothing_to_confirm(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is complete yet; finish it with: dynamoe-search run"):
        confirmation_of(plan_of(small_study), ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("5e-3", "4e-3"), "training"),
        (("seed = 3", "seed = 4"), "seed"),
        (("experts = 12", "experts = 13"), "budget"),
    ],
)
def test_a_confirmation_is_of_one_study_file(
    small_study: Path, change: tuple[str, str], named: str
) -> None:
    begun = confirmation_of(plan_of(small_study))
    with pytest.raises(InvalidInput, match=rf"since its confirmation began \({named}\)"):
        confirmation_of(plan_of(small_study, change), begun=begun)


def test_how_the_search_went_does_not_matter(small_study: Path) -> None:
    begun = confirmation_of(plan_of(small_study))
    changed = plan_of(small_study, ("runs = 14", "runs = 99"), ('"random"', '"tpe"'))
    assert confirmation_of(changed, begun=begun) == begun


def test_only_the_loss_counts(small_study: Path) -> None:
    edit(
        small_study,
        (
            '"blend"',
            '"blend"\nobjectives = ["utilization_entropy", "loss"]\nmeasure = ["gradients"]\n'
            'constraints = ["utilization_entropy >= 0.1"]',
        ),
    )
    study_file = read_study_file(small_study)
    alone = loss_alone(study_file)
    search = alone.search
    assert (search.objectives, search.constraints, search.measure) == (("loss",), (), ())
    assert search.pruner == "none"
    assert not search.measures("utilization_entropy")
    assert alone.training == study_file.training
    # The settings that must not change are the same.
    assert np.array_equal(alone.definition()["model"], study_file.definition()["model"])
