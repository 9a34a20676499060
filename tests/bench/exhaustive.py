"""Studies of every schedule of a small budget, whose results are made up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dynamoe_search.bench.known import KnownLosses
from dynamoe_search.data import embedded_digits
from dynamoe_search.log.events import Event
from dynamoe_search.log.runs import RunResult, Start, finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.schedules import Schedule, enumerate_schedules
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.study import Study
from tests.conftest import SMALL_STUDY, edit
from tests.report import made_up

DIGITS = embedded_digits(seed=0)
BEST = {3: np.array([5, 1, 2]), 4: np.array([6, 3, 1, 2])}


def write_study(folder: Path, *changes: tuple[str, str]) -> Path:
    """Three layers share eight experts: 21 schedules, each to be trained three times."""
    path = folder / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(
        path,
        ("depth = 4", "depth = 3"),
        ("experts = 12", "experts = 8"),
        ('"random"', '"exhaustive"'),
        ("runs = 14", "runs = 63"),
        ("blocks = 2", "blocks = 3"),
    )
    edit(path, *changes)
    return path


def distance(schedule: Schedule) -> float:
    """A landscape of one minimum, 0."""
    return 0.05 * float(np.abs(np.array(schedule.counts) - BEST[schedule.depth]).sum())


def result_of(candidate: str, seed: int) -> RunResult:
    """The distance as the loss, and what the seed does to all schedules alike."""
    return RunResult(validation_loss=distance(Schedule.parse(candidate)) + 0.01 * (seed % 7))


def keep_study(
    path: Path,
    most: int = 1000,
    diverging: str = "",
    result_of: Callable[[str, int], RunResult] = result_of,
) -> Study:
    """Have the study's own policy ask for its runs, and log made-up results."""
    study = made_up.begin(path)
    state, policy = State(), SearchPolicy(study.plan)

    def ended(start: Start) -> Event:
        if start.candidate == diverging:
            return finished(start, "diverged", message="loss is nan")
        results = [result_of(start.candidate, seed) for seed in start.seeds]
        return finished(start, "complete", results)

    with open_log(study.storage, create=False) as log:
        for _ in range(most):
            catch_up(log, state, policy.follow)
            start = policy.ask(state, worker="", session="")
            if start is None:
                break
            log.append(started(start), ended(start))
    return study


def known_of(
    folder: Path,
    *changes: tuple[str, str],
    noise: float = 0.0,
    blocks: int = 1,
    block_size: int = 1,
) -> KnownLosses:
    """Known losses of all schedules: the distance, a seed's effect, and noise."""
    size, seeds = ("seeds = 1", f"seeds = {block_size}"), blocks * block_size
    path = write_study(folder, ('"blend"', '"free"'), size, *changes)
    plan = make_plan(read_study_file(path), DIGITS)
    generator = np.random.default_rng(0)
    of_seed = generator.normal(size=seeds)
    losses = {
        str(schedule): tuple(
            float(loss) for loss in distance(schedule) + of_seed + generator.normal(0, noise, seeds)
        )
        for schedule in enumerate_schedules(plan.solution.experts, plan.depth)
    }
    return KnownLosses(plan, losses, coverage=1.0)
