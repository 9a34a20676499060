"""Networks of a study: those that were kept, and the same trained again."""

from pathlib import Path

import pytest
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.expert_budget import expert_budget
from dynamoe_search.run.networks import load_plan, trained_network
from dynamoe_search.run.session import Resources
from dynamoe_search.run.worker import one_thread
from dynamoe_search.specification import Relative, TopK
from dynamoe_search.training.checkpoint import read_about, save_model
from dynamoe_search.training.evaluation import evaluate
from tests.conftest import edit

SHORT = [("trials = 14", "trials = 4"), ("epochs = 2", "epochs = 1")]


@pytest.fixture
def begun(small_study: Path) -> Path:
    edit(small_study, *SHORT)
    run_study(small_study, Resources(workers=1))
    one_thread()
    return small_study


def test_a_network_that_was_not_kept_is_trained_again_and_is_the_same(begun: Path) -> None:
    started = list[tuple[int, str]]()

    def begin(trial: int, candidate: str) -> None:
        started.append((trial, candidate))

    trials = load_trials(begun)
    found = trained_network(begun, trial=2, on_start=begin)
    assert started == [(2, trials["candidate"][2])]
    assert found.loss_again == found.recorded_loss == trials["validation_loss"][2]
    assert found.seed == trials["seed"][2]
    again = trained_network(begun, trial=2, on_start=begin)
    assert len(started) == 1
    assert again.loss_again is None
    assert evaluate(again.model, again.data.validation).loss == pytest.approx(found.recorded_loss)


def test_what_lies_in_its_place_but_is_another_is_not_taken_for_it(begun: Path) -> None:
    found = trained_network(begun, trial=1)
    save_model(found.model, found.path, read_about(found.path) | {"seed": 0})
    assert trained_network(begun, trial=1).loss_again == found.recorded_loss


def test_what_the_search_kept_is_not_trained_again(small_study: Path) -> None:
    edit(small_study, *SHORT, ("replicates = 2", "replicates = 2\nkeep_models = true"))
    run_study(small_study, Resources(workers=1))
    assert trained_network(small_study, trial=3).loss_again is None


def test_the_network_of_records_that_are_gone_is_not_taken_for_it(begun: Path) -> None:
    before = trained_network(begun, trial=1)
    begun.with_name("study.db").unlink()
    edit(begun, ("epochs = 1", "epochs = 3"))
    run_study(begun, Resources(workers=1))
    after = trained_network(begun, trial=1)
    assert (after.candidate, after.seed, after.path) == (before.candidate, before.seed, before.path)
    assert after.loss_again == after.recorded_loss != before.recorded_loss


def test_another_network_does_not_take_its_place(begun: Path) -> None:
    kept = trained_network(begun, trial=1)
    written = kept.path.stat().st_mtime_ns
    edit(begun, ("epochs = 1", "epochs = 2"))
    run_study(begun, Resources(workers=1), allow_changes=True)
    followed = trained_network(begun, trial=1, on_evaluation=lambda *seen: None)
    assert followed.loss_again != kept.recorded_loss
    assert kept.path.stat().st_mtime_ns == written
    assert trained_network(begun, trial=1).loss_again is None


def test_the_leader_comes_first_and_a_schedule_by_its_first_replicate(begun: Path) -> None:
    trials = load_trials(begun)
    leader = trials.loc[trials["validation_loss"].idxmin()]
    found = trained_network(begun)
    assert (found.trial, found.candidate) == (leader["trial"], leader["candidate"])
    by_schedule = trained_network(begun, candidate=trials["schedule"][0])
    assert (by_schedule.trial, by_schedule.replicate) == (0, 0)


def test_following_it_trains_it_again(begun: Path) -> None:
    kept, fractions = trained_network(begun, trial=0), list[float]()
    found = trained_network(
        begun, trial=0, on_evaluation=lambda point, *seen: fractions.append(point.fraction)
    )
    assert fractions[-1] == 1
    assert found.loss_again == kept.recorded_loss


def test_what_is_not_there_is_told(begun: Path) -> None:
    with pytest.raises(InvalidInput, match="trial 99 is missing; choose one that is complete"):
        trained_network(begun, trial=99)
    with pytest.raises(InvalidInput, match="9-1-1-1 was not trained to its end in this study; 4"):
        trained_network(begun, candidate="9-1-1-1")
    with pytest.raises(InvalidInput, match="no candidate"):
        trained_network(begun, candidate="nonsense")


def test_the_budget_that_all_candidates_share(begun: Path) -> None:
    budget = expert_budget(load_plan(begun))
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
    edit(small_study, *changes)
    from dynamoe_search.data import embedded_digits
    from dynamoe_search.plan.plan import make_plan
    from dynamoe_search.plan.reader import read_study_file

    budget = expert_budget(make_plan(read_study_file(small_study), embedded_digits(seed=0)))
    assert (None if budget is None else budget.router) == router
