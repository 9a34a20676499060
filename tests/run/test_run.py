"""Whole runs, with real processes that are really killed."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.storage import open_log
from dynamoe_search.run.progress import Snapshot
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.processes import Command, output_of
from tests.run.processes import assert_accounted_for, kill_in_training, wait_for_runs

SLOWER = ("epochs = 2", "epochs = 12")


def complete(study: Study) -> pd.DataFrame:
    runs = study.training_runs()
    return runs[runs["state"] == "complete"]


def test_a_search_from_beginning_to_end_and_again(small_study: Path) -> None:
    study, seen = Study(small_study), list[Snapshot]()
    assert study.run(workers=2, progress=seen.append) == "finished"
    assert_accounted_for(study, 14)
    done = complete(study)
    assert set(done["pattern"]) >= {"descending", "uniform", ""}
    assert done["total_parameters"].nunique() == 1
    assert done["validation_loss"].between(0, 3).all()
    assert (done["finished"] > done["started"]).all()
    assert done["data"].nunique() == 1
    assert seen[-1].fraction == 1.0
    assert seen[-1].best is not None
    assert seen[-1].best_pattern is not None
    assert seen[-1].best[1] <= seen[-1].best_pattern[1]

    # Finished is finished: the same call trains nothing.
    before = study.training_runs()
    assert Study(small_study).run(workers=2, progress=False) == "finished"
    pd.testing.assert_frame_equal(Study(small_study).training_runs(), before)

    # More runs may be asked for later.
    edit(small_study, ("runs = 14", "runs = 17"))
    assert study.run(workers=1, progress=False) == "finished"
    assert_accounted_for(study, 17)


def test_one_worker_gives_the_same_bits_again(tmp_path: Path, small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 9"))
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "study.toml"
    again.write_text(small_study.read_text())
    studies = Study(small_study), Study(again)
    for study in studies:
        study.run(workers=1, progress=False)
    columns = ["candidate", "block", "seed", "state", "validation_loss"]
    first, second = (study.training_runs()[columns] for study in studies)
    pd.testing.assert_frame_equal(first, second)


def test_a_killed_command_goes_on(small_study: Path, command: Command) -> None:
    edit(small_study, SLOWER, ("runs = 14", "runs = 16"))
    study = Study(small_study)
    for at_least in (2, 5):
        run = command("run", small_study, "--workers", "2")
        wait_for_runs(study, at_least)
        wait_for_runs(study, 1, "running")
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    before = complete(study)
    assert study.run(workers=2, progress=False) == "finished"
    assert_accounted_for(study, 16)
    after = study.training_runs().set_index("run")
    kept = after.loc[before["run"], "validation_loss"]
    assert kept.tolist() == before["validation_loss"].tolist()
    assert (after["state"] == "died").sum() <= 4


def test_killed_workers_are_replaced(small_study: Path, command: Command) -> None:
    edit(small_study, ("epochs = 2", "epochs = 30"))
    study = Study(small_study)
    run = command("run", small_study, "--workers", "2")
    for _ in range(2):
        kill_in_training(study, of=run.pid)
    output_of(run)
    assert_accounted_for(study, 14)
    states = Counter(study.training_runs()["state"])
    assert states["died"] == 2


def test_an_interrupt_finishes_the_current_runs(small_study: Path, command: Command) -> None:
    edit(small_study, SLOWER, ("runs = 14", "runs = 500"))
    study = Study(small_study)
    run = command("run", small_study, "--workers", "2")
    wait_for_runs(study, 2)
    os.killpg(run.pid, signal.SIGINT)
    assert "the same command goes on" in output_of(run, status=130)
    assert set(study.training_runs()["state"]) == {"complete"}


def test_a_second_interrupt_stops_at_once_and_records_it(
    small_study: Path, command: Command
) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    study = Study(small_study)
    run = command("run", small_study, "--workers", "2")
    wait_for_runs(study, 2, "running")
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)
    output_of(run, status=130)
    runs = study.training_runs()
    assert set(runs["state"]) == {"interrupted"}
    assert runs["message"].str.contains(r"stopped at \d+% of the training").all()


def test_two_commands_on_one_study(small_study: Path, url: str) -> None:
    study = Study(small_study, url)
    with (
        open_log(study.storage, create=True) as log,
        log.exclusive("run", 0.0),
        pytest.raises(RunFailed, match="another command is working on this study"),
    ):
        study.run(workers=1, progress=False)


def test_runs_that_diverge_are_recorded(small_study: Path, command: Command) -> None:
    diverge = ("learning_rate = 5e-3", "learning_rate = 1e30")
    edit(small_study, diverge, ("runs = 14", "runs = 3"))
    output = output_of(command("run", small_study, "--workers", "1"), status=1)
    assert "no training run was completed" in output
    runs = Study(small_study).training_runs()
    assert runs["state"].tolist() == ["diverged"] * 3
    assert runs["message"].str.contains("validation loss is").all()


def test_a_changed_study_file_is_refused(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 1"))
    study = Study(small_study)
    study.run(workers=1, progress=False)
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match=r"model\.hidden: was 8, is 16"):
        study.run(workers=1, progress=False)


@pytest.mark.parametrize(
    "router", ['"threshold"\ntarget = 1.5', '"top_p"\ntarget = 1.5', '"percentile"']
)
def test_compute_is_matched_as_measured(small_study: Path, router: str) -> None:
    edit(
        small_study,
        ("experts = 12", 'regime = "compute"\nexperts = 12\nactive = 1.5'),
        ('"top_k"\nk = 1', router),
        ("epochs = 2", "epochs = 4"),
    )
    study = Study(small_study)
    study.run(workers=2, progress=False)
    done = complete(study)
    assert done["schedule"].nunique() > 6
    assert done["total_parameters"].nunique() == 1
    assert done["active_experts"].between(0.98 * 1.5, 1.02 * 1.5).all()


def test_the_paper_regime_matches_nothing(small_study: Path) -> None:
    edit(
        small_study,
        ("experts = 12", 'regime = "paper"\nminimum = 1\nmaximum = 5'),
        ('"top_k"\nk = 1', '"percentile"'),
    )
    study = Study(small_study)
    study.run(workers=2, progress=False)
    done = complete(study)
    assert done["total_parameters"].nunique() > 1
    assert done["active_experts"].nunique() > 1
    names = done.loc[done["schedule"] == "5-4-2-1", "pattern"]
    assert names.unique().tolist() == ["descending"]
