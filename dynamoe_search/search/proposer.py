"""Proposals of an Optuna sampler: an in-memory Optuna study that follows the log.

It holds a trial for each run of the search whose candidate lies in the family. What a sampler
proposes, and what a pruner ends, is a function of the log and of the study's seed: every process
that reads the same events has the same study in memory. For that, a sampler gets results when it
is asked, not when they arrive: other processes may have read more by then, but each start says
which results its sampler had seen.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median_high

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.log.events import Event
from dynamoe_search.log.runs import FINISH, REPORT, START, Finish, Report, RunResult, Start
from dynamoe_search.log.state import Key, Progress
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.search_section import FITS_A_MODEL
from dynamoe_search.search.quiet import quiet
from dynamoe_search.search.samplers import KEEPS_RUNGS, KEEPS_STATE, make_pruner, make_sampler
from dynamoe_search.search.space import suggest, suggest_settings
from dynamoe_search.search.thinning import ThinnedStudy
from dynamoe_search.statistics.pareto import OBJECTIVES

_STUDY = "search"  # the same in all processes: Hyperband draws brackets by this name
# After this many proposals in a row that need no run, nothing is left to train.
_MOST_PASSED_OVER = 50


@dataclass(frozen=True)
class Proposal:
    """A sampler's proposal.

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


