"""What a run trains: what the search asks for next, or a confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.log.records import Claim, Ledger, claim_of, read_ledger, record_claim
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.study_file import SearchSection
from dynamoe_search.run.result import split_result
from dynamoe_search.search.assignment import (
    Assignment,
    first_free,
    fraction_done,
    next_assignment,
    stop_at_repeated_errors,
)
from dynamoe_search.search.draft import decide_in_memory
from dynamoe_search.search.samplers import KEEPS_STATE
from dynamoe_search.training.evaluation import evaluate
from dynamoe_search.training.loop import TrainingResult


@dataclass(frozen=True)
class SearchAgenda:
    """Whatever the search asks for, until a limit of the study is reached."""

    limits: SearchSection
    stage = "trial"

    def next(
        self, study: optuna.Study, trials: list[FrozenTrial], plan: Plan, worker: str, run: str
    ) -> Assignment | None:
        """Claim the next training, given the study's trials; the caller holds the claim lock."""
        if self.limits.sampler in KEEPS_STATE:
            return next_assignment(study, plan, worker, run)
        return decide_in_memory(
            study, trials, lambda draft: next_assignment(draft, plan, worker, run)
        )

    def fraction(self, ledger: Ledger) -> float:
        """How much is done: 1 or more at the end."""
        return fraction_done(ledger, self.limits)

    def fraction_of_one_training(self) -> float:
        """What one more training adds to that, where it is known before it ends."""
        return 1 / self.limits.trials if self.limits.trials else 0.0

    def also_measured(
        self, plan: Plan, data: ImageData | TextData, training: TrainingResult
    ) -> dict[str, Any]:
        """Nothing: a search never looks at the test split."""
        return {}


@dataclass(frozen=True)
class ConfirmationAgenda:
    """Every candidate from the same fresh seeds, a seed at a time, measured on the test split.

    Parameters
    ----------
    candidates : tuple of str
    seeds : int
        How many.
    """

    candidates: tuple[str, ...]
    seeds: int
    stage = "confirmation"

    def next(
        self, study: optuna.Study, trials: list[FrozenTrial], plan: Plan, worker: str, run: str
    ) -> Assignment | None:
        """Claim the next training, given the study's trials; the caller holds the claim lock."""
        return decide_in_memory(study, trials, lambda draft: self._decide(draft, plan, worker, run))

    def _decide(self, study: optuna.Study, plan: Plan, worker: str, run: str) -> Assignment | None:
        trials = study.get_trials(deepcopy=False)
        stop_at_repeated_errors(trials, run)
        ledger = read_ledger(trials)
        wanted = self._next_of(ledger)
        if wanted is None:
            return None
        candidate, replicate = wanted
        study.sampler = optuna.samplers.RandomSampler()  # which is asked for nothing
        trial = study.ask()
        seed = plan.confirmation_seed(replicate)
        claim = Claim(candidate, replicate, seed, worker, run, outside=True)
        record_claim(trial, claim)
        return Assignment(trial, parse_candidate(candidate), claim)

    def _next_of(self, ledger: Ledger) -> tuple[str, int] | None:
        if ledger.retries:
            claim = claim_of(ledger.retries[0])
            assert claim is not None
            return claim.candidate, claim.replicate
        # Whole seeds first, so that an interrupted confirmation has complete pairs.
        replicate, candidate = min(
            (first_free(ledger, name), place) for place, name in enumerate(self.candidates)
        )
        return (self.candidates[candidate], replicate) if replicate < self.seeds else None

    def fraction(self, ledger: Ledger) -> float:
        """How much is done: 1 at the end."""
        return ledger.trained / (len(self.candidates) * self.seeds)

    def fraction_of_one_training(self) -> float:
        """What one more training adds to that."""
        return 1 / (len(self.candidates) * self.seeds)

    def also_measured(
        self, plan: Plan, data: ImageData | TextData, training: TrainingResult
    ) -> dict[str, Any]:
        """How good the network is on the test split."""
        test = evaluate(training.model, data.test, plan.study.training.precision)
        return split_result("test", data, test)


Agenda = SearchAgenda | ConfirmationAgenda
