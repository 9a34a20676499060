"""Whole searches, by processes that are really killed and interrupted."""

import copy
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.storage import open_log
from dynamoe_search.log.table import measurement_table
from dynamoe_search.run.progress import Snapshot
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.run.processes import (
    acting,
    assert_accounted_for,
    call,
    kill_in_training,
    wait_for_runs,
)

pytestmark = pytest.mark.slow

ENDLESS = ("epochs = 2", "epochs = 5000")
SHORT = ("epochs = 2", "epochs = 1")
SELDOM = ("epochs = 2", "epochs = 1\nevaluations = 3")


def runs_are(path: Path, number: int) -> None:
    edit(path, ("runs = 14", f"runs = {number}"))


def complete(study: Study) -> pd.DataFrame:
    runs = study.training_runs()
    return runs[runs["state"] == "complete"]


def test_a_search_from_beginning_to_end_and_again(small_study: Path) -> None:
    seen: list[Snapshot] = []
    study = Study(str(small_study))
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
    # The log is one file, which can be copied.
    assert sorted(path.name for path in study.folder.glob("study.db*")) == ["study.db"]

    # Finished is finished: the same call trains nothing.
    before, position = study.training_runs(), study.position
    assert study.run(workers=2, progress=False) == "finished"
    pd.testing.assert_frame_equal(study.training_runs(), before)
    pd.testing.assert_frame_equal(Study(small_study).training_runs(), before)
    assert study.position == position

    # More runs may be asked for later.
    edit(small_study, ("runs = 14", "runs = 17"))
    assert study.run(workers=1, progress=False) == "finished"
    assert_accounted_for(study, 17)


def test_a_search_ends_where_nothing_more_is_proposed(small_study: Path) -> None:
    edit(
        small_study,
        ("depth = 4", "depth = 2"),
        ("experts = 12", "experts = 4"),
        ('"random"', '"exhaustive"'),
        SHORT,
    )
    study = Study(small_study)
    assert study.run(workers=2, progress=False) == "exhausted"
    runs = assert_accounted_for(study, 6)
    assert sorted(runs["candidate"]) == ["1-3", "1-3", "2-2", "2-2", "3-1", "3-1"]


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [pytest.param("random", "none", marks=pytest.mark.long), ("tpe", "median")],
)
def test_one_worker_gives_the_same_log_again(
    small_study: Path, tmp_path: Path, sampler: str, pruner: str
) -> None:
    edit(small_study, SHORT, ('"random"', f'"{sampler}"\npruner = "{pruner}"'))
    logs = []
    for name in ("once", "again"):
        study = Study(small_study, f"sqlite:///{tmp_path / name}")
        assert study.run(workers=1, progress=False) == "finished"
        logs.append(essence(study))
    assert logs[0] == logs[1]
    kinds = {"begun", "started", "finished"} | ({"reported"} if pruner != "none" else set())
    assert {kind for kind, _, _ in logs[0]} == kinds


def essence(study: Study) -> list[tuple[str, str | None, dict[str, Any]]]:
    """The events of a log but for times and the names of workers and sessions."""
    events = []
    with open_log(study.storage, create=False) as log:
        for _, event in log.read():
            content = copy.deepcopy(event.content)
            for name in ("worker", "session"):
                content.pop(name, None)
            for result in content.get("results", []):
                result.pop("seconds", None)
            events.append((event.kind, event.key, content))
    return events


# Killed and interrupted.


