"""The budget of experts that all candidates of a study share."""

from pathlib import Path

import pytest

from dynamoe_search.plan.expert_budget import expert_budget
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
