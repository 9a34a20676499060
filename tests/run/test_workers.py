"""Workers that are really killed or frozen, wherever the records are."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dynamoe_search.log.records import read_ledger
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study

from dynamoe_search.cli.console import open_study
from dynamoe_search.errors import RunFailed
from dynamoe_search.log.storage import place_of
from dynamoe_search.run import worker
from dynamoe_search.run.session import Resources
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from tests.conftest import edit
from tests.fixtures import Server
from tests.run.processes import (
    Command,
    another_process,
    assert_accounted_for,
    begin,
    carry_out,
    die,
    die_before_write,
    dies,
    freeze_before,
    hang_elsewhere,
    kill,
    kill_in_training,
    live_elsewhere,
    output_of,
    parent_of,
    replace,
    training,
    wait_for,
    wait_for_training,
    wait_for_trials,
)

SLOWER = ("epochs = 2", "epochs = 30")
ASK = "optuna.study.Study.ask"
RECORD_CLAIM = "dynamoe_search.search.assignment.record_claim"
COMPLETE = "dynamoe_search.log.records._complete"
TRAIN = "dynamoe_search.run.worker.train"
MAKE_RESULT = "dynamoe_search.run.worker.make_result"
KEY = ["candidate", "replicate"]


def trials_are(path: Path, number: int) -> None:
    edit(path, ("trials = 14", f"trials = {number}"))


def test_a_worker_may_die_before_any_write(small_study: Path, url: str) -> None:
    limits = 'replicates = 2\npruner = "median"\nconstraints = ["active_experts <= 2"]'
    edit(small_study, ("replicates = 2", limits))
    trials_are(small_study, 10)
    begin(small_study, url)
    deaths = 0
    # Each comes one write further than the one before it, until one comes to the end.
    while dies(small_study, url, f"run {deaths}", partial(die_before_write, deaths + 1)):
        deaths += 1
    assert deaths > 10
    trials = load_trials(small_study, url)
    trained = trials[trials["state"].isin(["complete", "pruned"])]
    assert len(trained) == 10
    assert not trained.duplicated(KEY).any()
    assert set(trials["state"]) <= {"complete", "pruned", "died", "repeat"}
    # What died before it was claimed stands for no training; the others were tried again.
    tried_again = trials.loc[(trials["state"] == "died") & (trials["candidate"] != ""), KEY]
    assert len(tried_again.merge(trained, on=KEY)) == len(tried_again)


def test_killed_between_a_result_and_its_commit(small_study: Path, url: str) -> None:
    trials_are(small_study, 3)
    begin(small_study, url)
    assert dies(small_study, url, prepare=partial(replace, COMPLETE, die))
    (trial,) = load_trials(small_study, url).to_dict("records")
    assert trial["state"] == "running"
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 3, url)
    assert len(trials) == 3
    assert trials.loc[0, "validation_loss"] == trial["validation_loss"]
    assert trials.loc[0, "worker"] == trial["worker"]
    # The sampler is told, too.
    first = open_study(place_of(small_study.parent, url)).trials[0]
    assert first.value == trial["validation_loss"]


@pytest.mark.parametrize("moment", [ASK, RECORD_CLAIM])
def test_killed_while_it_decides_in_memory(small_study: Path, url: str, moment: str) -> None:
    trials_are(small_study, 3)
    begin(small_study, url)
    assert dies(small_study, url, prepare=partial(replace, moment, die))
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 3, url)
    assert trials["state"].tolist() == ["complete"] * 3


@pytest.mark.parametrize("moment", [ASK, RECORD_CLAIM])
def test_killed_before_its_trial_is_claimed(small_study: Path, url: str, moment: str) -> None:
    trials_are(small_study, 3)
    edit(small_study, ('"random"', '"qmc"'))  # which keeps its state in the records
    begin(small_study, url)
    assert dies(small_study, url, prepare=partial(replace, moment, die))
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 3, url)
    assert trials["state"].tolist() == ["died", "complete", "complete", "complete"]
    assert trials["candidate"].tolist()[0] == ""
    assert trials["candidate"].nunique() == 4


def test_nobody_gives_a_trial_up_while_its_end_is_written(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials_are(small_study, 1)
    begin(small_study, url)
    place = place_of(small_study.parent, url)
    record_result = worker.record_result

    def record(*arguments: Any) -> None:
        with pytest.raises(RunFailed), place._lock(f"claim {place.name}", 0.0):
            pass
        record_result(*arguments)

    monkeypatch.setattr(worker, "record_result", record)
    carry_out(small_study, url)
    assert_accounted_for(small_study, 1, url)


def test_a_training_that_kills_twice_is_given_up(small_study: Path, url: str) -> None:
    trials_are(small_study, 3)
    begin(small_study, url)
    for _ in range(2):
        assert dies(small_study, url, "one run", partial(replace, TRAIN, die))
    for run in ("one run", "another"):
        carry_out(small_study, url, run)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["died", "died", "complete", "complete"]
    assert trials["candidate"].tolist()[0] == trials["candidate"].tolist()[1]
    ledger = read_ledger(open_study(place_of(small_study.parent, url)).trials)
    # What killed its workers has used up a training, and is no sign that others would not die.
    assert (ledger.trained, ledger.given_up) == (3, 1)
    assert trials["candidate"].nunique() == 3


def test_killed_elsewhere_and_tried_again_by_one_that_waits(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    trials_are(small_study, 1)
    begin(small_study, url)
    prepare = partial(hang_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for_trials(small_study, 1, "running", url)
        process.kill()
    carry_out(small_study, url, grace=1.5)
    trials = assert_accounted_for(small_study, 1, url)
    assert trials["state"].tolist() == ["died", "complete"]
    assert trials[KEY].drop_duplicates().shape == (1, 2)


def freeze_elsewhere(folder: Path) -> None:
    live_elsewhere(folder)
    freeze_before(MAKE_RESULT)


def test_the_late_result_of_one_that_was_frozen_is_dropped(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    trials_are(small_study, 1)
    begin(small_study, url)
    prepare = partial(freeze_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for(lambda: is_frozen(process.pid))
        carry_out(small_study, url, grace=1.5)
        before = assert_accounted_for(small_study, 1, url)
        assert before["state"].tolist() == ["died", "complete"]
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        assert process.exitcode == 0
    assert load_trials(small_study, url).equals(before)


def is_frozen(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def test_a_killed_worker_and_a_killed_command(
    small_study: Path, url: str, command: Command
) -> None:
    edit(small_study, SLOWER)
    trials_are(small_study, 8)
    begin(small_study, url)
    run = command("run", small_study, "--storage", url, "--workers", "1")
    helper = command("worker", "--storage", url, "--workers", "1")
    kill_in_training(small_study, url, helper)
    wait_for_training(small_study, url, run)
    kill(run)
    assert "Nothing is left to train." in output_of(helper)
    trials = assert_accounted_for(small_study, 8, url)
    assert 1 <= (trials["state"] == "died").sum() <= 2
    assert trials["worker"].nunique() == 3


def test_a_killed_helper(small_study: Path, tmp_path: Path, command: Command) -> None:
    url = f"journal:///{tmp_path / 'records'}"
    edit(small_study, SLOWER)
    trials_are(small_study, 8)
    begin(small_study, url)
    helper = command("worker", "--storage", url, "--workers", "1")
    run = command("run", small_study, "--storage", url, "--workers", "1")
    wait_for_training(small_study, url, helper)
    kill(helper)
    output_of(run)
    trials = assert_accounted_for(small_study, 8, url)
    assert (trials["state"] == "died").sum() <= 1


def test_a_killed_fork_server_leaves_no_worker_behind(
    small_study: Path, tmp_path: Path, command: Command
) -> None:
    url = f"sqlite:///{tmp_path / 'records'}"
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    begin(small_study, url)
    run = command("run", small_study, "--storage", url, "--workers", "1")
    wait_for_training(small_study, url, run)
    ((worker, process),) = training(small_study, url, run).items()
    os.kill(parent_of(process), signal.SIGKILL)
    # Its parent cannot know of it any more, and lets another try again: two would train the same.
    wait_for(lambda: not Path(f"/proc/{process}").exists())
    wait_for(lambda: training(small_study, url, run).keys() - {worker})
    trials = load_trials(small_study, url)
    assert trials["state"].tolist() == ["died", "running"]
    assert trials["candidate"].nunique() == 1


def test_a_server_that_crashes(small_study: Path, server: Server, command: Command) -> None:
    url = server.new_database()
    edit(small_study, SLOWER)
    trials_are(small_study, 4)
    begin(small_study, url)
    run = command("run", small_study, "--storage", url, "--workers", "1")
    wait_for_training(small_study, url)
    server.stop()
    output = output_of(run, status=1)
    server.start()
    assert "error: " in output
    run_study(small_study, Resources(workers=1), url)
    trials = assert_accounted_for(small_study, 4, url)
    assert trials["state"].value_counts()["died"] == 1


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_workers_find_what_one_finds(small_study: Path, tmp_path: Path, kind: str) -> None:
    losses = []
    for name, workers in (("alone", 1), ("together", 2)):
        url = f"{kind}:///{tmp_path / name}"
        run_study(small_study, Resources(workers=workers), url)
        trials = assert_accounted_for(small_study, 14, url)
        losses.append(trials[trials["state"] == "complete"].set_index(KEY)["validation_loss"])
    alone, together = losses
    both = alone.index.intersection(together.index)
    assert len(both) >= len(PATTERNS_AND_UNIFORM)
    assert alone[both].tolist() == together[both].tolist()
