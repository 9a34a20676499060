"""What is recorded of a trial, and how a trial's fate is read back.

A trial carries at most one of each of these attributes: ``claim`` from the moment it is assigned,
``result`` from the moment its training ends, ``pruned`` where it was ended early for being
unpromising, ``failure`` where it ended otherwise, ``repeat`` where it was answered from earlier
results without training. Every decision of a search is a
function of these records, so a search that was killed goes on from them alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.errors import RunFailed
from dynamoe_search.plan.study_file import SearchSection
from dynamoe_search.statistics.pareto import OBJECTIVES

FailureKind = Literal["interrupted", "diverged", "out of memory", "error"]
# A training that was cut short is tried again. Only one whose worker died twice in the same run is
# not: it may be what kills them. Where the whole run was killed, the next run starts counting anew.
_DEATHS_IN_ONE_RUN = 2


@dataclass(frozen=True)
class Claim:
    """Which training a trial stands for.

    Parameters
    ----------
    candidate : str
        As `dynamoe_search.plan.candidate.parse_candidate` reads it.
    replicate : int
        From 0; no two finished trials of a candidate share it.
    seed : int
        The seed of that replicate.
    worker : str
        The worker that trains it, as `dynamoe_search.log.heartbeat` names it.
    run : str
        The run that the worker belongs to.
    outside : bool
        Whether the candidate lies outside the family: the trial then has no parameters.
    prunable : bool
        Whether it may be ended early: the sampler's finds may, what is to be compared may not.
    """

    candidate: str
    replicate: int
    seed: int
    worker: str
    run: str
    outside: bool = False
    prunable: bool = False


def claim_of(trial: FrozenTrial) -> Claim | None:
    """The claim of a trial, if it has one."""
    attribute = trial.user_attrs.get("claim")
    return None if attribute is None else Claim(**attribute)


def record_claim(trial: optuna.Trial, claim: Claim) -> None:
    """Say which training a trial stands for."""
    trial.set_user_attr("claim", asdict(claim))


def record_result(
    study: optuna.Study,
    trial: optuna.Trial,
    claim: Claim,
    result: dict[str, Any],
    search: SearchSection,
) -> None:
    """Keep a trial's result, and complete the trial.

    Where the process dies after the result is written, `settle` completes the trial.

    Raises
    ------
    Superseded
        As the other functions that record.
    """
    with _unless_given_up(trial):
        record_constraints(trial, search, result)
        trial.set_user_attr("result", result)
        _complete(study, trial._trial_id, claim, result, search)


def record_constraints(
    trial: optuna.Trial, search: SearchSection, result: Mapping[str, float]
) -> None:
    """Tell the sampler by how much a result breaks each constraint."""
    for constraint in search.constraint_list:
        trial.set_constraint(str(constraint), constraint.violation(result))


def record_pruned(study: optuna.Study, trial: optuna.Trial, spent: dict[str, Any]) -> None:
    """Say what a training had cost when it was ended for being unpromising, and end the trial."""
    with _unless_given_up(trial):
        trial.set_user_attr("pruned", spent)
    study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)


def record_failure(
    study: optuna.Study,
    trial: optuna.Trial,
    kind: FailureKind,
    message: str,
    training_flops: float = 0.0,
) -> None:
    """Say why a trial has no result, and what it had cost by then, and end it."""
    failure = {"kind": kind, "message": message, "training_flops": training_flops}
    with _unless_given_up(trial):
        trial.set_user_attr("failure", failure)
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


class Superseded(RunFailed):
    """The trial was given up for dead, and is trained again by another worker."""


@contextmanager
def _unless_given_up(trial: optuna.Trial) -> Iterator[None]:
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        raise Superseded(
            f"trial {trial.number} was given up, as this worker showed no sign of life; what it"
            " has found is dropped, since another trains it again"
        ) from None


def _complete(
    study: optuna.Study,
    trial_id: int,
    claim: Claim,
    result: Mapping[str, Any],
    search: SearchSection,
) -> None:
    # Optuna's `tell` does the same, and reads the trial twice.
    end = study._storage.set_trial_state_values
    if claim.outside:
        # Samplers pass over failed trials, and this one has no parameters that they could learn
        # from. That it has a result is what tells it from a failure.
        end(trial_id, TrialState.FAIL)
    else:
        end(trial_id, TrialState.COMPLETE, objective_values(search, result))


def objective_values(search: SearchSection, result: Mapping[str, Any]) -> list[float]:
    """What a result is in each of a study's objectives."""
    return [result[OBJECTIVES[name].column] for name in search.objectives]


