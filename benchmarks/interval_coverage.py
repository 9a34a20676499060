"""How often what a leaderboard states holds, in whole studies whose truth is known.

python benchmarks/interval_coverage.py                   2,000 studies of each kind: three hours
python benchmarks/interval_coverage.py --studies 100     a quick look: ten minutes

Each study is a search of 120 runs of one seed, with at most 4 blocks, by the policy for Optuna's
samplers: named patterns, the sampler, and in the last quarter the leaders again, so that what is
trained depends on what was found. Nothing is trained: a loss is the candidate's own, the seed's and
noise. Counted is how often the 95 % interval of the leader holds its true mean, how often those of
all candidates do, and in how many studies any candidate is called distinguishable from the leader
that is not worse.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.deciding_tables import percent
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.log.runs import RunResult, finished, started
from dynamoe_search.log.state import State
from dynamoe_search.log.table import runs_table
from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.statistics.intervals import half_width, pooled_noise

_STUDY = {
    "data": {"name": "digits"},
    "model": {"depth": 8, "width": 32, "hidden": 64},
    "budget": {"experts": 32, "minimum": 2},
    "router": {"name": "top_k", "k": 2},
    "training": {"seeds": 1},
}
_SHAPE = DataShape(inputs=64, classes=10)


@dataclass(frozen=True)
class World:
    """How losses come about: deviations in nats.

    Parameters
    ----------
    spread : float
        Between candidates.
    seeds : float
        Of the effect that a seed has on all candidates.
    noise : float
    degrees : float
        The degrees of freedom of the noise, which is Student's t; normal where infinite.
    unequal : float
        The deviation of the logarithm of the noise's size between candidates.
    equal_share : float
        The share of candidates that are equal and best; the others are worse by `spread`.
    """

    spread: float = 0.0
    seeds: float = 0.04
    noise: float = 0.04
    degrees: float = math.inf
    unequal: float = 0.0
    equal_share: float = 0.0


WORLDS = {
    "no differences": World(),
    "no differences, small noise": World(noise=0.02, seeds=0.02),
    "like digits, noise 0.02": World(spread=0.025, noise=0.02, seeds=0.02),
    "like digits, noise 0.04": World(spread=0.025),
    "like digits, noise 0.06": World(spread=0.025, noise=0.06, seeds=0.06),
    "a third equal, the others 0.06 worse": World(spread=0.06, equal_share=1 / 3),
    "a third equal, the others 0.3 worse": World(spread=0.3, equal_share=1 / 3),
    "no differences, unequal noise": World(unequal=0.7),
    "like digits, unequal noise": World(spread=0.025, unequal=0.7),
    "no differences, t3 noise": World(degrees=3),
    "like digits, t3 noise": World(spread=0.025, degrees=3),
}


@dataclass(frozen=True)
class Losses:
    """The losses of one study: a function of the candidate and the block alone."""

    world: World
    seed: int

    def truth(self, candidate: str) -> float:
        """The mean of a candidate over all seeds."""
        generator = self._generator("truth", candidate)
        if self.world.equal_share:
            return 1 + self.world.spread * float(generator.random() > self.world.equal_share)
        return 1 + self.world.spread * float(generator.standard_normal())

    def loss(self, candidate: str, block: int) -> float:
        """A recorded loss."""
        world, generator = self.world, self._generator("noise", candidate, str(block))
        size = world.noise
        if world.unequal:
            size *= math.exp(
                world.unequal * self._generator("size", candidate).standard_normal()
                - world.unequal**2  # so that the mean square is that of the noise
            )
        if math.isinf(world.degrees):
            noise = generator.standard_normal()
        else:
            variance = world.degrees / (world.degrees - 2)
            noise = generator.standard_t(world.degrees) / math.sqrt(variance)
        of_seed = world.seeds * self._generator("seed", str(block)).standard_normal()
        return self.truth(candidate) + float(of_seed + size * noise)

    def _generator(self, *about: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *map(zlib.crc32, map(str.encode, about))])


def simulate(losses: Losses, sampler: str = "random", runs: int = 120) -> pd.DataFrame:
    """The training runs of a search that is given these losses."""
    search = {"family": "blend", "sampler": sampler, "runs": runs, "blocks": 4}
    definition = json.dumps({**_STUDY, "seed": losses.seed, "search": search})
    study_file = StudyFile.model_validate_json(definition)
    state, policy = State(), SearchPolicy(make_plan(study_file, _SHAPE))
    while (start := policy.ask(state, worker="", session="")) is not None:
        result = RunResult(
            validation_loss=losses.loss(start.candidate, start.block), total_parameters=1
        )
        for event in (started(start), finished(start, "complete", [result])):
            state.apply(state.position + 1, event)
            policy.follow(state.position, event)
    return runs_table(state.search.runs, study_file)


@dataclass(frozen=True)
class Score:
    """What held in one study: shares of candidates, and whether a difference was claimed wrongly.

    `plain` is what held in version 0.1: of the lowest plain mean, with the noise pooled over the
    study. The regret is by how much the leader's true mean is worse than the best of all trained.
    """

    leader: float
    every: float
    plain: float
    falsely_different: bool
    different: int
    regret: float


def score(runs: pd.DataFrame, losses: Losses) -> Score:
    """Compare the leaderboard of a study with the truth."""
    board = make_leaderboard(runs)
    lowest = board.loc[board["mean_loss"].idxmin()]
    width = half_width(pooled_noise(runs["validation_loss"], runs["candidate"]), lowest["seeds"])
    miss = abs(lowest["mean_loss"] - losses.truth(lowest["candidate"]))
    truth = board["candidate"].map(losses.truth)
    holds = (board["loss_low"] <= truth) & (truth <= board["loss_high"])
    differs = ~board["indistinguishable"]
    return Score(
        leader=float(holds.iloc[0]),
        every=float(holds.mean()),
        plain=float(miss <= width),
        falsely_different=bool((differs & (truth <= truth.iloc[0])).any()),
        different=int(differs.sum()),
        regret=float(truth.iloc[0] - truth.min()),
    )


def study_of(world: World, seed: int, sampler: str = "random") -> Score:
    """Simulate a study, and compare its leaderboard with the truth."""
    losses = Losses(world, seed)
    return score(simulate(losses, sampler), losses)


def _of_all(world: World, sampler: str, studies: int, workers: int) -> Iterator[Score]:
    with ProcessPoolExecutor(workers) as pool:
        tasks = [pool.submit(study_of, world, seed, sampler) for seed in range(studies)]
        for task in tasks:
            yield task.result()


def main() -> None:
    """Simulate studies of each kind, and print the table."""
    parser = argparse.ArgumentParser(description="Whether intervals and comparisons hold.")
    parser.add_argument("--studies", type=int, default=2000, help="of each kind")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="the kinds whose names hold this text")
    arguments = parser.parse_args()
    table = Table("studies", "leader's interval holds", "all intervals", "false difference")
    table.add_column("plain mean's interval holds")
    table.add_column("called different")
    table.add_column("regret of the leader")
    for name, world in WORLDS.items():
        if arguments.only not in name:
            continue
        studies = arguments.studies
        scores = list(_of_all(world, arguments.sampler, studies, arguments.workers))
        table.add_row(
            name,
            percent(fmean(one.leader for one in scores), studies),
            f"{100 * fmean(one.every for one in scores):.1f}",
            percent(fmean(one.falsely_different for one in scores), studies),
            percent(fmean(one.plain for one in scores), studies),
            f"{fmean(one.different for one in scores):.2f}",
            f"{fmean(one.regret for one in scores):.4f}",
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"In % of studies; {arguments.studies} studies, sampler {arguments.sampler}.")


if __name__ == "__main__":
    main()
