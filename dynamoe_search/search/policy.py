"""What to train next, decided from the log alone.

A search goes in this order: it tries lost runs again; it trains each named pattern, uniform and
each preset that the study lists once, whether or not the family reaches it. Then the posterior over
all candidates chooses, until the study is decided or at its limits. A sampler of Optuna explores
instead; then the last quarter of the study trains the leaders on further blocks, best first, so
that the winner is not only the luckiest seed. A confirmation trains every contender on the same
fresh blocks, one block after another, up to a fixed number, or until its comparison is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.events import Event
from dynamoe_search.log.runs import Stage, Start, are_feasible
from dynamoe_search.log.state import Progress, State
from dynamoe_search.plan.baselines import every_candidate, is_pattern
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.search_section import SearchSection
from dynamoe_search.search.chooser import Chooser
from dynamoe_search.search.proposer import Proposer, needs_run
from dynamoe_search.search.space import encode
from dynamoe_search.search.undecided import BlocksToTrain, blocks_to_train
from dynamoe_search.statistics.pareto import OBJECTIVES, pareto_front

FINAL_SHARE = 0.25
"""The last part of a search, which trains its leaders again."""
_FINALISTS = 3
_ERRORS_IN_A_ROW = 5


@dataclass(frozen=True)
class _Wanted:
    """A candidate to train on its next free block."""

    candidate: str
    parameters: Mapping[str, float] | None
    seen: int | None = None
    passed_over: int = 0
    prunable: bool = False


class SearchPolicy:
    """Decides what a search trains next.

    Parameters
    ----------
    plan : Plan
    """

    stage: Stage = "search"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        own = plan.study.search.sampler == "posterior"
        self.chooser = Chooser(plan) if own else None
        self.proposer = None if own else Proposer(plan)

    def follow(self, position: int, event: Event) -> None:
        """Take in the next event."""
        if self.proposer is not None:
            self.proposer.follow(position, event)

    def ask(self, state: State, worker: str, session: str) -> Start | None:
        """The next run to start; None where there is none now.

        Parameters
        ----------
        state : State
            Up to the last event that was followed.
        worker, session : str
            The worker that asks, and its session.

        Raises
        ------
        RunFailed
            Where the last runs of this session all ended in an error.
        """
        progress, search = state.search, self.plan.study.search
        stop_at_repeated_errors(progress, session)
        if progress.retries:
            return retry(progress, worker, session)
        if fraction_done(progress, search, count_running=True) >= 1:
            return None
        wanted = self._wanted(progress, state.position)
        if wanted is None:
            return None
        block = progress.first_free_block(wanted.candidate)
        return Start(
            "search",
            wanted.candidate,
            block,
            0,
            self.plan.seeds(block),
            worker,
            session,
            len(progress.runs),
            wanted.parameters,
            wanted.seen,
            wanted.passed_over,
            wanted.prunable,
        )

    def forget_proposal(self) -> None:
        """End Optuna's trial of the last proposal, where no run of it starts."""
        if self.proposer is not None:
            self.proposer.forget_proposal()

    def is_decided(self, progress: Progress) -> bool:
        """Whether no further run is needed for a decision, whatever the limits.

        All baselines are trained in any case.
        """
        return (
            self.chooser is not None
            and self._untried_baseline(progress) is None
            and self.chooser.is_decided(progress)
        )

    def best(self, progress: Progress) -> str | None:
        """The candidate that the search would take now; None where there is none."""
        if self.chooser is not None and (posterior := self.chooser.posterior(progress)):
            return posterior.best
        return next(iter(leaders(progress, self.plan.study.search)), None)

    def fraction(self, progress: Progress) -> float:
        """The part of the search that is done: 1 or more at the end."""
        return fraction_done(progress, self.plan.study.search)

    def fraction_of_one_run(self) -> float:
        """What one more run adds to `fraction`; 0 where only the end of the run decides."""
        return 1 / self.plan.study.search.runs if self.plan.study.search.runs else 0.0

    def _wanted(self, progress: Progress, position: int) -> _Wanted | None:
        search = self.plan.study.search
        if (name := self._untried_baseline(progress)) is not None:
            candidate = self.plan.baselines[name]
            return _Wanted(str(candidate), self._parameters(name, candidate))
        if search.sampler == "exhaustive":
            return self._next_of_all(progress)
        if self.chooser is not None:
            if self.is_decided(progress):
                return None
            chosen = self.chooser.choose(progress)
            return None if chosen is None else _Wanted(chosen, None)
        if fraction_done(progress, search, count_running=True) >= 1 - FINAL_SHARE:
            leader = self._leader_to_train_again(progress)
            if leader is not None:
                first = progress.runs[progress.attempts[leader, 0][0]]
                return _Wanted(leader, first.start.parameters)
        assert self.proposer is not None
        proposal = self.proposer.propose(progress, position)
        if proposal is None:
            return None
        name, parameters = str(proposal.candidate), proposal.parameters
        prunable = search.pruner != "none" and progress.first_free_block(name) == 0
        return _Wanted(name, parameters, position, proposal.passed_over, prunable)

    def _untried_baseline(self, progress: Progress) -> str | None:
        """The name of the first baseline that is neither trained nor being trained."""
        names = self.plan.baselines.items()
        return next((name for name, one in names if str(one) not in progress.taken), None)

    def _parameters(self, name: str, candidate: Candidate) -> Mapping[str, float] | None:
        """A baseline in Optuna's search space; None where the family does not reach it."""
        plan, settings = self.plan, dict(candidate.settings)
        parameters = plan.location(name)
        if parameters is None or plan.candidate(parameters, settings) != candidate:
            return None
        return encode(parameters, plan.space) | settings

    def _next_of_all(self, progress: Progress) -> _Wanted | None:
        """Of all schedules of the budget, the first of those with the fewest blocks."""
        least = min(self._all, key=lambda name: len(progress.taken.get(name, ())))
        if not needs_run(least, progress, self.plan.study.search.blocks):
            return None
        return _Wanted(least, None)

    @cached_property
    def _all(self) -> list[str]:
        assert self.plan.solution is not None  # the study file asks for a total
        return list(map(str, every_candidate(self.plan.study, self.plan.solution.experts)))

    def _leader_to_train_again(self, progress: Progress) -> str | None:
        """The finalists, the best named pattern, then the others by rank."""
        search = self.plan.study.search
        in_order = leaders(progress, search)
        patterns = {str(one) for name, one in self.plan.baselines.items() if is_pattern(name)}
        best_pattern = [candidate for candidate in in_order if candidate in patterns][:1]
        for candidate in in_order[:_FINALISTS] + best_pattern + in_order[_FINALISTS:]:
            if needs_run(candidate, progress, search.blocks):
                return candidate
        return None


