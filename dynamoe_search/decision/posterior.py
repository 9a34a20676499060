"""What is known of all candidates of a study, tried or not, and of the regret of taking one.

The model is that of `dynamoe_search.decision.process`. The posterior depends on all losses and on
nothing else. So it holds for the candidate that was picked for being best, whatever rule decided
from earlier losses what to train next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from dynamoe_search.decision.belief import Belief
from dynamoe_search.decision.process import Prediction, predict, sample_hyperparameters, solve
from dynamoe_search.decision.seed_groups import SeedGroups, loss_table, sum_up
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import CONFIDENCE

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_POINTS = 16  # of the parameters of the process
_DRAWS = 2048  # of the losses of all candidates
_MOST_JOINT = 256  # untried candidates and tried ones, drawn jointly
_MOST_TRIED = 300
_MOST_TO_LEARN = 120  # candidates that the parameters of the process are learned from
_JITTER = 1e-9


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of all candidates of a study, tried or not.

    Below, P is the number of candidates and D of draws.

    Parameters
    ----------
    candidates : Index of str
        Tried ones first.
    is_tried, is_feasible : ndarray of bool, shape (P,)
        Feasible ones may be taken.
    costs : ndarray of float64, shape (P,)
        What a token costs, relative; all 1 where nothing was said.
    expected, deviation : ndarray of float64, shape (P,)
        The expected losses in nats, and their standard deviations.
    draws : ndarray of float64, shape (D, P)
        Losses of all candidates, drawn jointly, in nats.
    joint : ndarray of int, shape (J,)
        The places of the candidates in `belief`: the tried ones, and the most promising others.
    belief : Belief
    """

    candidates: pd.Index
    is_tried: NDArray[np.bool_]
    is_feasible: NDArray[np.bool_]
    costs: Floats
    expected: Floats
    deviation: Floats
    draws: Floats
    joint: Places
    belief: Belief

    @property
    def best(self) -> str:
        """The candidate to take: of the tried and feasible ones, that of the least expected loss.

        Where none is feasible, of all tried ones.
        """
        return str(self.candidates[self.best_place])

    @cached_property
    def best_place(self) -> int:
        """The place of `best`."""
        allowed = self.is_tried & self.is_feasible
        return int(
            np.where(allowed if allowed.any() else self.is_tried, self.expected, np.inf).argmin()
        )

    def regret(self, candidate: str | None = None) -> Floats:
        """Draws of how much worse a candidate is than the best of all feasible ones; shape (D,).

        Parameters
        ----------
        candidate : str, optional
            `best` where it is None.
        """
        place = self.best_place if candidate is None else self._place(candidate)
        return np.asarray(np.maximum(self.draws[:, place] - self._least, 0))

    def expected_regret(self, candidate: str | None = None) -> float:
        """The expected regret of a candidate in nats."""
        return float(self.regret(candidate).mean())

    def bound(self, candidate: str | None = None, confidence: float = CONFIDENCE) -> float:
        """What the regret of a candidate does not exceed, with this probability; in nats."""
        return float(np.quantile(self.regret(candidate), confidence))

    def within(self, margin: float) -> pd.Series:
        """The probability of each candidate that its regret is at most a margin, in nats."""
        share = ((self.draws - self._least[:, None]) <= margin).mean(axis=0)
        return pd.Series(share, self.candidates, name="within")

    def cheapest(self, margin: float, confidence: float = CONFIDENCE) -> str | None:
        """Of the candidates that are surely within a margin, the cheapest; None where none is.

        Only tried and feasible ones count; of equally cheap ones, that of the least expected loss.
        """
        surely = (self.within(margin).to_numpy() >= confidence) & self.is_tried & self.is_feasible
        if not surely.any():
            return None
        order = np.lexsort((self.expected, self.costs))
        return str(self.candidates[order[surely[order]][0]])

    def table(self) -> pd.DataFrame:
        """What is known of each candidate.

        Returns
        -------
        DataFrame
            Indexed by candidate: ``tried``, ``feasible``, ``cost``, ``loss`` (expected, in nats),
            ``deviation``, ``loss_low`` and ``loss_high`` (the 95 % interval), ``best`` (the
            probability that it is the best of all feasible ones), ``regret`` (expected).
        """
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(self.draws, [tail, 1 - tail], axis=0)
        hits = np.bincount(
            np.where(self.is_feasible, self.draws, np.inf).argmin(axis=1), minlength=len(self.costs)
        )
        return pd.DataFrame(
            {
                "tried": self.is_tried,
                "feasible": self.is_feasible,
                "cost": self.costs,
                "loss": self.expected,
                "deviation": self.deviation,
                "loss_low": low,
                "loss_high": high,
                "best": hits / len(self.draws),
                "regret": (self.draws - self._least[:, None]).mean(axis=0),
            },
            index=self.candidates,
        )

    @cached_property
    def _least(self) -> Floats:
        """The least loss of all feasible candidates in each draw; shape (D,)."""
        return np.asarray(self.draws[:, self.is_feasible].min(axis=1))

    def _place(self, candidate: str) -> int:
        place = self.candidates.get_indexer([candidate])[0]
        if place < 0:
            raise InvalidInput(f"{candidate} is not a candidate of this posterior")
        return int(place)


