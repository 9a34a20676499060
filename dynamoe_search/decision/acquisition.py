"""What to train next: the run that is expected to lower the decision's regret most per cost.

That is the knowledge gradient for correlated candidates (Frazier, Powell and Dayanik 2009). The
expected regret of a decision is the least expected loss less the expected least loss, and only the
former depends on what will be seen. So a run is worth min E[mu] - E[min E[mu | run]]. The least is
taken over the promising candidates, tried or not: a run is also worth what it tells of others,
which can be trained next. With the tried ones alone, the search kept to the corners of the family,
of which least is known and which tell least.

One run often cannot change a decision that several could, and would seem to be worth nothing. So
the worth of n runs of a candidate is taken per run, at the n where it is most (Frazier and Powell
2010).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from threadpoolctl import threadpool_limits

from dynamoe_search.decision.belief import Belief
from dynamoe_search.decision.posterior import Posterior

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

MOST_FORESEEN = 500
"""Further runs that are foreseen."""
_LEVELS = (np.arange(32) + 0.5) / 32
_NODES = stats.norm.ppf(_LEVELS) / stats.norm.ppf(_LEVELS).std()  # of a standard normal variable
_RUNS_AHEAD = (1, 4, 16)
_MOST_OPTIONS = 64
_MOST_RIVALS = 64  # candidates among which the decision will be
_POWER = 0.6  # of the number of runs, with which the bound falls


def next_run(
    posterior: Posterior,
    running: Sequence[str] = (),
    seeds_per_block: int = 4,
    excluded: Collection[str] = (),
) -> str | None:
    """The candidate to train next, on its next seed block; None where there is none.

    The knowledge gradient is taken over the 64 candidates of the largest expected improvement, and
    with 32 points for what a run brings. It depends on the arguments alone.

    Parameters
    ----------
    posterior : Posterior
    running : sequence of str
        The candidates of runs under way, once for each run. They will bring results, and so the
        posterior is taken as it will be then.
    seeds_per_block : int
    excluded : collection of str
        Candidates that may not be trained again, such as those with all their blocks.
    """
    feasible = posterior.is_feasible[posterior.joint]
    allowed = feasible & ~posterior.candidates[posterior.joint].isin(list(excluded))
    with threadpool_limits(limits=1):  # threads wait longer than such small matrices take
        belief, is_tried = _soon(posterior, running, seeds_per_block)
        costs = posterior.costs[posterior.joint]
        option = _choose(belief, is_tried, feasible, allowed, costs)
    return None if option is None else str(posterior.candidates[posterior.joint[option]])


def runs_to_decide(
    posterior: Posterior,
    margin: float,
    running: Sequence[str] = (),
    seeds_per_block: int = 4,
    most: int = MOST_FORESEEN,
) -> int | None:
    """How many further runs would bring the bound on the regret below a margin, as predicted.

    In simulated studies the bound falls with the 0.6th power of the number of training runs: from 7
    to 33 runs, the power is 0.5 to 0.8 in half of them. Where such studies were decided within 33
    runs, the prediction was 0.5 to 5 times what it took in 80 %; of those that were not, 93 % were
    predicted to take more. The process itself would be too cautious: it is uncertain of its own
    parameters, which further runs show, too.

    Parameters
    ----------
    posterior : Posterior
    margin : float
        In nats.
    running, seeds_per_block
        As in `next_run`; runs under way are not counted.
    most : int
        Where more are needed, they are not counted.

    Returns
    -------
    int or None
        0 where the bound is below the margin already; None where `most` runs would not do.
    """
    bound, belief = posterior.bound(), posterior.belief
    if bound <= margin:
        return 0
    so_far = (belief.has @ belief.sizes).sum() / seeds_per_block
    needed = so_far * ((bound / margin) ** (1 / _POWER) - 1)
    further = max(1, math.ceil(needed) - len(running))
    return further if further <= most else None


def _soon(
    posterior: Posterior, running: Sequence[str], seeds_per_block: int
) -> tuple[Belief, NDArray[np.bool_]]:
    """What will be known after the runs under way, and which candidates will have been tried.

    A run of a candidate that is not among the joint ones changes little, and is left out.
    """
    places = posterior.candidates[posterior.joint].get_indexer(list(running))
    under_way = places[places >= 0]
    is_tried = posterior.is_tried[posterior.joint]
    is_tried[under_way] = True
    return posterior.belief.with_new_group(seeds_per_block).after(under_way), is_tried


def _choose(
    belief: Belief,
    is_tried: NDArray[np.bool_],
    feasible: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    costs: Floats,
) -> int | None:
    """The place of the candidate whose further run is worth most per cost."""
    if not allowed.any():
        return None
    hope = np.where(allowed, _expected_improvement(belief, is_tried) / costs, -np.inf)
    options = np.argsort(-hope, kind="stable")[: min(_MOST_OPTIONS, int(allowed.sum()))]
    worth = np.max([_worth(belief, feasible, options, runs) / runs for runs in _RUNS_AHEAD], axis=0)
    return int(options[np.lexsort((-hope[options], -worth / costs[options]))[0]])


def _expected_improvement(belief: Belief, is_tried: NDArray[np.bool_]) -> Floats:
    """What knowing a candidate's loss would be worth, were it known exactly; shape (J,)."""
    expected = belief.weights @ belief.mean
    first, second = np.argsort(np.where(is_tried, expected, np.inf), kind="stable")[:2]
    rival = np.full(len(expected), first)
    rival[first] = second if is_tried[second] else first
    count = np.arange(len(expected))
    variance = belief.covariance[:, count, count] + belief.covariance[:, rival, rival]
    variance -= 2 * belief.covariance[:, count, rival]
    deviation = np.sqrt(np.maximum(variance, 0)) + 1e-12
    ahead = np.where(count == first, -1, 1) * (belief.mean[:, rival] - belief.mean) / deviation
    gain = deviation * (stats.norm.pdf(ahead) + ahead * special.ndtr(ahead))
    return np.asarray(belief.weights @ gain)


def _worth(belief: Belief, feasible: NDArray[np.bool_], options: Places, runs: int) -> Floats:
    """By how much runs of each option lower the least expected loss of all feasible; shape (n,)."""
    expected = belief.weights @ belief.mean
    rivals = np.argsort(np.where(feasible, expected, np.inf), kind="stable")
    rivals = rivals[: min(_MOST_RIVALS, int(feasible.sum()))]
    found, variance = belief.of_mean_loss(options, runs)
    slopes = found / np.sqrt(variance)[:, None, :]
    least = np.min(belief.mean[:, rivals, None, None] + slopes[:, rivals, :, None] * _NODES, axis=1)
    own = slopes[:, options, np.arange(len(options)), None] * _NODES
    least = np.minimum(least, belief.mean[:, options, None] + own)
    now = belief.mean[:, rivals].min(axis=1)
    return np.asarray(belief.weights @ (now[:, None] - least.mean(axis=2)))
