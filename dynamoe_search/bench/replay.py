"""Searches replayed on known losses: they decide as real ones do, and nothing is trained.

Each search asks its policy, as every search does (named patterns first, its leaders again in the
last quarter), and is given a known loss at once. After each run the schedule in its lead is judged
by its regret: see `KnownLosses.regrets`.

Repetitions differ in the sampler's seed and in the order of the blocks, which is the same for all
schedules, as they share their seeds. They do not differ in the schedules and their losses: what is
found holds for this study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd

from dynamoe_search.bench.known import KnownLosses
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.runs import RunResult, finished, started
from dynamoe_search.log.state import State
from dynamoe_search.plan.plan import Plan
from dynamoe_search.run.processes import (
    Flag,
    end_with_parent,
    interrupts_put_off,
    without_the_script,
    worker_context,
    worker_count,
)
from dynamoe_search.run.progress import Event
from dynamoe_search.run.worker import one_thread
from dynamoe_search.search.policy import FINAL_SHARE, SearchPolicy

# The first is what the others are compared with.
COMPARED_SAMPLERS = ("random", "posterior", "tpe", "qmc", "cmaes", "gp", "nsga2")
REPETITIONS = 30
MOST_RUNS_BY_DEFAULT = 100


def replay(
    known: KnownLosses,
    sampler: str,
    runs: int,
    repetition: int,
    is_stopped: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """One search, given known losses in place of training.

    Parameters
    ----------
    known : KnownLosses
    sampler : str
    runs : int
        The training runs that it may ask for.
    repetition : int
        Decides the sampler's seed, and the order of the blocks.
    is_stopped : callable
        Asked before each run whether to end here.

    Returns
    -------
    DataFrame
        A row per run, as in `compare_samplers`. Where a search has nothing left to ask for, its
        last leader stands.
    """
    plan = _plan_of_a_search(known, sampler, runs, repetition)
    generator = np.random.default_rng([known.plan.study.seed, repetition])
    order = generator.permutation(known.blocks)
    state, policy = State(), SearchPolicy(plan)
    recommended: list[str | None] = []
    unknown = 0
    while len(recommended) < runs and unknown < runs and not is_stopped():
        start = policy.ask(state, worker="", session="")
        if start is None:
            break
        losses = known.losses.get(start.candidate)
        if losses is None:
            unknown += 1
            policy.forget_proposal()
            state.search.pruned.add(start.candidate)  # which is not proposed again
            continue
        if losses:
            first = known.block_size * order[start.block]
            of_block = losses[first : first + known.block_size]
            results = [RunResult(validation_loss=loss) for loss in of_block]
            end = finished(start, "complete", results)
        else:
            end = finished(start, "diverged", message="as is known")
        for event in (started(start), end):
            state.apply(state.position + 1, event)
            policy.follow(state.position, event)
        recommended.append(policy.best(state.search))
    recommended += recommended[-1:] * (runs - len(recommended))
    return pd.DataFrame(
        {
            "sampler": sampler,
            "repetition": repetition,
            "run": np.arange(1, len(recommended) + 1),
            "recommended": recommended,
            "regret": [known.regrets.get(name or "", math.nan) for name in recommended],
            "unknown": unknown,
        }
    )


def _plan_of_a_search(known: KnownLosses, sampler: str, runs: int, repetition: int) -> Plan:
    study_file = known.plan.study
    search = study_file.search.model_copy(
        update={
            "sampler": sampler,
            "runs": runs,
            "blocks": known.blocks,
            "pruner": "none",
            "minutes": None,
            "training_flops": None,
        }
    )
    sequence = np.random.SeedSequence([study_file.seed, repetition])
    seed = int(sequence.generate_state(1)[0])
    update = {"seed": seed, "search": search}
    return replace(known.plan, study=study_file.model_copy(update=update))


def compare_samplers(
    known: KnownLosses,
    samplers: Sequence[str] = COMPARED_SAMPLERS,
    runs: int | None = None,
    repetitions: int = REPETITIONS,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> pd.DataFrame:
    """Replay searches by several samplers, and random search beside them.

    In a repetition all samplers have the same seed and the same order of blocks, so they can be
    compared pair by pair. Searches are given final losses: nothing is pruned.

    Parameters
    ----------
    known : KnownLosses
    samplers : sequence of str
        Of `COMPARED_SAMPLERS`; random search is added where it is missing.
    runs : int, optional
        The training runs of each search; 100 where it is None, or all schedules if there are fewer.
    repetitions : int
        Searches by each sampler, at least 2.
    workers : int, optional
        Processes, each of one thread; one per core where it is None.
    on_progress : callable
        Told how many searches are done, and of how many.

    Returns
    -------
    DataFrame
        A row per training run: ``sampler``, ``repetition`` (from 0), ``run`` (from 1),
        ``recommended`` (the schedule then in the lead; missing before any result) and its
        ``regret`` (in nats; NaN before any result). ``unknown`` says how often the whole search
        asked for a schedule that is not known, which does not count as a run.

    Raises
    ------
    InvalidInput
        For an unknown sampler, fewer than 2 repetitions, or so few runs that a sampler has no
        choice.
    RunFailed
        Where a process dies.
    """
    if runs is None:
        runs = min(MOST_RUNS_BY_DEFAULT, len(known.losses))
    _check_searches(known, samplers, runs, repetitions)
    names = list(dict.fromkeys((COMPARED_SAMPLERS[0], *samplers)))
    tasks = [(name, repetition) for repetition in range(repetitions) for name in names]
    searches = _replay_all(known, runs, tasks, workers, on_progress)
    return pd.concat(searches, ignore_index=True)


def _check_searches(
    known: KnownLosses, samplers: Sequence[str], runs: int, repetitions: int
) -> None:
    if strange := [name for name in samplers if name not in COMPARED_SAMPLERS]:
        raise InvalidInput(
            f"sampler {strange[0]!r} cannot be compared; choose from {', '.join(COMPARED_SAMPLERS)}"
        )
    if repetitions < 2:
        raise InvalidInput(f"repetitions is {repetitions}; an interval takes at least 2")
    explored = 1 - FINAL_SHARE
    if runs * explored <= known.baselines:
        raise InvalidInput(
            f"runs is {runs}: after the {known.baselines} named schedules, and before the"
            " last quarter, which trains leaders again, no sampler gets to choose; give at least"
            f" {math.floor(known.baselines / explored) + 1}"
        )


def _replay_all(
    known: KnownLosses,
    runs: int,
    tasks: list[tuple[str, int]],
    workers: int | None,
    on_progress: Callable[[int, int], None],
) -> list[pd.DataFrame]:
    """Each task's search, carried out by this number of processes."""
    context = worker_context()
    stop = Flag(context)
    with ProcessPoolExecutor(worker_count(workers), context, _begin, (known, runs, stop)) as pool:
        try:
            # Processes that are just being started would be lost.
            with interrupts_put_off(), without_the_script():
                futures = [pool.submit(_replay_task, *task) for task in tasks]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_progress(done, len(tasks))
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RunFailed("a process died while it replayed searches") from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


# What a process was begun with: the losses are sent to it once, not with every task.
_replayed: tuple[KnownLosses, int, Event]


def _begin(known: KnownLosses, runs: int, stop: Event) -> None:
    global _replayed
    end_with_parent()
    one_thread()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _replayed = known, runs, stop


def _replay_task(sampler: str, repetition: int) -> pd.DataFrame:
    known, runs, stop = _replayed
    return replay(known, sampler, runs, repetition, stop.is_set)
