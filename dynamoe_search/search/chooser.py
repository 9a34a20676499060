"""The sampler `posterior`: it trains what lowers the regret of the decision most per FLOP."""

from __future__ import annotations

from functools import cached_property

import pandas as pd

from dynamoe_search.budgets import flops_per_token
from dynamoe_search.decision.acquisition import next_run
from dynamoe_search.decision.posterior import Posterior, fit_posterior
from dynamoe_search.log.runs import are_feasible
from dynamoe_search.log.state import Progress
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.pool import candidate_features, family_pool, family_size

POOL = 1000
"""How many candidates of the family are considered, tried or not."""


class Chooser:
    """Chooses candidates from the posterior over all candidates of a study.

    What it chooses is a function of the progress, and of the plan: every process that reads the
    same log chooses the same.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._others: dict[str, Candidate] = {}  # that were tried, and are not in the pool
        self._about: tuple[pd.DataFrame, pd.Series] | None = None
        self._known: tuple[int, Posterior | None] = (-1, None)

    @cached_property
    def _pool(self) -> dict[str, Candidate]:
        """By name; the named patterns and uniform come first. It takes a good part of a second."""
        return {str(candidate): candidate for candidate in family_pool(self.plan, POOL)}

    @cached_property
    def _family_size(self) -> int:
        return family_size(self.plan, tuple(self._pool.values()), POOL)

    def posterior(self, progress: Progress) -> Posterior | None:
        """What the results tell of all candidates; None where there are fewer than two losses."""
        if self._known[0] != progress.finished:
            self._known = progress.finished, self._fit(progress)
        return self._known[1]

    def choose(self, progress: Progress) -> str | None:
        """The candidate to train next, on its next block; None where nothing is left to train."""
        posterior, search = self.posterior(progress), self.plan.study.search
        has_all = {name for name, blocks in progress.taken.items() if len(blocks) >= search.blocks}
        if posterior is None:  # every run failed so far
            others = (name for name in self._pool if name not in progress.taken)
            return next(others, None)
        running = [run.start.candidate for run in progress.running.values()]
        excluded = has_all | set(failed(progress)) | progress.pruned
        return next_run(posterior, running, self.plan.study.training.seeds, excluded)

    def is_decided(self, progress: Progress) -> bool:
        """Whether the bound on the regret is below the study's margin."""
        posterior = self.posterior(progress)
        return posterior is not None and posterior.bound() <= self.plan.study.search.margin

    def _fit(self, progress: Progress) -> Posterior | None:
        blocks = {block for of_candidate in progress.results.values() for block in of_candidate}
        seeds = {block: self.plan.seeds(block) for block in blocks}
        losses = [
            (name, seed, result.value("validation_loss"))
            for name, of_candidate in progress.results.items()
            for block, results in of_candidate.items()
            for seed, result in zip(seeds[block], results, strict=True)
        ]
        if len(losses) < 2:
            return None
        constraints = self.plan.study.search.constraint_list
        feasible = {
            name: are_feasible(progress.results_of(name), constraints) for name in progress.results
        } | dict.fromkeys(failed(progress), False)
        results = pd.DataFrame(losses, columns=["candidate", "seed", "loss"])
        return self.fit(results, pd.Series(feasible))

    def fit(self, results: pd.DataFrame, feasible: pd.Series | None = None) -> Posterior:
        """What some results tell of all candidates of the plan.

        Parameters
        ----------
        results : DataFrame
            ``candidate``, ``seed`` and ``loss`` in nats.
        feasible : Series of bool, optional
            By candidate.
        """
        others = set(results["candidate"]) - set(self._pool) - set(self._others)
        self._others |= {name: _candidate(name) for name in sorted(others)}
        features, costs = self._features_and_costs()
        return fit_posterior(
            results,
            features,
            feasible,
            costs,
            max(self._family_size, len(features)),
            self.plan.study.seed,
        )

    def _features_and_costs(self) -> tuple[pd.DataFrame, pd.Series]:
        """Of all candidates; the costs in FLOPs per token, over those of uniform."""
        candidates = self._pool | self._others
        if self._about is None or len(self._about[1]) < len(candidates):
            networks = {name: self.plan.network_with(one) for name, one in candidates.items()}
            flops = {name: flops_per_token(one).expected for name, one in networks.items()}
            every = list(candidates.values())
            costs = pd.Series(flops) / flops[str(self.plan.baselines["uniform"])]
            self._about = candidate_features(every, self.plan.study.dense_experts or 1), costs
        return self._about


def failed(progress: Progress) -> list[str]:
    """The candidates of which a run has failed for good; without those that were pruned."""
    without = {name for name, block in progress.done if block not in progress.results.get(name, {})}
    return sorted(without - progress.pruned)


def _candidate(name: str) -> Candidate:
    candidate = parse_candidate(name)
    assert isinstance(candidate, Candidate)  # a search trains no dense baseline
    return candidate
