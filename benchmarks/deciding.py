"""How good the candidate is that a search recommends, and whether its bound holds: no training.

python -m benchmarks.deciding                            everything of docs/deciding.md: hours
python -m benchmarks.deciding --repetitions 20           a quick look
python -m benchmarks.deciding --plot docs/plots/deciding.png

Install the extra `benchmark` first. Results are appended to a file, and the same command goes on
where it was. After each training run of a simulated search (see `benchmarks.landscapes`) the method
says which candidate it would take; its regret is the true one, against the best of the family.
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

from benchmarks.deciding_tables import (
    OURS,
    Curves,
    bounds_table,
    draw,
    peers_table,
    pooled,
    regret_table,
)
from benchmarks.landscapes import LANDSCAPES, make_problem
from benchmarks.ours import Ours
from benchmarks.peers import PEERS, SLOW
from benchmarks.resumable import Task, read_results, run_rest
from benchmarks.simulation import simulate

RUNS = 99
SHOWN = (11, 33, 99)
METHODS = {OURS: lambda space, seed, runs: Ours(space, seed), **PEERS}


@dataclass(frozen=True)
class Outcome:
    """One simulated search.

    Parameters
    ----------
    landscape, method : str
    repetition : int
    regrets : list of float
        In nats, after each training run.
    bounds : list of float or None
        The 95 % bound on it that the method gave, if it gives any.
    seconds : float
    """

    landscape: str
    method: str
    repetition: int
    regrets: list[float]
    bounds: list[float | None]
    seconds: float

    @property
    def task(self) -> Task:
        """What it is the outcome of."""
        return self.landscape, self.method, self.repetition


def outcome_of(landscape: str, method: str, repetition: int, runs: int) -> Outcome:
    """Simulate one search."""
    problem = make_problem(LANDSCAPES[landscape], repetition)
    begin = time.perf_counter()
    regrets, bounds = simulate(problem, METHODS[method](problem.space, repetition, runs), runs)
    seconds = round(time.perf_counter() - begin, 3)
    return Outcome(landscape, method, repetition, regrets, bounds, seconds)


def curves_of(outcomes: Sequence[Outcome]) -> list[Curves]:
    """The outcomes of each landscape; landscapes and methods in the order of their tables."""
    found = []
    for landscape in LANDSCAPES:
        regrets, bounds = {}, np.empty((0, 0))
        for method in METHODS:
            of_method = [o for o in outcomes if (o.landscape, o.method) == (landscape, method)]
            if not of_method:
                continue
            of_method.sort(key=lambda outcome: outcome.repetition)
            least = min(len(outcome.regrets) for outcome in of_method)
            regrets[method] = np.array([outcome.regrets[:least] for outcome in of_method])
            if method == OURS:
                bounds = np.array([outcome.bounds[:least] for outcome in of_method], np.float64)
        if regrets:
            found.append(Curves(landscape, regrets, bounds))
    return found


def main() -> None:
    """Simulate, and show what was found."""
    parser = argparse.ArgumentParser(description="The regret of what searches recommend.")
    parser.add_argument("--results", type=Path, default=Path("build/deciding.jsonl"))
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--slow", type=int, default=50, help="repetitions of the slow peers")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each simulated search")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after them")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--only", default="", help="the landscapes whose names hold this text")
    parser.add_argument("--plot", type=Path, help="a PNG file")
    arguments = parser.parse_args()
    landscapes = [name for name in LANDSCAPES if arguments.only in name]
    tasks: list[Task] = [
        (landscape, method, repetition)
        for repetition in range(arguments.repetitions)
        for landscape in landscapes
        for method in arguments.methods
        if repetition < arguments.slow or method not in SLOW
    ]
    work = partial(outcome_of, runs=arguments.runs)
    done = read_results(arguments.results, Outcome)
    run_rest(arguments.results, work, tasks, done, arguments.workers, arguments.minutes)
    outcomes = list(read_results(arguments.results, Outcome).values())
    curves = curves_of(outcomes)
    print(regret_table(curves, SHOWN), end="\n\n")
    with_ours = [found for found in curves if OURS in found.regrets]
    if with_ours:
        gaps = [LANDSCAPES[found.landscape].gap for found in with_ours]
        print(peers_table([*with_ours, pooled(with_ours, gaps)]), end="\n\n")
        print(bounds_table(with_ours, SHOWN), end="\n\n")
    if arguments.plot:
        draw(curves, arguments.plot)
    print(f"{sum(outcome.seconds for outcome in outcomes) / 3600:.1f} hours of one core")


if __name__ == "__main__":
    main()
