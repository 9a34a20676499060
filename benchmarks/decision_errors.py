"""How often what a study decides is wrong, in whole simulated studies whose truth is known.

python -m benchmarks.decision_errors                 2,000 studies of each kind: a day of one core
python -m benchmarks.decision_errors --studies 50    a quick look: half an hour

Each study goes on until the bound on its regret is below 0.01 nats, or for 60 training runs at
most: named patterns first, then what the posterior asks for. So what is trained depends on what
was found, and when it stops, too. Results are appended to a file, and the same command goes on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.deciding_tables import MARGIN, markdown, share
from benchmarks.landscapes import Landscape, Space, make_problem
from benchmarks.ours import Ours
from benchmarks.resumable import Task, read_results, run_rest
from benchmarks.simulation import searched

RUNS = 60
_APART = 100_000
_DIGITS = Space("blend", 8, 32, 2)
_BOWL = Landscape(_DIGITS, "bowl", gap=0.014, noise=0.010)
_EQUAL = Landscape(_DIGITS, "bowl", gap=0.0, noise=0.010)
_ROUGH = Landscape(_DIGITS, "bowl", gap=0.014, noise=0.010, rough=0.25)

WORLDS = {
    "no differences": _EQUAL,
    "no differences, noise 0.03": Landscape(_DIGITS, "bowl", gap=0.0, noise=0.030),
    "no differences, unequal noise": Landscape(_DIGITS, "bowl", 0.0, 0.010, unequal=0.7),
    "no differences, t3 noise": Landscape(_DIGITS, "bowl", 0.0, 0.010, degrees=3),
    "smooth": _BOWL,
    "smooth, noise 0.03": Landscape(_DIGITS, "bowl", gap=0.014, noise=0.030),
    "smooth, unequal noise": Landscape(_DIGITS, "bowl", 0.014, 0.010, unequal=0.7),
    "smooth, t3 noise": Landscape(_DIGITS, "bowl", 0.014, 0.010, degrees=3),
    "rough": _ROUGH,
    "rough, unequal noise": Landscape(_DIGITS, "bowl", 0.014, 0.010, rough=0.25, unequal=0.7),
    "rough, t3 noise": Landscape(_DIGITS, "bowl", 0.014, 0.010, rough=0.25, degrees=3),
}
"""Deviations in nats; see `Landscape`. Unequal: the logarithm of noise's size differs by 0.7."""


@dataclass(frozen=True)
class Study:
    """One simulated study, at its end.

    Parameters
    ----------
    world : str
    repetition : int
    runs : int
        The training runs that it took.
    decided : bool
        Whether its bound is below the margin.
    regret, bound : float
        Of the recommended candidate, in nats.
    interval_holds : bool
        Whether the 95 % interval of its loss holds its true mean, over all seeds.
    within, falsely_within : int
        The tried candidates that are said to be within the margin with a probability of 95 %, and
        those of them that are not.
    seconds : float
    """

    world: str
    repetition: int
    runs: int
    decided: bool
    regret: float
    bound: float
    interval_holds: bool
    within: int
    falsely_within: int
    seconds: float

    @property
    def task(self) -> Task:
        """What it is a study of."""
        return self.world, self.repetition


def study_of(world: str, repetition: int, runs: int = RUNS) -> Study:
    """Simulate a study, and compare what it says with the truth."""
    begin = time.perf_counter()
    # The worlds have draws of their own.
    problem = make_problem(WORLDS[world], repetition + _APART * list(WORLDS).index(world))
    method = Ours(problem.space, repetition)
    for history in searched(problem, method, runs):
        are_trained = len(history) >= len(method.baselines)
        if are_trained and method.posterior(history).bound() <= MARGIN:
            break
    posterior = method.posterior(history)
    bound = posterior.bound()
    row = posterior.table().loc[posterior.best]
    true_loss = 1 + problem.regret(posterior.best)
    chances = posterior.within(MARGIN)[posterior.is_tried]
    said = chances.index[chances >= 0.95]
    return Study(
        world,
        repetition,
        len(history),
        bound <= MARGIN,
        round(problem.regret(posterior.best), 7),
        round(bound, 7),
        bool(row["loss_low"] <= true_loss <= row["loss_high"]),
        len(said),
        sum(problem.regret(name) > MARGIN for name in said),
        round(time.perf_counter() - begin, 3),
    )


def table(studies: Sequence[Study]) -> str:
    """What held, for each kind of study."""
    header = [
        *("studies", "number", "decided, %", "median runs", "mean regret"),
        *("regret within its bound, %", "decided and worse than the margin, %"),
        *("leader's interval holds, %", "falsely within the margin, % of those said to be"),
    ]
    rows = []
    for world in WORLDS:
        some = [study for study in studies if study.world == world]
        if len(some) < 2:
            continue
        said = sum(study.within for study in some)
        wrong = sum(study.falsely_within for study in some)
        rows.append(
            [
                *(world, f"{len(some)}", f"{100 * np.mean([one.decided for one in some]):.0f}"),
                f"{np.median([one.runs for one in some]):.0f}",
                f"{np.mean([one.regret for one in some]):.4f}",
                share(np.array([one.regret <= one.bound + 1e-6 for one in some])),
                share(np.array([one.decided and one.regret > MARGIN for one in some])),
                share(np.array([one.interval_holds for one in some])),
                f"{100 * wrong / said:.1f}" if said else "",
            ]
        )
    return markdown(header, rows)


def main() -> None:
    """Simulate studies of each kind, and print the table."""
    parser = argparse.ArgumentParser(description="Whether what studies decide is right.")
    parser.add_argument("--results", type=Path, default=Path("build/decision_errors.jsonl"))
    parser.add_argument("--studies", type=int, default=2000, help="of each kind")
    parser.add_argument("--runs", type=int, default=RUNS, help="the most training runs of a study")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after them")
    parser.add_argument("--only", default="", help="the kinds whose names hold this text")
    arguments = parser.parse_args()
    tasks: list[Task] = [
        (world, repetition)
        for repetition in range(arguments.studies)
        for world in WORLDS
        if arguments.only in world
    ]
    work, done = partial(study_of, runs=arguments.runs), read_results(arguments.results, Study)
    run_rest(arguments.results, work, tasks, done, arguments.workers, arguments.minutes)
    studies = list(read_results(arguments.results, Study).values())
    print(table(studies))
    print(f"{sum(study.seconds for study in studies) / 3600:.1f} hours of one core")


if __name__ == "__main__":
    main()
