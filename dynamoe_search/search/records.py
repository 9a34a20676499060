"""What is recorded of a trial, and how a trial's fate is read back.

A trial carries at most one of each of these attributes: ``claim`` from the moment it is assigned,
``result`` from the moment its training ends, ``failure`` where it ended otherwise, ``repeat``
where it was answered from earlier results without training. Every decision of a search is a
function of these records, so a search that was killed goes on from them alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

FailureKind = Literal["interrupted", "diverged", "out of memory", "error"]
# A training that was cut short is tried again. Only one whose worker died twice in the same run is
# not: it may be what kills them. Where the whole run was killed, the next run starts counting anew.
_DEATHS_IN_ONE_RUN = 2


@dataclass(frozen=True)
class Claim:
    """Which training a trial stands for.

    Parameters
    ----------
    schedule : str
    replicate : int
        From 0; no two finished trials of a schedule share it.
    seed : int
        The seed of that replicate.
    process : int
        The process that trains it.
    run : str
        The run that the process belongs to.
    outside : bool
        Whether the schedule lies outside the family: the trial then has no parameters.
    """

    schedule: str
    replicate: int
    seed: int
    process: int
    run: str
    outside: bool = False


def claim_of(trial: FrozenTrial) -> Claim | None:
    """The claim of a trial, if it has one."""
    attribute = trial.user_attrs.get("claim")
    return None if attribute is None else Claim(**attribute)


def record_claim(trial: optuna.Trial, claim: Claim) -> None:
    """Say which training a trial stands for."""
    trial.set_user_attr("claim", asdict(claim))


def record_result(
    study: optuna.Study, trial: optuna.Trial, claim: Claim, result: dict[str, Any]
) -> None:
    """Keep a trial's result, and complete the trial.

    Two writes: where the process dies between them, `settle` does the second.
    """
    trial.set_user_attr("result", result)
    _complete(study, trial.number, claim, result)


def _complete(study: optuna.Study, number: int, claim: Claim, result: dict[str, Any]) -> None:
    if claim.outside:
        # Samplers pass over failed trials, and this one has no parameters that they could learn
        # from. That it has a result is what tells it from a failure.
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, result["validation_loss"])


def record_failure(
    study: optuna.Study, trial: optuna.Trial, kind: FailureKind, message: str
) -> None:
    """Say why a trial has no result, and end it."""
    trial.set_user_attr("failure", {"kind": kind, "message": message})
    study.tell(trial, state=TrialState.FAIL)


def settle(study: optuna.Study, processes: Iterable[int] | None = None) -> None:
    """End the trials that dead processes left running; the caller holds the claim lock.

    Parameters
    ----------
    study : Study
    processes : iterable of int, optional
        The dead processes; all that ever worked on the study, where it is None.
    """
    dead = None if processes is None else set(processes)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        claim = claim_of(trial)
        # Trials are asked for and claimed under one lock: without a claim, whoever asked is dead.
        if dead is not None and claim is not None and claim.process not in dead:
            continue
        if claim is not None and (result := trial.user_attrs.get("result")) is not None:
            _complete(study, trial.number, claim, result)
        else:
            study.tell(trial.number, state=TrialState.FAIL)


def state_of(trial: FrozenTrial) -> str:
    """A trial's fate in a word: complete, running, repeat, or the kind of failure."""
    if "repeat" in trial.user_attrs:
        return "repeat"
    if trial.state.is_finished() and "result" in trial.user_attrs:
        return "complete"
    if trial.state == TrialState.FAIL:
        # Whoever dies leaves no word.
        return str(trial.user_attrs.get("failure", {}).get("kind", "died"))
    return "running"


@dataclass(frozen=True)
class Ledger:
    """All claims of a study, summed up.

    Parameters
    ----------
    losses : dict of str to dict of int to float
        By schedule and replicate, the validation losses that are known.
    taken : dict of str to set of int
        By schedule, the replicates that are done, running, or failed for good.
    retries : list of FrozenTrial
        Trials whose training must be tried again.
    trained : int
        Trainings done or failed for good.
    running : int
        Trainings under way.
    flops : float
        Training FLOPs of the results.
    seconds : float
        Time during which at least one trial was running.
    """

    losses: dict[str, dict[int, float]]
    taken: dict[str, set[int]]
    retries: list[FrozenTrial]
    trained: int
    running: int
    flops: float
    seconds: float

    def mean_losses(self) -> dict[str, float]:
        """The mean validation loss of each schedule with results."""
        return {
            schedule: float(np.mean(list(by_replicate.values())))
            for schedule, by_replicate in self.losses.items()
        }


def read_ledger(trials: list[FrozenTrial]) -> Ledger:
    """Sum up the trials of a study."""
    losses: dict[str, dict[int, float]] = {}
    taken: dict[str, set[int]] = {}
    unfinished: dict[tuple[str, int], list[FrozenTrial]] = {}
    trained = running = 0
    flops = 0.0
    for trial in trials:
        claim, state = claim_of(trial), state_of(trial)
        if claim is None:
            continue
        if state in ("died", "interrupted"):
            unfinished.setdefault((claim.schedule, claim.replicate), []).append(trial)
            continue
        taken.setdefault(claim.schedule, set()).add(claim.replicate)
        if state == "running":
            running += 1
            continue
        trained += 1
        if state == "complete":
            result = trial.user_attrs["result"]
            losses.setdefault(claim.schedule, {})[claim.replicate] = result["validation_loss"]
            flops += result["training_flops"]
    retries = []
    for (schedule, replicate), attempts in unfinished.items():
        if replicate in taken.get(schedule, ()):
            continue
        deaths = Counter(
            claim.run
            for attempt in attempts
            if state_of(attempt) == "died" and (claim := claim_of(attempt))
        )
        if max(deaths.values(), default=0) < _DEATHS_IN_ONE_RUN:
            retries.append(attempts[-1])
        else:
            taken.setdefault(schedule, set()).add(replicate)
            trained += 1
    return Ledger(losses, taken, retries, trained, running, flops, _covered_seconds(trials))


def _covered_seconds(trials: list[FrozenTrial]) -> float:
    """The length of the union of the trials' intervals."""
    covered, end = 0.0, float("-inf")
    intervals = [
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in trials
        if trial.datetime_start is not None
        and trial.datetime_complete is not None
        and state_of(trial) != "died"
    ]
    for start, complete in sorted(intervals):
        covered += max(0.0, complete - max(start, end))
        end = max(end, complete)
    return covered
