from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from dynamoe_search.log.records import read_ledger, record_failure, record_result, settle
from dynamoe_search.run.confirm import confirm_study, load_confirmation
from dynamoe_search.run.results import load_trials, table_of
from dynamoe_search.run.run import run_study
from dynamoe_search.search.agenda import ConfirmationAgenda

from dynamoe_search.budgets import active_parameters, parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.table import paired_results
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import SearchSection
from dynamoe_search.run.session import Resources
from dynamoe_search.training.loop import train
from tests.conftest import edit

ONE = Resources(workers=1)
LOSS = SearchSection(trials=1)


def test_finalists_and_baselines_from_fresh_seeds_on_the_test_split(small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 9"), ("epochs = 2", "epochs = 1"))
    run_study(small_study, ONE)
    before = load_trials(small_study)
    begun: list[tuple[Plan, Confirmation]] = []
    outcome = confirm_study(
        small_study, 2, None, ONE, on_start=lambda plan, what: begun.append((plan, what))
    )
    assert outcome.reason == "finished"
    trials, confirmation = load_confirmation(small_study)
    ((plan, announced),) = begun
    assert announced == confirmation

    # The search is as it was.
    assert load_trials(small_study).equals(before)
    losses = before.groupby("candidate")["validation_loss"].mean().sort_values(kind="stable")
    assert confirmation.reference == losses.index[0]
    assert set(losses.index[:3]) <= set(confirmation.names)
    assert set(confirmation.names) >= {str(candidate) for candidate in plan.baselines.values()}
    assert sum(name.startswith("dense") for name in confirmation.names) == 2
    assert confirmation.margin == 0.01

    # Every candidate from the same seeds, none of which the search has seen.
    assert (trials["state"] == "complete").all()
    assert trials.groupby("candidate")["replicate"].apply(sorted).map(list).tolist() == [
        [0, 1]
    ] * len(confirmation.names)
    assert trials.groupby("replicate")["seed"].nunique().tolist() == [1, 1]
    assert not set(trials["seed"]) & {plan.seed(replicate) for replicate in range(1000)}

    # The measurement is that of the test split, and can be repeated to the bit.
    row = trials[trials["candidate"] == confirmation.reference].iloc[0]
    data = embedded_digits(seed=0)
    network = plan.network_with(parse_candidate(row["candidate"]))
    again = train(network, data, plan.study.training, row["seed"])
    assert again.validation.loss == row["validation_loss"]
    assert row["test_loss"] != row["validation_loss"]

    # Finished is finished; with more seeds it goes on, and remembers that it was looked at.
    assert confirm_study(small_study, None, None, ONE).reason == "finished"
    confirm_study(small_study, 3, 0.01, ONE)
    more, confirmation = load_confirmation(small_study)
    assert confirmation.seeds == (2, 3)
    assert len(more) == 3 * len(confirmation.names)
    kept = more[more["replicate"] < 2].sort_values("trial")
    assert kept["test_loss"].tolist() == trials["test_loss"].tolist()
    with pytest.raises(InvalidInput, match=r"--margin is 0\.5, .* begun with 0\.01"):
        confirm_study(small_study, None, 0.5, ONE)


def test_twins_have_as_many_parameters(small_study: Path) -> None:
    edit(
        small_study,
        ("trials = 14", "trials = 7"),
        ("epochs = 2", "epochs = 1"),
        ('"top_k"\nk = 1', '"top_p"'),
    )
    run_study(small_study, ONE)
    found: list[tuple[Plan, Confirmation]] = []

    def stop(plan: Plan, confirmation: Confirmation) -> None:
        found.append((plan, confirmation))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        confirm_study(small_study, on_start=stop)
    plan, confirmation = found[0]
    trials = load_trials(small_study)
    of_uniform = trials[trials["candidate"] == str(plan.baselines["uniform"])]
    measured = np.mean(of_uniform["mean_active"].tolist(), axis=0)
    uniform = plan.network_with(plan.baselines["uniform"])
    wanted = {
        "total": parameter_count(uniform).total,
        "active": active_parameters(uniform, list(measured)).expected,
    }
    for text, name in confirmation.names.items():
        if name.startswith("dense"):
            twin = plan.network_with(parse_candidate(text))
            match = name.split()[1]
            # A hidden unit costs two parameters a unit of width.
            assert abs(parameter_count(twin).total - wanted[match]) <= plan.network.width


def test_nothing_to_confirm(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
        confirm_study(small_study)
    edit(
        small_study, ("trials = 14", "trials = 1"), ("learning_rate = 5e-3", "learning_rate = 1e30")
    )
    run_study(small_study, ONE)
    with pytest.raises(InvalidInput, match="has no confirmation yet"):
        load_confirmation(small_study)
    with pytest.raises(InvalidInput, match="no training of this study is complete yet"):
        confirm_study(small_study)


def test_of_several_attempts_one_counts() -> None:
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2, 3, 4, 5],
            "candidate": ["a", "a", "b", "b", "c", "d"],
            "replicate": [0, 0, 0, 0, 0, 0],
            "state": ["died", "complete", "complete", "interrupted", "diverged", "running"],
            "test_loss": [np.nan, 1.0, 2.0, np.nan, np.nan, np.nan],
        }
    )
    found = paired_results(trials).set_index("candidate")["loss"]
    assert found["a"] == 1.0
    assert found["b"] == 2.0
    assert found[["c", "d"]].isna().all()
    nothing = paired_results(trials.iloc[[0]].drop(columns="test_loss"))
    assert nothing["loss"].isna().all()