def fit_posterior(
    results: pd.DataFrame,
    features: pd.DataFrame,
    feasible: pd.Series | None = None,
    costs: pd.Series | None = None,
    seed: int = 0,
) -> Posterior:
    """What losses tell of all candidates.

    Of very many tried candidates 300 are considered: the better half by their plain means, and an
    even sample of the others; the parameters of the process are learned from 120, likewise.

    Parameters
    ----------
    results : DataFrame
        A row for each candidate and seed: ``candidate``, ``seed``, ``loss`` in nats. Losses that
        are not finite are left out.
    features : DataFrame
        Indexed by candidate, tried or not: columns of comparable size, such as
        `dynamoe_search.plan.pool.candidate_features` gives them. All tried candidates are there.
    feasible : Series of bool, optional
        Indexed by candidate; those that it does not have are feasible.
    costs : Series of float, optional
        Indexed by candidate: what a token costs; by default all cost the same.
    seed : int
        Of the draws.

    Raises
    ------
    InvalidInput
        Where a column is missing, there are fewer than two finite losses, or the features of a
        candidate are missing or not finite.

    Examples
    --------
    >>> results = pd.DataFrame({"candidate": list("aabb"), "seed": [0, 1, 0, 1],
    ...                         "loss": [1.0, 1.1, 1.2, 1.3]})
    >>> features = pd.DataFrame({"layer": [0.0, 1.0, 0.5]}, index=list("abc"))
    >>> fit_posterior(results, features).best
    'a'
    """
    losses = loss_table(results)
    losses = losses.iloc[_leading(losses, _MOST_TRIED)]
    candidates = _considered(results, losses.index, features)
    values = features.loc[candidates].to_numpy(np.float64)
    if not np.isfinite(values).all():
        raise InvalidInput("a feature of a candidate is not finite")
    values = values / (np.sqrt(2 * values.var(axis=0).sum()) or 1.0)  # their typical distance is 1
    with threadpool_limits(limits=1):  # threads wait longer than such small matrices take
        groups = sum_up(losses)
        seen = _see(losses, groups, values)
        expected = sum(weight * one.mean for weight, one in seen)
        variances = [
            weight * (one.solution.variance * one.variance + (one.mean - expected) ** 2)
            for weight, one in seen
        ]
        deviation = np.sqrt(sum(variances))
        joint = _joint(expected - 2 * deviation, len(losses))
        belief, draws = _draw_all(seen, groups, values, joint, seed)
    is_feasible, prices = np.ones(len(candidates), bool), np.ones(len(candidates))
    if feasible is not None:
        is_feasible = feasible.reindex(candidates, fill_value=True).to_numpy(bool)
    if costs is not None:
        prices = costs.reindex(candidates).to_numpy(np.float64)
    is_tried = np.arange(len(candidates)) < len(losses)
    return Posterior(
        candidates=candidates,
        is_tried=is_tried,
        is_feasible=is_feasible,
        costs=prices,
        expected=groups.center + groups.scale * expected,
        deviation=groups.scale * deviation,
        draws=draws,
        joint=joint,
        belief=belief,
    )