def test_a_killed_run_goes_on(small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 6"))
    runs_are(small_study, 12)
    study = Study(small_study)
    with call(small_study, workers=2) as first:
        wait_for_runs(study, 2)
        wait_for_runs(study, 1, "running")
        # Its workers are left to find out that it is gone.
        os.kill(first.pid, signal.SIGKILL)
        first.process.join()
        with call(small_study, workers=2) as second:
            wait_for_runs(study, 5)
            wait_for_runs(study, 1, "running")
            os.kill(second.pid, signal.SIGKILL)
            second.process.join()
            before = complete(study)
            assert study.run(workers=2, progress=False) == "finished"
    after = assert_accounted_for(study, 12).set_index("run")
    kept = after.loc[before["run"], "validation_loss"]
    assert kept.tolist() == before["validation_loss"].tolist()
    assert (after["state"] == "died").sum() <= 4


def test_killed_workers_are_replaced(small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 15"))
    runs_are(small_study, 6)
    study = Study(small_study)
    kills = acting(*[lambda: kill_in_training(study)] * 2)
    assert study.run(workers=2, progress=kills) == "finished"
    states = assert_accounted_for(study, 6)["state"]
    assert (states == "died").sum() == 2


class InterruptAll:
    """Interrupt this process and its workers, as a terminal does, once a few runs are complete."""

    interrupted = False

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.finished >= 2 and not self.interrupted:
            self.interrupted = True
            os.killpg(0, signal.SIGINT)


def test_an_interrupt_finishes_the_current_runs(small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 6"))
    runs_are(small_study, 500)
    with call(small_study, workers=2, progress=InterruptAll()) as run:
        assert run.ending() == "interrupted"
    runs = Study(small_study).training_runs()
    assert set(runs["state"]) == {"complete"}
    assert 2 <= len(runs) < 500


def interrupt_twice(snapshot: Snapshot) -> None:
    if snapshot.running == 2:
        os.kill(os.getpid(), signal.SIGINT)


def terminate(snapshot: Snapshot) -> None:
    if snapshot.running == 2 and not snapshot.finishing:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("stop", [interrupt_twice, terminate])
def test_a_second_interrupt_or_a_termination_stops_at_once_and_is_recorded(
    small_study: Path, stop: Callable[[Snapshot], None]
) -> None:
    edit(small_study, ENDLESS)
    study = Study(small_study)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert study.run(workers=2, progress=stop) == "interrupted"
    runs = study.training_runs()
    assert runs["state"].tolist() == ["interrupted"] * 2
    assert runs["message"].str.contains(r"stopped at \d+% of the training").all()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_an_error_of_the_caller_leaves_no_worker_behind(small_study: Path) -> None:
    edit(small_study, ENDLESS)
    study = Study(small_study)

    def fail(snapshot: Snapshot) -> None:
        if snapshot.running == 2:
            raise ZeroDivisionError("a mistake in a notebook")

    with pytest.raises(ZeroDivisionError, match="a mistake in a notebook"):
        study.run(workers=2, progress=fail)
    assert multiprocessing.active_children() == []
    assert study.training_runs()["state"].tolist() == ["interrupted"] * 2


# What a study asks for.


@pytest.mark.parametrize(
    "router",
    [
        '"threshold"\ntarget = 1.5',
        pytest.param('"top_p"\ntarget = 1.5', marks=pytest.mark.long),
        '"percentile"',
    ],
)
def test_compute_is_matched_as_measured(small_study: Path, router: str) -> None:
    edit(
        small_study,
        ("experts = 12", 'regime = "compute"\nexperts = 12\nactive = 1.5'),
        ('"top_k"\nk = 1', router),
        ("epochs = 2", "epochs = 4"),
    )
    runs_are(small_study, 9)
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
        SHORT,
    )
    runs_are(small_study, 9)
    study = Study(small_study)
    study.run(workers=2, progress=False)
    done = complete(study)
    assert done["total_parameters"].nunique() > 1
    assert done["active_experts"].nunique() > 1
    names = done.loc[done["schedule"] == "5-4-2-1", "pattern"]
    assert names.unique().tolist() == ["descending"]


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median", "wilcoxon"])
def test_unpromising_runs_are_pruned(small_study: Path, pruner: str) -> None:
    edit(small_study, SHORT, ('"random"', f'"random"\npruner = "{pruner}"'))
    runs_are(small_study, 24)
    study = Study(small_study)
    assert study.run(workers=2, progress=False) == "finished"
    runs = study.training_runs()
    assert len(runs) == 24
    assert set(runs["state"]) == {"complete", "pruned"}
    pruned = runs[runs["state"] == "pruned"]
    whole = runs.loc[runs["state"] == "complete", "training_flops"].min()
    # Only what the sampler has found, on its first block; and it is not trained on another.
    assert set(pruned["group"]) == {"searched"}
    assert set(pruned["block"]) == {0}
    assert runs["candidate"].value_counts()[pruned["candidate"]].eq(1).all()
    assert not set(pruned["candidate"]) & set(study.leaderboard()["candidate"])
    # It has a part of its curve, and of the cost, and no result.
    assert pruned["fraction"].between(0.05, 0.99).all()
    assert pruned["fraction"].tolist() == [curve[-1]["fraction"] for curve in pruned["curve"]]
    assert (pruned["training_flops"] < whole).all()
    assert pruned["validation_loss"].isna().all()
    assert (pruned["deciding_seconds"] > 0).all()


def test_what_is_measured_is_in_the_rows_and_in_tables(small_study: Path) -> None:
    edit(
        small_study,
        SELDOM,
        ("seeds = 1", "seeds = 2"),
        ('"top_k"\nk = 1', '"top_p"'),
        ('"blend"', '"blend"\nmeasure = ["gradients", "utilization", "representation"]'),
    )
    runs_are(small_study, 2)
    study = Study(small_study)
    study.run(workers=1, progress=False)
    runs = study.training_runs()
    for name in ("gradient_noise_router", "gini", "effective_rank_first"):
        assert runs[name].notna().all()
    assert (runs["measuring_seconds"] > 0).all()
    gradients = measurement_table(runs, "gradients")
    of_seed = ["run", "seed"]
    assert gradients.groupby(of_seed)["fraction"].nunique().tolist() == [3] * 4
    network = gradients[gradients["group"] == "network"].groupby(of_seed)["trace"].mean()
    assert dict(network) == pytest.approx(dict(runs.set_index(of_seed)["gradient_trace"]))
    loads = measurement_table(runs, "load")
    shares = loads.groupby([*of_seed, "layer"])["share"].sum()
    assert shares.tolist() == pytest.approx([1.0] * 16)
    board = study.leaderboard().set_index("candidate")
    assert board["gini"].notna().all()


def test_a_study_that_asks_for_nothing_pays_nothing(small_study: Path) -> None:
    edit(small_study, SHORT)
    runs_are(small_study, 1)
    study = Study(small_study)
    study.run(workers=1, progress=False)
    runs = study.training_runs()
    assert runs["gini"].isna().all()
    for kind in ("gradients", "utilization", "load", "representation"):
        assert measurement_table(runs, kind).empty
    with pytest.raises(InvalidInput, match="no measurements 'loads'; choose from gradients"):
        measurement_table(runs, "loads")


def test_several_objectives_and_what_is_searched_beside_the_schedule(small_study: Path) -> None:
    objectives = (
        'objectives = ["loss", "gradient_noise"]\nalso.k = [1, 2]\n'
        'constraints = ["utilization_entropy >= 0.1"]'
    )
    edit(small_study, SELDOM, ('"blend"', f'"blend"\n{objectives}'))
    runs_are(small_study, 20)
    study = Study(small_study)
    assert study.run(workers=2, progress=False) == "finished"
    runs = assert_accounted_for(study, 20)
    assert runs["candidate"].str.contains(" k=").all()
    assert set(runs["settings"]) == {"k=1", "k=2"}
    assert (runs["active_experts"].gt(1) == runs["settings"].eq("k=2")).all()
    assert np.isfinite(runs["gradient_noise"]).all()
    assert runs["feasible"].tolist() == (runs["utilization_entropy"] >= 0.1).tolist()
    front = study.leaderboard()
    assert front["on_front"].any()
    assert front["candidate"].nunique() == runs["candidate"].nunique()
    assert study.decision().candidate in set(front.loc[front["on_front"], "candidate"])
