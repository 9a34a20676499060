"""Confirmations: what is trained, on which blocks and splits, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.budgets import active_parameters, parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.confirmation import DENSE, Confirmation
from dynamoe_search.plan.plan import Plan
from dynamoe_search.study import Study
from dynamoe_search.training.loop import train
from tests.conftest import edit
from tests.processes import die, replace
from tests.report import made_up
from tests.run.processes import KEY, assert_accounted_for, carry_out, dies

STARTED = "dynamoe_search.run.worker.started"
TRAIN = "dynamoe_search.run.worker.train"


def confirm(study: Study, seeds: int | None = None, margin: float | None = None) -> str:
    return study.confirm(seeds, margin, workers=1, progress=False)


def confirmation_begun_by(study: Study, seeds: int | None = None) -> tuple[Plan, Confirmation]:
    """Begin a confirmation, and stop before its first run."""
    begun: list[tuple[Plan, Confirmation]] = []

    def stop(plan: Plan, confirmation: Confirmation) -> None:
        begun.append((plan, confirmation))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.confirm(seeds, workers=1, progress=False, on_start=stop)
    return begun[0]


@pytest.mark.slow
def test_finalists_and_baselines_on_fresh_blocks_and_the_test_split(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 9"), ("epochs = 2", "epochs = 1"))
    study = Study(small_study)
    assert study.run(workers=1, progress=False) == "finished"
    before = study.training_runs()
    begun: list[tuple[Plan, Confirmation]] = []
    ending = study.confirm(
        2, workers=1, progress=False, on_start=lambda plan, what: begun.append((plan, what))
    )
    assert ending == "finished"
    table, confirmation = study.confirmation()
    ((plan, announced),) = begun
    assert announced == confirmation
    assert set(table["candidate"]) == set(confirmation.names) - {confirmation.reference}

    # The search is as it was.
    assert study.training_runs().equals(before)
    in_order = study.posterior().tried_in_order()
    assert confirmation.reference == in_order[0] == study.decision().candidate
    assert set(in_order[:3]) <= set(confirmation.names)
    assert set(confirmation.names) >= {str(candidate) for candidate in plan.baselines.values()}
    assert sum(name.startswith("dense") for name in confirmation.names) == 2
    assert confirmation.margin == 0.01

    # Every candidate on the same blocks, none of which the search has seen.
    runs = study.training_runs("confirmation")
    assert (runs["state"] == "complete").all()
    blocks = runs.groupby("candidate")["block"].apply(sorted)
    assert blocks.tolist() == [[0, 1]] * len(confirmation.names)
    assert runs.groupby("block")["seed"].nunique().tolist() == [1, 1]
    of_search = {seed for block in range(1000) for seed in plan.seeds(block)}
    assert not set(runs["seed"]) & of_search

    # The measurement is that of the test split, and can be repeated to the bit.
    row = runs[runs["candidate"] == confirmation.reference].iloc[0]
    network = plan.network_with(parse_candidate(row["candidate"]))
    again = train(network, embedded_digits(seed=0), plan.study.training, [row["seed"]])
    assert again.of_seeds[0].validation.loss == row["validation_loss"]
    assert row["test_loss"] != row["validation_loss"]

    # Finished is finished; with more seeds it goes on, and remembers that it was looked at.
    assert confirm(study) == "finished"
    assert study.training_runs("confirmation").equals(runs)
    assert confirm(study, 3, 0.01) == "finished"
    more, (_, confirmation) = study.training_runs("confirmation"), study.confirmation()
    assert confirmation.seeds == (2, 3)
    assert len(more) == 3 * len(confirmation.names)
    kept = more[more["block"] < 2].sort_values("run")
    assert kept["test_loss"].tolist() == runs["test_loss"].tolist()
    with pytest.raises(InvalidInput, match=r"--margin is 0\.5, .* begun with 0\.01"):
        confirm(study, margin=0.5)


@pytest.mark.slow
def test_dense_baselines_have_as_many_parameters(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 7"),
        ("epochs = 2", "epochs = 1"),
        ('"top_k"\nk = 1', '"top_p"'),
    )
    study = Study(small_study)
    study.run(workers=1, progress=False)
    plan, confirmation = confirmation_begun_by(study)
    runs = study.training_runs()
    of_uniform = runs[runs["candidate"] == str(plan.baselines["uniform"])]
    measured = np.mean(of_uniform["mean_active"].tolist(), axis=0)
    uniform = plan.network_with(plan.baselines["uniform"])
    wanted = {
        DENSE["total"]: parameter_count(uniform).total,
        DENSE["active"]: active_parameters(uniform, list(measured)).expected,
    }
    found = {
        baseline: parameter_count(plan.network_with(parse_candidate(one.candidate))).total
        for one in confirmation.contenders
        for baseline in one.baselines
        if baseline in wanted
    }
    # A hidden unit costs two parameters per unit of width.
    assert found == pytest.approx(wanted, abs=plan.network.width)


@pytest.mark.slow
def test_nothing_to_confirm(small_study: Path) -> None:
    study = Study(small_study)
    with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
        confirm(study)
    edit(small_study, ("runs = 14", "runs = 1"), ("learning_rate = 5e-3", "learning_rate = 1e30"))
    study.run(workers=1, progress=False)
    with pytest.raises(InvalidInput, match="has no confirmation yet"):
        study.confirmation()
    with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
        confirm(study)


@pytest.mark.slow
def test_a_confirmation_is_of_one_study_file(small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 1"))
    made_up.search(small_study)
    study = Study(small_study)
    confirmation_begun_by(study)
    edit(small_study, ("5e-3", "4e-3"))
    assert study.run(workers=1, progress=False, allow_changes=True) == "finished"
    with pytest.raises(InvalidInput, match=r"changed since its confirmation began \(training\)"):
        confirm(study)


@pytest.mark.slow
def test_it_survives_deaths_and_has_helpers(small_study: Path, url: str) -> None:
    edit(small_study, ("runs = 14", "runs = 7"), ("epochs = 2", "epochs = 1"))
    study = made_up.begin(small_study, storage=url)
    carry_out(small_study, url)
    confirmation_begun_by(study, 2)
    for prepare in (partial(replace, TRAIN, die), partial(replace, STARTED, die)):
        assert dies(small_study, url, prepare=prepare, stage="confirmation")
    # A helper needs neither the study file nor to be told the stage.
    helped = Study.at(url)
    assert helped.work(workers=1, progress=False) == "finished"
    runs = helped.training_runs("confirmation")
    names = set(study.confirmation()[1].names)
    assert runs["state"].tolist() == ["died"] + ["complete"] * 2 * len(names)
    assert runs.loc[0, KEY].tolist() == runs.loc[1, KEY].tolist()
    done = runs[runs["state"] == "complete"]
    assert not done.duplicated(KEY).any()
    assert set(done["candidate"]) == names
    assert confirm(study) == "finished"
    pd.testing.assert_frame_equal(study.training_runs("confirmation"), runs)
    # The search is as it was.
    assert len(assert_accounted_for(study, 7)) == 7


@pytest.mark.slow
def test_only_the_loss_counts(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 8"),
        ("epochs = 2", "epochs = 1"),
        (
            '"blend"',
            '"blend"\nobjectives = ["utilization_entropy", "loss"]\n'
            'constraints = ["utilization_entropy >= 0.1"]',
        ),
    )
    study = Study(small_study)
    study.run(workers=1, progress=False)
    assert confirm(study, 2) == "finished"
    _, confirmation = study.confirmation()
    runs = study.training_runs("confirmation")
    assert (runs["state"] == "complete").all()
    assert runs["feasible"].all()
    entropy = study.training_runs().groupby("candidate")["utilization_entropy"].mean()
    assert entropy[confirmation.reference] == entropy.max()


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.0, -1.0, float("inf"), float("nan")])
def test_a_margin_is_a_loss(small_study: Path, margin: float) -> None:
    made_up.search(small_study, most=1)
    study = Study(small_study)
    with pytest.raises(InvalidInput, match="--margin is"):
        confirm(study, 2, margin)
    with pytest.raises(InvalidInput, match="no confirmation yet"):
        study.confirmation()