def _considered(results: pd.DataFrame, tried: pd.Index, features: pd.DataFrame) -> pd.Index:
    """The tried candidates, then the others in the order of their features."""
    unknown = tried.difference(features.index)
    if len(unknown):
        raise InvalidInput(f"features has no row for {unknown[0]}, which was trained")
    return tried.append(features.index[~features.index.isin(results["candidate"])])


def _leading(losses: pd.DataFrame, most: int) -> Places:
    """The places of the better half by plain means, and an even sample of the others."""
    if len(losses) <= most:
        return np.arange(len(losses))
    order = np.argsort(losses.mean(axis=1).to_numpy(), kind="stable")
    best, others = order[: most // 2], order[most // 2 :]
    even = np.linspace(0, len(others) - 1, most - len(best)).round().astype(int)
    return np.sort(np.append(best, others[even]))


def _joint(promise: Floats, tried: int) -> Places:
    """The places of the tried candidates, and of the most promising others up to a number."""
    others = tried + np.argsort(promise[tried:], kind="stable")
    return np.append(np.arange(tried), others)[: max(tried, _MOST_JOINT)]


def _squares(one: Floats, other: Floats) -> Floats:
    return np.asarray(cdist(one, other, "sqeuclidean"))


def _see(
    losses: pd.DataFrame, groups: SeedGroups, values: Floats
) -> list[tuple[float, Prediction]]:
    """What the process tells of all candidates, at some points of its parameters, with weights."""
    tried, some = len(losses), _leading(losses, _MOST_TO_LEARN)
    learned = groups if len(some) == tried else sum_up(losses.iloc[some])
    points = sample_hyperparameters(learned, _squares(values[some], values[some]), _POINTS)
    squares = _squares(values[:tried], values)
    return [
        (weight, predict(solve(groups, squares[:, :tried], point), squares))
        for point, weight in points
    ]


def _draw_all(
    seen: list[tuple[float, Prediction]],
    groups: SeedGroups,
    values: Floats,
    joint: Places,
    seed: int,
) -> tuple[Belief, Floats]:
    """What is known of the joint candidates, and draws of the losses of all, shape (D, P)."""
    apart = _squares(values, values[joint])
    generator = np.random.default_rng(seed)
    covariances, draws = [], []
    for weight, one in seen:
        covariance, variance = one.covariance(apart, joint), one.solution.variance
        number = round(weight * _DRAWS)
        freedom = generator.chisquare(groups.degrees, number) / groups.degrees
        drawn = _draw(one.variance, covariance, joint, number, generator)
        draws.append(one.mean + drawn * np.sqrt(variance / freedom)[:, None])
        of_effects = one.of_effects(joint)
        rows = [[covariance[joint], of_effects], [of_effects.T, one.solution.covariance[1:, 1:]]]
        covariances.append(groups.scale**2 * variance * np.block(rows))
    noise = groups.scale * np.sqrt([one.solution.variance for _, one in seen])
    has = np.zeros((len(joint), len(groups.sizes)), bool)
    has[: len(groups.seeds)] = groups.seeds > 0
    belief = Belief(
        weights=np.array([weight for weight, _ in seen]),
        mean=groups.center + groups.scale * np.stack([one.mean[joint] for _, one in seen]),
        covariance=np.stack(covariances),
        noise=noise,
        seed=noise * [one.solution.parameters.seed for _, one in seen],
        has=has,
        sizes=groups.sizes,
    )
    return belief, groups.center + groups.scale * np.concatenate(draws)


def _draw(
    variance: Floats, covariance: Floats, joint: Places, number: int, random: np.random.Generator
) -> Floats:
    """Draws around the expected losses, with a covariance of shape (P, J); shape (number, P).

    Joint candidates are drawn jointly. The others follow from these, and what is left of their
    variance is drawn independently. As what is left is positively correlated, their least loss is
    if anything too low, and a bound on the regret too large (Slepian 1962).
    """
    of_joint = covariance[joint]
    of_joint[np.diag_indices_from(of_joint)] *= 1 + _JITTER
    root = np.linalg.cholesky(of_joint)
    loads = solve_triangular(root, covariance.T, lower=True, check_finite=False)
    own = np.sqrt(np.maximum(variance - (loads**2).sum(axis=0), 0))
    own[joint] = 0
    drawn = random.standard_normal((number, len(joint))) @ loads
    drawn += own * random.standard_normal((number, len(own)), np.float32)
    return np.asarray(drawn)
