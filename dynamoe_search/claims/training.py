"""Train what open questions about claims still need, one look at a time.

A verdict has two ways: to refute a claim takes its baseline and one rival, to support it, or to
show equivalence, all rivals that are not beaten. Next comes the way that likely leads to a verdict
soonest, by the seeds that it needs (`dynamoe_search.statistics.least_advantage.seeds_needed`) and
the seconds that those before took; questions without any look come before all. What is trained is
written after each network, so nothing but that is lost where training is ended at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.claims.source import (
    DENSE_ACTIVE,
    DENSE_TOTAL,
    DYNAMIC,
    FIRST_DENSE,
    FIXED,
    Unit,
)
from dynamoe_search.claims.units import ClaimTable, add_runs, load_runs
from dynamoe_search.claims.verdicts import LOOKS, NOT_RUN, UNDECIDED
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.routing_variance import gradient_variance
from dynamoe_search.plan.allotment import schedules_of
from dynamoe_search.plan.candidate import Candidate, DenseBaseline
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.run.result import commit, make_result, versions
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.schedules.preset import NEXT_TO_NOTHING
from dynamoe_search.specification import Dense, Specification, TopK, TopP
from dynamoe_search.training.evaluation import Evaluation, evaluate_seeds
from dynamoe_search.training.loop import NonFiniteLoss, SeedResult, train

GRADIENT_SAMPLES = 256
_EVERY = 2  # gradients are measured at each second point of the curve
_DYNAMIC, _FIXED = TopP(), TopK()  # of the same temperature, without noise
_ROUTINGS = {"dynamic": (DYNAMIC, _DYNAMIC.name), "fixed": (FIXED, _FIXED.name)}
_MEASURED = ("active_experts", "total_parameters", "flops_per_token", "samples")
_OUTCOMES = ("test_loss", "test_accuracy", "curve_loss")


@dataclass(frozen=True)
class Step:
    """What is trained next.

    Parameters
    ----------
    table : ClaimTable
    baselines : tuple of str
    place : int
        Of the first of the seeds, among all.
    seconds : float
        Until the question is likely decided; 0 where nothing is known.
    """

    table: ClaimTable
    baselines: tuple[str, ...]
    place: int
    seconds: float


def next_step(
    verdicts: pd.DataFrame,
    tables: Sequence[ClaimTable],
    runs: Mapping[Any, pd.DataFrame],
    most_seeds: int,
) -> Step | None:
    """What is trained next for a question that is open; None where there is none.

    Parameters
    ----------
    verdicts : DataFrame
        As `dynamoe_search.claims.verdicts.judge` gives it.
    tables : sequence of ClaimTable
        The units of which questions count.
    runs : mapping of Unit to DataFrame
        Those of the units that were begun.
    most_seeds : int
        No question gets more.
    """
    by_unit = {table.unit: table for table in tables}
    is_open = verdicts["verdict"].isin([NOT_RUN, UNDECIDED]) & (verdicts["family"] != "secondary")
    steps = []
    for row in verdicts[is_open].itertuples():
        table = by_unit.get(Unit(row.about, row.data, row.condition))
        if table is None:
            continue
        own = runs.get(table.unit)
        every = tuple(row.contenders)
        ways = [(every, row.to_bound)]
        if row.refuter:
            ways.append(((every[0], row.refuter), row.to_refute))
        found = [_step(table, own, *way, bool(row.seeds)) for way in ways]
        steps += [step for step in found if step.place < most_seeds]
    return min(steps, key=lambda step: step.seconds, default=None)


def _step(
    table: ClaimTable,
    runs: pd.DataFrame | None,
    baselines: tuple[str, ...],
    seeds: float,
    was_looked_at: bool,
) -> Step:
    """The next look of these baselines, which likely take this number of seeds in all."""
    if runs is None:
        return Step(table, baselines, 0, 0.0)
    counts = runs["baseline"].value_counts().reindex(baselines, fill_value=0)
    place = int(counts.min())
    behind = tuple(name for name in baselines if counts[name] == place)
    if not was_looked_at:
        return Step(table, behind, place, 0.0)
    each = runs.groupby("baseline")["seconds"].mean().reindex(baselines)
    left = np.maximum(seeds - counts, 0)
    return Step(table, behind, place, float((each.fillna(each.mean()) * left).sum()))


@dataclass(frozen=True)
class Trainer:
    """Trains the baselines of a unit.

    Parameters
    ----------
    table : ClaimTable
    data_directory : Path, optional
        As in `dynamoe_search.data.load_data`.

    Raises
    ------
    InvalidInput, RunFailed
        As `dynamoe_search.training.loop.train`, and where earlier runs had other data.
    """

    table: ClaimTable
    data_directory: Path | None = None

    @cached_property
    def data(self) -> ImageData | TextData:
        """The data of its study."""
        data = load_study_data(self.table.study, self.data_directory)
        kept = load_runs(self.table)
        if kept is not None and set(kept["data_fingerprint"]) != {data.fingerprint}:
            raise InvalidInput(
                f"{self.table.path} was made from other data; delete it to begin again"
            )
        return data

    @cached_property
    def plan(self) -> Plan:
        """The plan of its study."""
        return make_plan(self.table.study, self.data)

    def train(self, step: Step, on_network: Callable[[str], None] = lambda names: None) -> None:
        """Train the networks of a step from the seeds up to the next look, and write that.

        Parameters
        ----------
        step : Step
        on_network : callable
            Told the names of the network that is trained next.
        """
        places = range(step.place, (step.place // LOOKS.every + 1) * LOOKS.every)
        number = self.table.study.training.seeds
        seeds = {
            self.plan.confirmation_seeds(place // number)[place % number]: place for place in places
        }
        if self.table.unit.about == "routing":
            on_network(f"{DYNAMIC}, {FIXED}")
            self._add(self._measure_routings(seeds))
            return
        all_networks = networks(self.plan)
        wanted = {name: all_networks[name] for name in step.baselines}
        for network in dict.fromkeys(wanted.values()):
            # The same network under other names is the same run.
            names = [name for name, one in all_networks.items() if one == network]
            on_network(", ".join(names))
            rows = self._train(network, seeds)
            self._add(pd.concat([rows.assign(baseline=name) for name in names]))

    def _add(self, rows: pd.DataFrame) -> None:
        made_with = ", ".join(f"{package} {number}" for package, number in versions().items())
        origin = {"data_fingerprint": self.data.fingerprint, "commit": commit()}
        add_runs(self.table, rows.assign(**origin, made_with=made_with))

    def _train(self, network: Specification, seeds: Mapping[int, int]) -> pd.DataFrame:
        """A row for each seed, without numbers where training diverged."""
        number, in_order = self.table.study.training.seeds, list(seeds)
        blocks = [in_order[first : first + number] for first in range(0, len(seeds), number)]
        rows = pd.concat([self._train_block(network, block) for block in blocks])
        return rows.assign(candidate=_name_of(network), place=rows["seed"].map(seeds))

    def _train_block(self, network: Specification, seeds: Sequence[int]) -> pd.DataFrame:
        settings, begin = self.table.study.training, time.process_time()
        try:
            training = train(network, self.data, settings, seeds)
        except NonFiniteLoss:
            rows = [dict.fromkeys((*_MEASURED, *_OUTCOMES), np.nan) for _ in seeds]
        else:
            tested = evaluate_seeds(training.model, self.data.test, settings.precision)
            rows = [
                self._row(network, *of_seed)
                for of_seed in zip(training.of_seeds, tested, strict=True)
            ]
        seconds = (time.process_time() - begin) / len(seeds)
        return pd.DataFrame(rows).assign(seed=list(seeds), seconds=seconds)

    def _row(
        self, network: Specification, training: SeedResult, tested: Evaluation
    ) -> dict[str, float]:
        result = asdict(make_result(self.data, network, training))
        curve_loss = fmean(point.loss for point in training.curve)
        outcomes = dict(zip(_OUTCOMES, (tested.loss, tested.accuracy, curve_loss), strict=True))
        return {name: result[name] for name in _MEASURED} | outcomes

    def _measure_routings(self, seeds: Mapping[int, int]) -> pd.DataFrame:
        """A row for each routing and seed, without numbers where training diverged."""
        begin = time.process_time()
        # Gradients of the weights that are trained, and not of their average.
        settings = replace(self.table.study.training, average=0.0)
        schedule = self.plan.baselines[self.table.unit.condition]
        measured = gradient_variance(
            self.plan.network_with(schedule),
            self.data,
            settings,
            _DYNAMIC,
            _FIXED,
            self.table.study.active,
            list(seeds),
            samples=GRADIENT_SAMPLES,
            every=_EVERY,
        ).seeds
        whole = measured[measured["group"] == "network"].set_index(["routing", "seed"])
        index = pd.MultiIndex.from_product([_ROUTINGS, seeds], names=["routing", "seed"])
        columns = ["trace", "squared_norm", "noise_scale", "loss", "mean_active", "parameters"]
        rows = whole[columns].reindex(index).reset_index()
        for name in ("trace", "noise_scale"):
            usable = rows[name].where((rows[name] > 0) & (rows[name] < np.inf))
            rows[f"log_{name}"] = np.log(usable)
        names = rows.pop("routing")
        return rows.assign(
            baseline=names.map(lambda routing: _ROUTINGS[routing][0]),
            candidate=names.map(lambda routing: _ROUTINGS[routing][1]),
            place=rows["seed"].map(seeds),
            seconds=(time.process_time() - begin) / len(rows),
        )


def networks(plan: Plan) -> dict[str, Specification]:
    """The networks that claims are about, by the baseline's name: of schedules, and dense ones.

    Where layers may be dense, the first one alone is in `FIRST_DENSE`: the others share what is
    left as uniform does, so parameters and FLOPs are uniform's.
    """
    found = {name: plan.network_with(one) for name, one in plan.baselines.items()}
    if plan.study.budget.minimum == 0:
        assert plan.solution is not None  # the study file asks for a total
        profile = np.array([NEXT_TO_NOTHING, *[1.0] * (plan.depth - 1)])
        (schedule,) = schedules_of([profile], plan.study, plan.solution.experts)
        return found | {FIRST_DENSE: plan.network_with(Candidate(schedule))}
    return found | {
        DENSE_ACTIVE: dense_baseline(found["uniform"], "active"),
        DENSE_TOTAL: dense_baseline(found["uniform"], "total"),
    }


def _name_of(network: Specification) -> str:
    if isinstance(network.blocks, Dense):
        return str(DenseBaseline(network.blocks.hidden))
    return str(network.blocks.schedule)