def test_a_trial_that_was_never_claimed_is_nobody_s_result(plan: Plan) -> None:
    study = optuna.create_study()
    agenda = ConfirmationAgenda(("6-3-2-1", "3-3-3-3"), seeds=1)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    for loss in (0.5, 0.6):
        assignment = agenda.next(study, study.trials, plan, "1", "a")
        assert assignment is not None
        result = {"validation_loss": loss, "test_loss": loss, "training_flops": 1.0}
        record_result(study, assignment.trial, assignment.claim, result, LOSS)
    results = paired_results(table_of(study.trials, plan.study))
    assert results["candidate"].tolist() == ["6-3-2-1", "3-3-3-3"]
    assert results["loss"].tolist() == [0.5, 0.6]


def test_a_confirmation_ends_for_any_number_of_trainings(plan: Plan) -> None:
    ledger = read_ledger([])
    for candidates in range(1, 15):
        for seeds in range(1, 15):
            agenda = ConfirmationAgenda(tuple(map(str, range(candidates))), seeds)
            assert agenda.fraction(replace(ledger, trained=candidates * seeds)) == 1
            assert agenda.fraction(replace(ledger, trained=candidates * seeds - 1)) < 1


def test_a_confirmation_is_of_one_study_file(small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 7"), ("epochs = 2", "epochs = 1"))
    run_study(small_study, ONE)

    def stop(plan: Plan, confirmation: Confirmation) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        confirm_study(small_study, on_start=stop)
    edit(small_study, ("5e-3", "4e-3"))
    run_study(small_study, ONE, allow_changes=True)
    with pytest.raises(InvalidInput, match=r"changed since its confirmation began \(training\)"):
        confirm_study(small_study)


def test_only_the_loss_counts(small_study: Path) -> None:
    edit(
        small_study,
        ("trials = 14", "trials = 8"),
        ("epochs = 2", "epochs = 1"),
        (
            '"blend"',
            '"blend"\nobjectives = ["utilization_entropy", "loss"]\n'
            'constraints = ["utilization_entropy >= 0.1"]',
        ),
    )
    run_study(small_study, ONE)
    assert confirm_study(small_study, 2, None, ONE).reason == "finished"
    trials, confirmation = load_confirmation(small_study)
    assert (trials["state"] == "complete").all()
    entropy = load_trials(small_study).groupby("candidate")["utilization_entropy"].mean()
    assert entropy[confirmation.reference] == entropy.max()


@pytest.mark.parametrize("margin", [0.0, -1.0, float("inf"), float("nan")])
def test_a_margin_is_a_loss(small_study: Path, margin: float) -> None:
    edit(small_study, ("trials = 14", "trials = 1"), ("epochs = 2", "epochs = 1"))
    run_study(small_study, ONE)
    with pytest.raises(InvalidInput, match="--margin is"):
        confirm_study(small_study, 2, margin, ONE)
    with pytest.raises(InvalidInput, match="no confirmation yet"):
        load_confirmation(small_study)


@pytest.mark.parametrize("text", ["dense 96x2-95", "dense 7", "8-6-4-2", "8-4 hidden=21 p=0.7"])
def test_candidates_come_back_from_their_text(text: str) -> None:
    assert str(parse_candidate(text)) == text


@pytest.mark.parametrize("text", ["dense", "dense x", "8-4 k", "8-4 k=two", "", "8-", "8-4 =2=3"])
def test_other_text_is_no_candidate(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"candidate|schedule"):
        parse_candidate(text)


def test_dense_twins_are_written_shortly() -> None:
    assert str(DenseBaseline((5,) * 24)) == "dense 5x24"


AGENDA = ConfirmationAgenda(("2-4", "3-3", "dense 9x2"), seeds=3)


@pytest.fixture
def plan(small_study: Path) -> Plan:
    edit(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 6"))
    return make_plan(read_study_file(small_study), embedded_digits(seed=0))


def test_whole_seeds_come_first(plan: Plan) -> None:
    study = optuna.create_study()
    asked = []
    while (assignment := AGENDA.next(study, study.trials, plan, "w", "r")) is not None:
        asked.append((assignment.claim.candidate, assignment.claim.replicate))
        result = {"validation_loss": 1.0, "training_flops": 1.0}
        record_result(study, assignment.trial, assignment.claim, result, LOSS)
    assert asked == [(name, seed) for seed in range(3) for name in AGENDA.candidates]
    assert AGENDA.fraction(read_ledger(study.trials)) == 1


def test_what_died_is_tried_again_and_what_diverged_is_not(plan: Plan) -> None:
    study = optuna.create_study()
    first = AGENDA.next(study, study.trials, plan, "w", "r")
    second = AGENDA.next(study, study.trials, plan, "v", "r")
    assert first is not None
    assert second is not None
    settle(study, LOSS, "w".__eq__)
    record_failure(study, second.trial, "diverged", "nan")
    again = AGENDA.next(study, study.trials, plan, "v", "r")
    assert again is not None
    assert (again.claim.candidate, again.claim.seed) == (first.claim.candidate, first.claim.seed)
    third = AGENDA.next(study, study.trials, plan, "v", "r")
    assert third is not None
    assert third.claim.candidate == "dense 9x2"