def settle(
    study: optuna.Study, search: SearchSection, is_dead: Callable[[str], bool]
) -> list[FrozenTrial]:
    """End the trials that dead workers left running; the caller holds the claim lock.

    Parameters
    ----------
    study : Study
    search : SearchSection
    is_dead : callable
        Says of a worker whether it is.

    Returns
    -------
    list of FrozenTrial
        All trials of the study, as they are then.
    """
    trials = study.get_trials(deepcopy=False)
    left = [trial for trial in trials if _is_left(trial, is_dead)]
    for trial in left:
        claim, attributes = claim_of(trial), trial.user_attrs
        if trial.state == TrialState.WAITING:
            study.sampler = optuna.samplers.RandomSampler()  # which is asked for nothing
            study.tell(study.ask(), state=TrialState.FAIL)
        elif claim is not None and "result" in attributes:
            _complete(study, trial._trial_id, claim, attributes["result"], search)
        elif "pruned" in attributes:
            study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return study.get_trials(deepcopy=False) if left else trials


def _is_left(trial: FrozenTrial, is_dead: Callable[[str], bool]) -> bool:
    """Whether nobody will end a trial."""
    if trial.state.is_finished():
        return False
    # Trials are queued, asked for and claimed under one lock: who left one half-done is dead.
    claim = claim_of(trial)
    return claim is None or is_dead(claim.worker)


def state_of(trial: FrozenTrial) -> str:
    """A trial's fate in a word: complete, pruned, running, repeat, or the kind of failure."""
    if "repeat" in trial.user_attrs:
        return "repeat"
    if trial.state == TrialState.PRUNED:
        return "pruned"
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
    results : dict of str to dict of int to dict
        By candidate and replicate, the results that are known.
    taken : dict of str to set of int
        By candidate, the replicates that are done, pruned, running, or failed for good.
    on_trial : set of str
        Candidates whose training was ended early, or still may be: they are not trained again, as
        the seeds that come through would be the lucky ones.
    retries : list of FrozenTrial
        Trials whose training must be tried again.
    trained : int
        Trainings done, pruned, or failed for good.
    given_up : int
        Of these, the trainings that killed their workers.
    running : int
        Trainings under way.
    flops : float
        Training FLOPs, of pruned and diverged trainings as far as they went.
    seconds : float
        Time during which at least one trial was running.
    """

    results: dict[str, dict[int, dict[str, Any]]]
    taken: dict[str, set[int]]
    on_trial: set[str]
    retries: list[FrozenTrial]
    trained: int
    given_up: int
    running: int
    flops: float
    seconds: float

    def means(self, keys: Sequence[str]) -> dict[str, dict[str, float]]:
        """The mean of some of the results' values over its replicates, by candidate."""
        return {
            candidate: {key: fmean(result[key] for result in replicates.values()) for key in keys}
            for candidate, replicates in self.results.items()
        }


def read_ledger(trials: list[FrozenTrial]) -> Ledger:
    """Sum up the trials of a study."""
    results: dict[str, dict[int, dict[str, Any]]] = {}
    taken: dict[str, set[int]] = {}
    on_trial: set[str] = set()
    unfinished: dict[tuple[str, int], list[FrozenTrial]] = {}
    trained = given_up = running = 0
    flops = 0.0
    for trial in trials:
        claim, state = claim_of(trial), state_of(trial)
        if claim is None:
            continue
        if state in ("died", "interrupted"):
            unfinished.setdefault((claim.candidate, claim.replicate), []).append(trial)
            continue
        taken.setdefault(claim.candidate, set()).add(claim.replicate)
        if state == "pruned" or (state == "running" and claim.prunable):
            on_trial.add(claim.candidate)
        if state == "running":
            running += 1
            continue
        trained += 1
        if state == "complete":
            result = trial.user_attrs["result"]
            results.setdefault(claim.candidate, {})[claim.replicate] = result
            flops += result["training_flops"]
        elif state == "pruned":
            flops += trial.user_attrs["pruned"]["training_flops"]
        else:
            flops += trial.user_attrs["failure"]["training_flops"]
    retries = []
    for (candidate, replicate), attempts in unfinished.items():
        if replicate in taken.get(candidate, ()):
            continue
        deaths = Counter(
            claim.run
            for attempt in attempts
            if state_of(attempt) == "died" and (claim := claim_of(attempt))
        )
        if max(deaths.values(), default=0) < _DEATHS_IN_ONE_RUN:
            retries.append(attempts[-1])
        else:
            taken.setdefault(candidate, set()).add(replicate)
            trained += 1
            given_up += 1
    seconds = _covered_seconds(trials)
    return Ledger(results, taken, on_trial, retries, trained, given_up, running, flops, seconds)


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