@dataclass
class _Followed:
    """A run that is not finished, as Optuna has it: one trial for all attempts."""

    trial: optuna.Trial
    step: int = 0
    unpromising: bool = False


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
        self._objectives = [objective.column for objective in objectives]
        self._columns = [*self._objectives, *(c.key for c in search.constraint_list)]
        self._fitted = ThinnedStudy(self.study)
        self._started: set[Key] = set()
        self._followed: dict[Key, _Followed] = {}
        self._untold: deque[tuple[int, Finish, _Followed | None]] = deque()
        self._results: dict[str, list[RunResult]] = {}
        self._proposed: tuple[str, optuna.Trial] | None = None

    def propose(self, progress: Progress, position: int) -> Proposal | None:
        """The next candidate that needs a run; None where the sampler finds no more.

        Follow the log before the next proposal: this one is expected in the next ``started`` event.

        Parameters
        ----------
        progress : Progress
            Of the search.
        position : int
            Of the last event that was followed.
        """
        self._tell_until(position)
        for passed_over in range(_MOST_PASSED_OVER + 1):
            candidate, trial = self._ask(passed_over)
            if needs_run(str(candidate), progress, self.plan.study.search.blocks):
                self._proposed = str(candidate), trial
                return Proposal(candidate, trial.params, passed_over)
            self._answer(trial, candidate)
        return None

    def forget_proposal(self) -> None:
        """End the trial of the last proposal, where no run of it starts."""
        if self._proposed is not None:
            self.study.tell(self._proposed[1], state=TrialState.FAIL)
            self._proposed = None

    def follow(self, position: int, event: Event) -> None:
        """Follow the next event of the log. A lost run keeps its trial for the next attempt."""
        match event.kind:
            case "started":
                start = START.validate_python(event.content)
                if start.stage == "search" and start.key not in self._started:
                    self._follow_start(start)
            case "reported":
                self._follow_report(REPORT.validate_python(event.content))
            case "finished":
                finish = FINISH.validate_python(event.content)
                if finish.stage == "search":
                    followed = self._followed.pop((finish.candidate, finish.block), None)
                    self._untold.append((position, finish, followed))

    def is_unpromising(self, start: Start) -> bool:
        """Whether the pruner ends a run at its last reported point."""
        followed = self._followed.get(start.key)
        if followed is None:
            return False
        if self.plan.study.search.pruner in KEEPS_RUNGS:
            return followed.unpromising
        return followed.trial.should_prune()

    def _ask(self, passed_over: int) -> tuple[Candidate, optuna.Trial]:
        """Ask the sampler; after a proposal that needs no run, ask a random one.

        A sampler that proposes a known candidate gets its mean, and would propose it again.
        """
        name = "random" if passed_over else self.plan.study.search.sampler
        sampler = self._sampler(name, passed_over)
        if name in FITS_A_MODEL:
            sampler = _fixed(self._fitted.ask(sampler, self._suggest))
        self.study.sampler = sampler
        trial = self.study.ask()
        return self.plan.candidate(*self._suggest(trial)), trial

    def _suggest(self, trial: optuna.Trial) -> tuple[dict[str, float], dict[str, float]]:
        """The parameters and settings of a trial."""
        parameters = suggest(trial, self.plan.space)
        return parameters, suggest_settings(trial, self.plan.study.search.also)

    def _sampler(self, name: str, passed_over: int) -> optuna.samplers.BaseSampler:
        return make_sampler(name, self.plan.study.seed, len(self._started), passed_over)

    def _answer(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """End a trial that needs no run.

        Samplers that build on their own proposals get the mean of the known results.
        """
        results = self._results.get(str(candidate))
        if self.plan.study.search.sampler not in KEEPS_STATE or not results:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        self._tell(trial, results)

    def _follow_start(self, start: Start) -> None:
        if start.parameters is not None and (trial := self._trial_of(start)) is not None:
            self._followed[start.key] = _Followed(trial)
        self._started.add(start.key)

    def _trial_of(self, start: Start) -> optuna.Trial | None:
        proposed, self._proposed = self._proposed, None
        if proposed is not None and proposed[0] == start.candidate:
            return proposed[1]
        if start.seen is not None:
            self._tell_until(start.seen)
            if self.plan.study.search.sampler in KEEPS_STATE:
                return self._ask_again(start)
            for _ in range(start.passed_over):
                self.study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
        return self._ask_for(start)

    def _ask_again(self, start: Start) -> optuna.Trial | None:
        """Ask as another process has asked, so that the sampler is in the same state."""
        for passed_over in range(start.passed_over):
            candidate, trial = self._ask(passed_over)
            self._answer(trial, candidate)
        _, trial = self._ask(start.passed_over)
        if trial.params == start.parameters:
            return trial
        # The study file had another sampler then.
        self.study.tell(trial, state=TrialState.FAIL)
        return self._ask_for(start)

    def _ask_for(self, start: Start) -> optuna.Trial | None:
        """A trial of given parameters; None where the search space has no such point."""
        assert start.parameters is not None
        sampler = self.plan.study.search.sampler
        # One that keeps a state counts this trial, too.
        others = self._sampler(sampler, 0) if sampler in KEEPS_STATE else None
        self.study.sampler = _fixed(start.parameters, others)
        trial = self.study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd values
            try:
                self._suggest(trial)
            except ValueError:  # from Optuna: they are damaged
                is_there = False
            else:
                is_there = _has(trial, start.parameters)
        if not is_there:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def _follow_report(self, report: Report) -> None:
        followed = self._followed.get((report.candidate, report.block))
        if followed is None:
            return
        if report.step > followed.step:  # a second attempt passes the same points
            followed.trial.report(report.loss, report.step)
            followed.step = report.step
        if self.plan.study.search.pruner in KEEPS_RUNGS:
            followed.unpromising = followed.trial.should_prune()

    def _tell_until(self, position: int) -> None:
        """Tell the sampler the results up to a position in the log."""
        while self._untold and self._untold[0][0] <= position:
            _, finish, followed = self._untold.popleft()
            if finish.state == "complete":
                self._results.setdefault(finish.candidate, []).extend(finish.results)
            if followed is not None and finish.state == "complete":
                self._tell(followed.trial, finish.results)
            elif followed is not None:
                state = TrialState.PRUNED if finish.state == "pruned" else TrialState.FAIL
                self._know(self.study.tell(followed.trial, state=state))

    def _tell(self, trial: optuna.Trial, results: Sequence[RunResult]) -> None:
        """Tell the means over some results; a constraint is met where most of them meet it."""
        means = {name: fmean(one.value(name) for one in results) for name in self._columns}
        if any(math.isnan(mean) for mean in means.values()):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for constraint in self.plan.study.search.constraint_list:
            violations = [constraint.violation(one.value(constraint.key)) for one in results]
            trial.set_constraint(str(constraint), median_high(violations))
        self._know(self.study.tell(trial, [means[column] for column in self._objectives]))

    def _know(self, trial: FrozenTrial) -> None:
        """Let a sampler that fits a model know of a trial that has ended."""
        if self.plan.study.search.sampler in FITS_A_MODEL and trial.state != TrialState.FAIL:
            self._fitted.add(trial)


def _fixed(
    parameters: Mapping[str, float], others: optuna.samplers.BaseSampler | None = None
) -> optuna.samplers.BaseSampler:
    """A sampler that proposes these values; what they leave out, the other sampler proposes."""
    with quiet():
        return PartialFixedSampler(dict(parameters), others or RandomSampler(seed=0))


def _has(trial: optuna.Trial, parameters: Mapping[str, float]) -> bool:
    """Whether a trial has these parameters, and each lies where it may."""
    return trial.params == parameters and all(
        where.low <= parameters[name] <= where.high
        for name, where in trial.distributions.items()
        if isinstance(where, FloatDistribution | IntDistribution)
    )


def needs_run(candidate: str, progress: Progress, blocks: int) -> bool:
    """Whether a candidate may be trained on another block."""
    return candidate not in progress.pruned and progress.first_free_block(candidate) < blocks