class ConfirmationPolicy:
    """Decides what a confirmation trains next.

    Parameters
    ----------
    plan : Plan
    confirmation : Confirmation
    """

    stage: Stage = "confirmation"

    def __init__(self, plan: Plan, confirmation: Confirmation) -> None:
        self.plan, self.confirmation = plan, confirmation
        self.candidates = [contender.candidate for contender in confirmation.contenders]
        self._known: tuple[tuple[int, int], BlocksToTrain] | None = None
        self._runs = len(self.candidates) * confirmation.blocks  # as last expected

    def follow(self, position: int, event: Event) -> None:
        """Take in the next event: nothing here depends on it."""

    def ask(self, state: State, worker: str, session: str) -> Start | None:
        """The next run to start; None where there is none now.

        Raises
        ------
        RunFailed
            Where the last runs of this session all ended in an error.
        """
        progress = state.stages["confirmation"]
        stop_at_repeated_errors(progress, session)
        if progress.retries:
            return retry(progress, worker, session)
        # Whole blocks first, so that an interrupted confirmation has complete pairs. A free worker
        # does not wait for the runs that a look still lacks, but begins the next block.
        most = self._to_train(progress).most
        blocks = {name: progress.first_free_block(name) for name in self.candidates}
        free = [
            (block, place)
            for place, (name, block) in enumerate(blocks.items())
            if block < most[name]
        ]
        if not free:
            return None
        block, place = min(free)
        seeds, candidate = self.plan.confirmation_seeds(block), self.candidates[place]
        number = len(progress.runs)
        return Start("confirmation", candidate, block, 0, seeds, worker, session, number)

    def is_decided(self, progress: Progress) -> bool:
        """Whether no further run is needed, whatever the limits."""
        return False

    def fraction(self, progress: Progress) -> float:
        """The part of the confirmation that is done: 1 at the end.

        Until all is decided it is of the runs that are expected, which results change.
        """
        self._runs = progress.finished + self._to_train(progress).runs_to_come(progress)
        return progress.finished / self._runs

    def fraction_of_one_run(self) -> float:
        """What one more run adds to `fraction`."""
        return 1 / self._runs

    def _to_train(self, progress: Progress) -> BlocksToTrain:
        """The blocks to train, worked out once for the same results."""
        ended = len(progress.done), len(progress.given_up)
        if self._known is None or self._known[0] != ended:
            self._known = ended, blocks_to_train(progress, self.confirmation)
        return self._known[1]


Policy = SearchPolicy | ConfirmationPolicy


def fraction_done(progress: Progress, limits: SearchSection, count_running: bool = False) -> float:
    """The part done, up to the first limit that is reached: 1 or more where the search is over."""
    runs = progress.finished + (len(progress.running) if count_running else 0)
    done = (
        (runs, limits.runs),
        (progress.seconds / 60, limits.minutes),
        (progress.flops, limits.training_flops),
    )
    return max(amount / limit for amount, limit in done if limit is not None)


def leaders(progress: Progress, search: SearchSection) -> list[str]:
    """The candidates with results, best first; those that meet the constraints before the others.

    With several objectives, those on the front of the means come first. Ties are sorted by name.
    """
    quantities = [OBJECTIVES[name] for name in search.objectives]
    columns = [quantity.column for quantity in quantities]
    means = progress.means(columns)
    names = sorted(means)
    if not names:
        return []
    values = np.array([[means[name][column] for column in columns] for name in names])
    constraints = search.constraint_list
    feasible = np.array([are_feasible(progress.results_of(name), constraints) for name in names])
    front = np.zeros(len(names), dtype=bool)
    front[feasible] = pareto_front(values[feasible], [q.minimize for q in quantities])
    first = values[:, 0] if quantities[0].minimize else -values[:, 0]
    return [names[i] for i in np.lexsort((first, ~front, ~feasible))]


def retry(progress: Progress, worker: str, session: str) -> Start:
    """The next attempt at the first run that was lost."""
    lost = next(iter(progress.retries.values())).start
    return replace(
        lost,
        attempt=len(progress.attempts[lost.key]),
        worker=worker,
        session=session,
        number=len(progress.runs),
    )


def stop_at_repeated_errors(progress: Progress, session: str) -> None:
    """Raise `RunFailed` where the last runs of a session all ended in an error."""
    last = [progress.runs[number] for number in progress.ended[-_ERRORS_IN_A_ROW:]]
    errors = [one for one in last if one.state == "error" and one.start.session == session]
    if len(errors) == _ERRORS_IN_A_ROW:
        raise RunFailed(
            f"the last {_ERRORS_IN_A_ROW} runs all ended in an error; the last one:"
            f" {errors[-1].message}"
        )
