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
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from dynamoe_search.decision.belief import Belief
from dynamoe_search.decision.draws import Seen, draw_losses, make_belief, moments
from dynamoe_search.decision.noise import relative_noise
from dynamoe_search.decision.process import (
    Hyperparameters,
    Prediction,
    predict,
    sample_hyperparameters,
    solve,
)
from dynamoe_search.decision.seed_groups import SeedGroups, loss_table, sum_up
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import CONFIDENCE

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_POINTS = 16  # of the parameters of the process
_MOST_UNTRIED = 500
_MOST_JOINT = 100  # untried candidates that are drawn jointly with the tried ones
_MOST_TRIED = 300
_MOST_TO_LEARN = 120  # candidates that the parameters of the process are learned from


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of all candidates of a study, tried or not.

    Below, P is the number of candidates and D of draws.

    Parameters
    ----------
    candidates : Index of str
        Tried ones first, then the most promising others.
    family_size : int
        The number of candidates that the regret is against.
    is_tried, is_feasible : ndarray of bool, shape (P,)
        Feasible ones may be taken.
    costs : ndarray of float64, shape (P,)
        What a token costs, relative; all 1 where nothing was said.
    expected, deviation : ndarray of float64, shape (P,)
        The expected losses in nats, and their standard deviations.
    draws : ndarray of float64, shape (D, P)
        Losses of all candidates, drawn jointly, in nats.
    least : ndarray of float64, shape (D,)
        The least loss of all feasible candidates in each draw, those that others stand for too.
    joint : ndarray of int, shape (J,)
        The places of the candidates in `belief`: the tried ones, and the most promising others.
    belief : Belief
    """

    candidates: pd.Index
    family_size: int
    is_tried: NDArray[np.bool_]
    is_feasible: NDArray[np.bool_]
    costs: Floats
    expected: Floats
    deviation: Floats
    draws: Floats
    least: Floats
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

    def tried_in_order(self) -> list[str]:
        """The tried candidates by expected loss, best first; feasible ones before others."""
        order = np.lexsort((self.expected, ~self.is_feasible))
        return [str(one) for one in self.candidates[order[self.is_tried[order]]]]

    def regret(self, candidate: str | None = None) -> Floats:
        """Draws of how much worse a candidate is than the best of all feasible ones; shape (D,).

        Parameters
        ----------
        candidate : str, optional
            `best` where it is None.
        """
        place = self.best_place if candidate is None else self._place(candidate)
        return np.asarray(np.maximum(self.draws[:, place] - self.least, 0))

    def expected_regret(self, candidate: str | None = None) -> float:
        """The expected regret of a candidate in nats."""
        return float(self.regret(candidate).mean())

    def bound(self, candidate: str | None = None, confidence: float = CONFIDENCE) -> float:
        """What the regret of a candidate does not exceed, with this probability; in nats."""
        return float(np.quantile(self.regret(candidate), confidence))

    def within(self, margin: float) -> pd.Series:
        """The probability of each candidate that its regret is at most a margin, in nats."""
        share = ((self.draws - self.least[:, None]) <= margin).mean(axis=0)
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
                "regret": (self.draws - self.least[:, None]).mean(axis=0),
            },
            index=self.candidates,
        )

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
    family_size: int | None = None,
    seed: int = 0,
) -> Posterior:
    """What losses tell of all candidates.

    Of very many tried candidates 300 are considered: the better half by their plain means, and an
    even sample of the others; the parameters of the process are learned from 120, likewise. Of very
    many untried ones 500: those of the lowest expected loss less two standard deviations.

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
    family_size : int, optional
        The number of candidates that the regret is against; by default that of the features. Each
        untried one stands for an equal number of others, with the same f, and g of their own.
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
    candidates, tried = _considered(results, losses.index, features), len(losses)
    size = max(len(candidates), family_size or 0)
    copies = max(1.0, (size - tried) / max(1, len(candidates) - tried))
    values = features.loc[candidates].to_numpy(np.float64)
    if not np.isfinite(values).all():
        raise InvalidInput("a feature of a candidate is not finite")
    values = values / (np.sqrt(2 * values.var(axis=0).sum()) or 1.0)  # their typical distance is 1
    with threadpool_limits(limits=1):  # threads wait longer than such small matrices take
        noise = relative_noise(losses)
        groups = sum_up(losses, noise)
        points = _points(losses, noise, values[:tried])
        kept = _most_promising([(1.0, _see(groups, values, points[0][1]))], tried, _MOST_UNTRIED)
        candidates, values = candidates[kept], values[kept]
        seen = [(weight, _see(groups, values, point)) for weight, point in points]
        joint = _most_promising(seen, tried, _MOST_JOINT)
        apart = cdist(values, values[joint], "sqeuclidean")
        covariances = [one.covariance(apart, joint) for _, one in seen]
        belief = make_belief(seen, groups, covariances, joint)
        draws, least = draw_losses(seen, groups, covariances, joint, copies, seed)
    is_feasible, prices = np.ones(len(candidates), bool), np.ones(len(candidates))
    if feasible is not None:
        is_feasible = feasible.reindex(candidates, fill_value=True).to_numpy(bool)
    if costs is not None:
        prices = costs.reindex(candidates).to_numpy(np.float64)
    allowed = is_feasible if is_feasible.any() else np.ones(len(candidates), bool)
    expected, deviation = moments(seen)
    return Posterior(
        candidates=candidates,
        family_size=size,
        is_tried=np.arange(len(candidates)) < tried,
        is_feasible=is_feasible,
        costs=prices,
        expected=groups.center + groups.scale * expected,
        deviation=groups.scale * deviation,
        draws=groups.center + groups.scale * draws,
        least=groups.center + groups.scale * least[:, allowed].min(axis=1),
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


def _points(
    losses: pd.DataFrame, noise: Floats, values: Floats
) -> list[tuple[float, Hyperparameters]]:
    """Some points of the process's parameters with their weights, the largest first."""
    some = _leading(losses, _MOST_TO_LEARN)
    squares = cdist(values[some], values[some], "sqeuclidean")
    groups = sum_up(losses.iloc[some], noise[some])
    points = sample_hyperparameters(groups, squares, _POINTS)
    return sorted(points, key=lambda point: -point[0])


def _see(groups: SeedGroups, values: Floats, parameters: Hyperparameters) -> Prediction:
    """What the process tells of all candidates, of which the first have losses."""
    tried = len(groups.seeds)
    squares = cdist(values[:tried], values, "sqeuclidean")
    return predict(solve(groups, squares[:, :tried], [parameters])[0], squares)


def _most_promising(seen: Seen, tried: int, most: int) -> Places:
    """The places of the tried candidates, and of the most promising others."""
    expected, deviation = moments(seen)
    order = np.argsort((expected - 2 * deviation)[tried:], kind="stable")
    return np.append(np.arange(tried), tried + order[:most])
