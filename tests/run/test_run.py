"""Whole runs, with real processes that are really killed."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.storage import place_of
from dynamoe_search.run.progress import Progress
from dynamoe_search.run.session import Resources
from tests.conftest import edit
from tests.run.processes import (
    Command,
    assert_accounted_for,
    kill_in_training,
    wait_for_trials,
)

SLOWER = ("epochs = 2", "epochs = 12")


def complete(path: Path) -> pd.DataFrame:
    trials = load_trials(path)
    return trials[trials["state"] == "complete"]


def test_a_search_from_beginning_to_end_and_again(small_study: Path) -> None:
    seen: list[Progress] = []
    outcome = run_study(str(small_study), Resources(workers=2), on_progress=seen.append)
    assert outcome.reason == "finished"
    assert_accounted_for(small_study, 14)
    done = complete(small_study)
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
    before = load_trials(small_study)
    pd.testing.assert_frame_equal(outcome.trials(), before)
    assert outcome.trials().attrs == before.attrs
    assert run_study(small_study, Resources(workers=2)).reason == "finished"
    pd.testing.assert_frame_equal(load_trials(small_study), before)

    # More trials may be asked for later.
    edit(small_study, ("trials = 14", "trials = 17"))
    assert run_study(small_study, Resources(workers=1)).reason == "finished"
    assert_accounted_for(small_study, 17)


def test_one_worker_gives_the_same_bits_again(tmp_path: Path, small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 9"))
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "study.toml"
    again.write_text(small_study.read_text())
    run_study(small_study, Resources(workers=1))
    run_study(again, Resources(workers=1))
    columns = ["schedule", "replicate", "seed", "state", "validation_loss"]
    pd.testing.assert_frame_equal(load_trials(small_study)[columns], load_trials(again)[columns])


def test_a_killed_run_goes_on(small_study: Path, command: Command) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 16"))
    for at_least in (2, 5):
        run = command("run", small_study, "--workers", "2")
        wait_for_trials(small_study, at_least)
        wait_for_trials(small_study, 1, "running")
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    before = complete(small_study)
    assert run_study(small_study, Resources(workers=2)).reason == "finished"
    assert_accounted_for(small_study, 16)
    after = load_trials(small_study).set_index("trial")
    kept = after.loc[before["trial"], "validation_loss"]
    assert kept.tolist() == before["validation_loss"].tolist()
    assert (after["state"] == "died").sum() <= 4


def test_killed_workers_are_replaced(small_study: Path, command: Command) -> None:
    edit(small_study, ("epochs = 2", "epochs = 30"))
    run = command("run", small_study, "--workers", "2")
    for _ in range(2):
        kill_in_training(small_study, of=run)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert_accounted_for(small_study, 14)
    states = Counter(load_trials(small_study)["state"])
    assert states["died"] == 2


def test_an_interrupt_finishes_the_current_trainings(small_study: Path, command: Command) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 500"))
    run = command("run", small_study, "--workers", "2")
    wait_for_trials(small_study, 2)
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    assert set(load_trials(small_study)["state"]) == {"complete"}


def test_a_second_interrupt_stops_at_once_and_records_it(
    small_study: Path, command: Command
) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    run = command("run", small_study, "--workers", "2")
    wait_for_trials(small_study, 2, "running")
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    trials = load_trials(small_study)
    assert set(trials["state"]) == {"interrupted"}
    assert trials["message"].str.contains(r"stopped at \d+% of the training").all()


def test_two_commands_on_one_study(small_study: Path) -> None:
    with (
        place_of(small_study.parent).run_lock(),
        pytest.raises(RunFailed, match="another command is working on this study"),
    ):
        run_study(small_study)


def test_diverging_trainings_are_recorded(small_study: Path, command: Command) -> None:
    edit(
        small_study, ("learning_rate = 5e-3", "learning_rate = 1e30"), ("trials = 14", "trials = 3")
    )
    run = command("run", small_study, "--workers", "1")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1, output
    assert "no training was completed" in output
    trials = load_trials(small_study)
    assert set(trials["state"]) == {"diverged"}
    assert len(trials) == 3
    assert trials["message"].str.contains("validation loss is").all()


def test_a_changed_study_file_is_refused(small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 1"))
    run_study(small_study, Resources(workers=1))
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match=r"model\.hidden: was 8, is 16"):
        run_study(small_study)


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
    run_study(small_study, Resources(workers=2))
    done = complete(small_study)
    assert done["schedule"].nunique() > 6
    assert done["total_parameters"].nunique() == 1
    assert done["active_experts"].between(0.98 * 1.5, 1.02 * 1.5).all()


def test_the_paper_regime_matches_nothing(small_study: Path) -> None:
    edit(
        small_study,
        ("experts = 12", 'regime = "paper"\nminimum = 1\nmaximum = 5'),
        ('"top_k"\nk = 1', '"percentile"'),
    )
    run_study(small_study, Resources(workers=2))
    done = complete(small_study)
    assert done["total_parameters"].nunique() > 1
    assert done["active_experts"].nunique() > 1
    names = done.loc[done["schedule"] == "5-4-2-1", "pattern"]
    assert names.unique().tolist() == ["descending"]
