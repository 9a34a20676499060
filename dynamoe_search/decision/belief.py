"""What is known of the candidates that matter, as a state that further runs change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Belief:
    """The losses of some candidates and the effects of seed groups, jointly normal.

    Below, G is the number of points at which the parameters of the process are taken, J of
    candidates and B of seed groups. Losses are in nats.

    Parameters
    ----------
    weights : ndarray of float64, shape (G,)
        The probability of each point.
    mean : ndarray of float64, shape (G, J)
        The expected losses.
    covariance : ndarray of float64, shape (G, J + B, J + B)
        Of the losses, and of what the seeds of a group do on average to all candidates.
    noise, seed : ndarray of float64, shape (G,)
        The standard deviations of one loss, and of what one seed does to all candidates.
    relative_noise : ndarray of float64, shape (J,)
        The variance of each candidate's noise, over that of `noise`.
    has : ndarray of bool, shape (J, B)
        From which groups each candidate was trained.
    sizes : ndarray of float64, shape (B,)
        The number of seeds of each group.
    """

    weights: Floats
    mean: Floats
    covariance: Floats
    noise: Floats
    seed: Floats
    relative_noise: Floats
    has: NDArray[np.bool_]
    sizes: Floats

    def heaviest(self, most: int) -> Belief:
        """The same at the most probable points only."""
        kept = np.argsort(-self.weights, kind="stable")[:most]
        return replace(
            self,
            weights=self.weights[kept] / self.weights[kept].sum(),
            mean=self.mean[kept],
            covariance=self.covariance[kept],
            noise=self.noise[kept],
            seed=self.seed[kept],
        )

    def with_new_group(self, size: int) -> Belief:
        """The same with a last group of seeds from which nothing was trained yet."""
        points, known, _ = self.covariance.shape
        covariance = np.zeros((points, known + 1, known + 1))
        covariance[:, :-1, :-1] = self.covariance
        covariance[:, -1, -1] = self.seed**2 / size
        has = np.column_stack([self.has, np.zeros(len(self.has), bool)])
        sizes = np.append(self.sizes, size)
        return replace(self, covariance=covariance, has=has, sizes=sizes)

    def next_groups(self, candidates: Places) -> Places:
        """The first group from which each of some candidates was not trained; the last is new."""
        return np.asarray(self.has[candidates].argmin(axis=1))

    def of_mean_loss(self, candidates: Places, runs: int = 1) -> tuple[Floats, Floats]:
        """Covariances of all with the mean loss of further runs of a candidate, and its variance.

        The runs are on different groups, and what is known of the next one holds for it alone.

        Parameters
        ----------
        candidates : ndarray of int, shape (n,)
        runs : int

        Returns
        -------
        covariance : ndarray of float64, shape (G, J + B, n)
        variance : ndarray of float64, shape (G, n)
        """
        group = self.next_groups(candidates)
        effects = len(self.has) + group
        of_effects = self.covariance[:, :, effects]
        found = self.covariance[:, :, candidates] + of_effects / runs
        own = self.covariance[:, candidates, candidates]
        both = 2 * self.covariance[:, candidates, effects] + self.covariance[:, effects, effects]
        noise = self.noise[:, None] ** 2 * self.relative_noise[candidates] / self.sizes[group]
        return found, own + (both + noise) / runs

    def after(self, candidates: Iterable[int]) -> Belief:
        """What will be known after a further run of each of some candidates, one after the other.

        Their results are taken to be what is expected, so that only covariances change.
        """
        belief = self
        for candidate in candidates:
            group = int(belief.next_groups(np.array([candidate]))[0])
            change, variance = belief.of_mean_loss(np.array([candidate]))
            covariance = belief.covariance - change * change.mT / variance[:, :, None]
            has = belief.has.copy()
            has[candidate, group] = True
            belief = replace(belief, covariance=covariance, has=has)
            if group == len(belief.sizes) - 1:
                belief = belief.with_new_group(int(belief.sizes[-1]))
        return belief
