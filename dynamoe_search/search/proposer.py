"""Proposals of an Optuna sampler: an in-memory Optuna study that follows the log.

It holds a trial for each run of the search whose candidate lies in the family. What a sampler
proposes, and what a pruner ends, is a function of the log and of the study's seed: every process
that reads the same events has the same study in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import TrialState

from dynamoe_search.log.events import Event
from dynamoe_search.log.runs import FINISH, START, Finish, RunResult, Start
from dynamoe_search.log.state import Progress
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.search.samplers import KEEPS_STATE, make_pruner, make_sampler
from dynamoe_search.search.space import suggest, suggest_settings
from dynamoe_search.statistics.pareto import OBJECTIVES

_STUDY = "search"  # the same in all processes: Hyperband draws brackets by this name
# After so many proposals in a row that need no run, nothing is left to train.
_MOST_PASSED_OVER = 50
Attempt = tuple[str, int, int]  # candidate, block, attempt


@dataclass(frozen=True)
class Proposal:
    """What a sampler proposes.

    Parameters
    ----------
    candidate : Candidate
    parameters : mapping of str to float
        Of Optuna's trial.
    passed_over : int
        The proposals before it that needed no run.
    """

    candidate: Candidate
    parameters: Mapping[str, float]
    passed_over: int


class Proposer:
    """A sampler and a pruner, by the names in the study file, that follow the log.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        search, training = plan.study.search, plan.study.training
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        objectives = [OBJECTIVES[name] for name in search.objectives]
        self.study = optuna.create_study(
            study_name=_STUDY,
            directions=["minimize" if one.minimize else "maximize" for one in objectives],
            pruner=make_pruner(search.pruner, training.evaluations),
        )
        self._columns = [objective.column for objective in objectives]
        self._trials: dict[Attempt, optuna.Trial] = {}
        self._proposed: tuple[Candidate, optuna.Trial] | None = None
        self._unpromising: set[Attempt] = set()

    def propose(self, progress: Progress) -> Proposal | None:
        """The next candidate that needs a run; None where the sampler finds no more.

        Follow the log before the next proposal: this one is expected in the next ``started`` event.
        """
        for passed_over in range(_MOST_PASSED_OVER + 1):
            candidate, trial = self._ask(progress, passed_over)
            if needs_run(str(candidate), progress, self.plan.study.search.blocks):
                self._proposed = candidate, trial
                return Proposal(candidate, trial.params, passed_over)
            self._answer(trial, candidate, progress)
        return None

    def forget_proposal(self) -> None:
        """End the trial of the last proposal, where no run of it starts."""
        if self._proposed is not None:
            self.study.tell(self._proposed[1], state=TrialState.FAIL)
            self._proposed = None

    def follow(self, event: Event, progress: Progress) -> None:
        """Take in the next event of the log.

        Parameters
        ----------
        event : Event
        progress : Progress
            Of the search, before this event.
        """
        content = event.content
        match event.kind:
            case "started":
                start = START.validate_python(content)
                if start.stage == "search" and start.parameters is not None:
                    self._trials[_attempt(content)] = self._follow_start(start, progress)
            case "reported":
                self._follow_report(content)
            case "finished" | "lost":
                finish = FINISH.validate_python(content)
                if finish.stage == "search":
                    self._follow_end(finish, for_good=event.kind == "finished")

    def is_unpromising(self, start: Start) -> bool:
        """Whether the pruner ends a run at its last reported point."""
        return (start.candidate, start.block, start.attempt) in self._unpromising

    def _ask(self, progress: Progress, passed_over: int) -> tuple[Candidate, optuna.Trial]:
        """Ask the sampler; a random one after a proposal in vain.

        A sampler that proposes what is known is told its mean, which only draws it there again.
        """
        search = self.plan.study.search
        name = "random" if passed_over else search.sampler
        asked = len(progress.runs)
        self.study.sampler = make_sampler(name, self.plan.study.seed, asked, passed_over)
        trial = self.study.ask()
        parameters = suggest(trial, self.plan.family, self.plan.depth)
        return self.plan.candidate(parameters, suggest_settings(trial, search.also)), trial

    def _answer(self, trial: optuna.Trial, candidate: Candidate, progress: Progress) -> None:
        """End a trial that needs no run.

        Samplers that build on their own proposals are told the mean of what is known.
        """
        results = list(progress.results.get(str(candidate), {}).values())
        if self.plan.study.search.sampler not in KEEPS_STATE or not results:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        columns = [*self._columns, *(c.key for c in self.plan.study.search.constraint_list)]
        means = {name: sum(r.value(name) for r in results) / len(results) for name in columns}
        self._tell(trial, RunResult(measured=means))

    def _follow_start(self, start: Start, progress: Progress) -> optuna.Trial:
        proposed, self._proposed = self._proposed, None
        if proposed is not None and str(proposed[0]) == start.candidate:
            return proposed[1]
        if start.passed_over is not None:
            for passed_over in range(start.passed_over + 1):
                if self.plan.study.search.sampler in KEEPS_STATE:
                    candidate, trial = self._ask(progress, passed_over)
                    if passed_over == start.passed_over:
                        return trial
                    self._answer(trial, candidate, progress)
                elif passed_over < start.passed_over:
                    self.study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
        return self._ask_for(start, len(progress.runs))

    def _ask_for(self, start: Start, asked: int) -> optuna.Trial:
        """A trial of given parameters."""
        assert start.parameters is not None
        search = self.plan.study.search
        sampler: optuna.samplers.BaseSampler = RandomSampler(seed=0)
        if search.sampler in KEEPS_STATE:  # it counts this trial, too
            sampler = make_sampler(search.sampler, self.plan.study.seed, asked, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(dict(start.parameters), sampler)
        trial = self.study.ask()
        suggest(trial, self.plan.family, self.plan.depth)
        suggest_settings(trial, search.also)
        return trial

    def _follow_report(self, content: dict[str, Any]) -> None:
        trial = self._trials.get(_attempt(content))
        if trial is None:
            return
        trial.report(content["loss"], content["step"])
        if trial.should_prune():  # asked of every run, as pruners note what they have seen
            self._unpromising.add(_attempt(content))

    def _follow_end(self, finish: Finish, for_good: bool) -> None:
        """End the trial of an attempt; those of all attempts at a run that has ended for good."""
        key = finish.candidate, finish.block
        ended = [one for one in self._trials if one[:2] == key] if for_good else []
        for attempt in ended or [(*key, finish.attempt)]:
            trial = self._trials.pop(attempt, None)
            if trial is not None and finish.state == "complete" and attempt == (ended or [0])[0]:
                self._tell(trial, finish.result)
            elif trial is not None:
                state = TrialState.PRUNED if finish.state == "pruned" else TrialState.FAIL
                self.study.tell(trial, state=state)

    def _tell(self, trial: optuna.Trial, result: RunResult) -> None:
        for constraint in self.plan.study.search.constraint_list:
            trial.set_constraint(
                str(constraint), constraint.violation(result.value(constraint.key))
            )
        self.study.tell(trial, [result.value(column) for column in self._columns])


def needs_run(candidate: str, progress: Progress, blocks: int) -> bool:
    """Whether a candidate may be trained on another block."""
    return candidate not in progress.pruned and progress.first_free_block(candidate) < blocks


def _attempt(content: Mapping[str, Any]) -> Attempt:
    return content["candidate"], content["block"], content["attempt"]
