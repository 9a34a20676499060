"""Samplers compared on recorded results: a search's own decisions, and nothing trained.

A study that has trained every schedule, several times each, knows the answer to whatever a search
may ask. So searches are replayed in a moment: each asks its agenda, as every search does
(named patterns first, its leaders again in the last quarter), and is told what is recorded. After
each training the schedule in its lead is judged by its regret: see `Recording.regrets`.

Repetitions differ in the sampler's seed and in the order of replicates, which is the same for all
schedules, as they share their seeds. They do not differ in the schedules and their losses: what is
found holds for this study.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from dynamoe_search.bench.recording import Recording
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.records import read_ledger, record_failure, record_result
from dynamoe_search.plan.plan import Plan
from dynamoe_search.run.processes import Flag, end_with_parent, interrupts_put_off, worker_context
from dynamoe_search.run.progress import Event
from dynamoe_search.run.worker import one_thread
from dynamoe_search.search.agenda import SearchAgenda
from dynamoe_search.search.assignment import REPLICATION_SHARE, leaders

# The first is what the others are compared with.
COMPARED_SAMPLERS = ("random", "tpe", "qmc", "cmaes", "gp", "nsga2")
REPETITIONS = 30
MOST_TRIALS_BY_DEFAULT = 100


def replay(
    recording: Recording,
    sampler: str,
    trials: int,
    repetition: int,
    is_stopped: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """One search, told what is recorded in place of training.

    Parameters
    ----------
    recording : Recording
    sampler : str
    trials : int
        The trainings it may ask for.
    repetition : int
        Decides the sampler's seed, and in which order replicates are told.
    is_stopped : callable
        Asked before each training whether to end here.

    Returns
    -------
    DataFrame
        A row a training, as in `compare_samplers`. Where a search has nothing left to ask for, its
        last word stands.
    """
    plan = _plan_of_a_search(recording, sampler, trials, repetition)
    generator = np.random.default_rng([recording.plan.study.seed, repetition])
    order = generator.permutation(recording.replicates)
    search = plan.study.search
    agenda = SearchAgenda(search)
    study = optuna.create_study()
    recommended: list[str | None] = []
    unknown = 0
    while len(recommended) < trials and unknown < trials and not is_stopped():
        trials_so_far = study.get_trials(deepcopy=False)
        assignment = agenda.next(study, trials_so_far, plan, worker="", run="")
        if assignment is None:
            break
        trial, claim = assignment.trial, assignment.claim
        losses = recording.losses.get(claim.candidate)
        if losses is None:
            unknown += 1
            trial.set_user_attr("claim", None)  # as if it had never been asked for
            study.tell(trial, state=TrialState.FAIL)
            continue
        if losses:
            result = {"validation_loss": losses[order[claim.replicate]], "training_flops": 0.0}
            record_result(study, trial, claim, result, search)
        else:
            record_failure(study, trial, "diverged", "as it is recorded")
        in_order = leaders(read_ledger(study.get_trials(deepcopy=False)), search)
        recommended.append(in_order[0] if in_order else None)
    recommended += recommended[-1:] * (trials - len(recommended))
    return pd.DataFrame(
        {
            "sampler": sampler,
            "repetition": repetition,
            "trial": np.arange(1, len(recommended) + 1),
            "recommended": recommended,
            "regret": [recording.regrets.get(name or "", math.nan) for name in recommended],
            "unknown": unknown,
        }
    )


def _plan_of_a_search(recording: Recording, sampler: str, trials: int, repetition: int) -> Plan:
    study_file = recording.plan.study
    search = study_file.search.model_copy(
        update={
            "sampler": sampler,
            "trials": trials,
            "replicates": recording.replicates,
            "pruner": "none",
            "minutes": None,
            "training_flops": None,
        }
    )
    sequence = np.random.SeedSequence([study_file.seed, repetition])
    seed = int(sequence.generate_state(1)[0])
    update = {"seed": seed, "search": search}
    return replace(recording.plan, study=study_file.model_copy(update=update))


def compare_samplers(
    recording: Recording,
    samplers: Sequence[str] = COMPARED_SAMPLERS,
    trials: int | None = None,
    repetitions: int = REPETITIONS,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> pd.DataFrame:
    """Replay searches by several samplers, and random search beside them.

    In a repetition all samplers have the same seed and the same order of replicates, so they can be
    compared pair by pair. Trainings are told with their final losses: nothing is pruned.

    Parameters
    ----------
    recording : Recording
    samplers : sequence of str
        Of `COMPARED_SAMPLERS`; random search is added where it is missing.
    trials : int, optional
        The trainings of each search; where it is None, 100, or the number of schedules if lower.
    repetitions : int
        Searches by each sampler, at least 2.
    workers : int, optional
        Processes, each of one thread; one a core where it is None.
    on_progress : callable
        Told how many searches are done, and of how many.

    Returns
    -------
    DataFrame
        A row a training: ``sampler``, ``repetition`` (from 0), ``trial`` (from 1), ``recommended``
        (the schedule then in the lead; missing before any result) and its ``regret`` (in nats; NaN
        before any result). ``unknown`` says how often the whole search asked for a schedule that is
        not recorded, which was not counted as a training.

    Raises
    ------
    InvalidInput
        For an unknown sampler, fewer than 2 repetitions, or so few trials that a sampler has no
        choice.
    RunFailed
        Where a process dies.
    """
    if trials is None:
        trials = min(MOST_TRIALS_BY_DEFAULT, len(recording.losses))
    _check_searches(recording, samplers, trials, repetitions)
    names = list(dict.fromkeys((COMPARED_SAMPLERS[0], *samplers)))
    tasks = [(name, repetition) for repetition in range(repetitions) for name in names]
    searches = _replay_all(recording, trials, tasks, workers, on_progress)
    return pd.concat(searches, ignore_index=True)


def _check_searches(
    recording: Recording, samplers: Sequence[str], trials: int, repetitions: int
) -> None:
    if strange := [name for name in samplers if name not in COMPARED_SAMPLERS]:
        raise InvalidInput(
            f"sampler {strange[0]!r} cannot be compared; choose from {', '.join(COMPARED_SAMPLERS)}"
        )
    if repetitions < 2:
        raise InvalidInput(f"repetitions is {repetitions}; an interval takes at least 2")
    explored = 1 - REPLICATION_SHARE
    if trials * explored <= recording.baselines:
        raise InvalidInput(
            f"trials is {trials}: after the {recording.baselines} named schedules, and before the"
            " last quarter, which trains leaders again, no sampler gets to choose; give at least"
            f" {math.floor(recording.baselines / explored) + 1}"
        )


def _replay_all(
    recording: Recording,
    trials: int,
    tasks: list[tuple[str, int]],
    workers: int | None,
    on_progress: Callable[[int, int], None],
) -> list[pd.DataFrame]:
    """Each task's search, carried out by so many processes."""
    context = worker_context()
    stop = Flag(context)
    workers = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, context, _begin, (recording, trials, stop)) as pool:
        try:
            with interrupts_put_off():  # processes that are just being started would be lost
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


# What a process was begun with: the recording is sent to it once, not with every task.
_replayed: tuple[Recording, int, Event]


def _begin(recording: Recording, trials: int, stop: Event) -> None:
    global _replayed
    end_with_parent()
    one_thread()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _replayed = recording, trials, stop


def _replay_task(sampler: str, repetition: int) -> pd.DataFrame:
    recording, trials, stop = _replayed
    return replay(recording, sampler, trials, repetition, stop.is_set)
