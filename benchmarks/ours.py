"""The search's own way to decide: the posterior, and what it asks for next."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.landscapes import SEEDS, Space
from benchmarks.simulation import History, Recommendation
from dynamoe_search.decision.acquisition import next_run
from dynamoe_search.decision.posterior import Posterior, fit_posterior
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.pool import candidate_features
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM, Schedule, pattern_schedule


class Ours:
    """The search's own policy: named patterns and uniform first, then what the posterior asks for.

    It is given a sample of the family, as a study is, and its bound is against the whole family.

    Parameters
    ----------
    space : Space
    seed : int
    """

    POOL, FAMILY = 1000, 2**14  # as a study has it

    def __init__(self, space: Space, seed: int) -> None:
        self.seed = seed
        patterns = [
            pattern_schedule(name, space.depth, space.total) for name in PATTERNS_AND_UNIFORM
        ]
        self.baselines = list(dict.fromkeys(map(str, patterns)))
        order = np.random.default_rng([seed, 3]).permutation(len(space.pool))[: self.POOL]
        sample = [Schedule(row) for row in map(tuple, space.pool[order].tolist())]
        candidates = [Candidate(schedule) for schedule in dict.fromkeys([*patterns, *sample])]
        self.features = candidate_features(candidates)
        is_whole = len(space.pool) <= self.POOL
        self.family_size = len(candidates) if is_whole else self.FAMILY
        self._fitted: tuple[int, Posterior | None] = (0, None)

    def propose(self, history: History) -> str:
        """A baseline that was not trained, or the run that lowers the regret most."""
        if len(history) < len(self.baselines):
            return self.baselines[len(history)]
        wanted = next_run(self.posterior(history), seeds_per_block=SEEDS)
        assert wanted is not None  # nothing is excluded
        return wanted

    def recommend(self, history: History) -> Recommendation:
        """The decision of a study, and its bound."""
        posterior = self.posterior(history)
        return Recommendation(posterior.best, posterior.bound())

    def posterior(self, history: History) -> Posterior:
        """What is known after these runs."""
        length, posterior = self._fitted
        if posterior is None or length != len(history):
            posterior = fit_posterior(
                results_of(history), self.features, family_size=self.family_size, seed=self.seed
            )
            self._fitted = len(history), posterior
        return posterior


def results_of(history: History) -> pd.DataFrame:
    """A row for each candidate and seed."""
    return pd.DataFrame(
        [
            (run.candidate, run.block * SEEDS + place, loss)
            for run in history
            for place, loss in enumerate(run.losses)
        ],
        columns=["candidate", "seed", "loss"],
    )
