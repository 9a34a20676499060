"""The budget of experts that all candidates of a study share."""

from math import comb, log2
from pathlib import Path

import pytest

from dynamoe_search.plan.expert_budget import expert_budget, most_configurations
from dynamoe_search.plan.pool import family_pool
from dynamoe_search.report.bounds import pair_sentence
from dynamoe_search.specification import Relative, TopK
from tests.search.driver import plan_of


def test_the_budget_that_all_candidates_share(small_study: Path) -> None:
    budget = expert_budget(plan_of(small_study))
    assert budget is not None
    assert (budget.layers, budget.experts, budget.width, budget.hidden) == (4, 12, 8, 8)
    assert (budget.router, budget.minimum, budget.tokens) == (TopK(k=1), 1, 128)


@pytest.mark.parametrize(
    ("changes", "router"),
    [
        ([("experts = 12", 'experts = 12\nregime = "compute"')], TopK(k=1)),
        # A layer of one expert cannot use two.
        ([("experts = 12", 'experts = 12\nregime = "compute"'), ("k = 1", "k = 2")], None),
        (
            [
                ("experts = 12", 'experts = 12\nregime = "compute"\nactive = 2\nminimum = 2'),
                ('"top_k"\nk = 1', '"relative"'),
            ],
            Relative(target=2.0),
        ),
        ([('"blend"', '"blend"\nalso.k = [1, 2]')], None),
        ([("experts = 12", 'regime = "paper"\nmaximum = 4')], None),
    ],
)
def test_budgets_that_are_shared_or_not(
    small_study: Path, changes: list[tuple[str, str]], router: object
) -> None:
    budget = expert_budget(plan_of(small_study, *changes))
    assert (None if budget is None else budget.router) == router


@pytest.mark.parametrize("family", ["none", "free"])
def test_no_candidate_has_more_configurations_than_the_best_pair(
    small_study: Path, family: str
) -> None:
    compute = ("experts = 12", 'experts = 12\nregime = "compute"\nactive = 1.5')
    moves = ('"blend"', f'"{family}"\nactive_family = "free"')
    plan = plan_of(small_study, compute, moves)
    assert expert_budget(plan) is None
    best = most_configurations(plan)
    assert best is not None
    ways = [
        sum(log2(comb(*layer)) for layer in zip(one.schedule, one.active, strict=True))
        for one in family_pool(plan, 400)
    ]
    assert best.value == pytest.approx(max(ways), abs=1e-9 if family == "none" else 0.5)
    assert best.value >= max(ways) - 1e-9
    assert (str(best.schedule) == "3-3-3-3") == (family == "none")
    said = pair_sentence(best, plan.baselines["uniform"])
    assert ("None can route a token in more ways" in said) == (family == "none")
    assert f"2^{best.value:.1f}" in said


def test_configurations_need_an_active_schedule_of_whole_numbers(small_study: Path) -> None:
    assert most_configurations(plan_of(small_study)) is None
    compute = ("experts = 12", 'experts = 12\nregime = "compute"\nactive = 1.5')
    changes = (
        compute,
        ('"blend"', '"blend"\nactive_family = "free"'),
        ('"top_k"\nk = 1', '"top_p"'),
    )
    assert most_configurations(plan_of(small_study, *changes)) is None
