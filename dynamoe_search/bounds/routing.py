"""Bounds of routing in one layer: reachable sets of experts, K, load entropy, experts touched.

They are closed forms and inequalities. The tests check each of them against brute force.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, gammaln, logsumexp

from dynamoe_search.errors import InvalidInput
from dynamoe_search.specification import Relative, Router

_GATE_ERROR = float(np.finfo(np.float32).eps)  # of a gate in float32; sums of N have N times that


def log2_configurations(router: Router, experts: int) -> float:
    """The number of sets of experts that a layer's router can choose for a token, in bits.

    A router of fixed K reaches the C(N, K) sets of that size, and no others. This includes the
    source's percentile, which has one K per layer. A router of variable K reaches sum over j of
    C(N, j), j from its fewest to its most experts. Equal gates, which have probability 0, are
    ignored: without them, `relative` with tau 1 chooses only the largest gate. Layers choose
    independently, so a network's bits are the sum over its layers.

    Parameters
    ----------
    router : Router
        Its `active_bounds` are the sizes it can reach.
    experts : int
        N, at least 1.

    Returns
    -------
    float
        From 0, where there is only one set, to log2(2^N - 1).

    Examples
    --------
    >>> from dynamoe_search.specification import Percentile, Relative, TopK
    >>> [round(2 ** log2_configurations(r, 4)) for r in (TopK(k=2), Percentile(), Relative())]
    [6, 6, 15]
    """
    least, most = router.active_bounds(experts)
    if isinstance(router, Relative) and router.target is None and router.tau == 1:
        most = 1
    sizes = np.arange(least, most + 1)
    logs = gammaln(experts + 1) - gammaln(sizes + 1) - gammaln(experts - sizes + 1)
    return max(0.0, float(logsumexp(logs)) / math.log(2))


def distinct_experts(use: ArrayLike, tokens: int) -> float:
    """The expected number of experts that a batch touches: sum over e of 1 - (1 - q_e)^T.

    It is exact for tokens that choose independently, however uneven the load.

    Parameters
    ----------
    use : array_like of float, shape (N,)
        q_e, the probability that a token uses expert e; they sum to the mean K.
    tokens : int
        T, the tokens of the batch, at least 0.

    Examples
    --------
    >>> distinct_experts([1.0, 0.5, 0.5], tokens=2)
    2.5
    """
    q = np.asarray(use, dtype=np.float64)
    if not ((q >= 0) & (q <= 1)).all():
        raise InvalidInput(f"use is {use!r}; probabilities must be from 0 to 1")
    return float((1 - (1 - q) ** _checked_tokens(tokens)).sum())


def balanced_distinct_experts(experts: int, active: float, tokens: int) -> float:
    """The expected number of experts that a batch touches with an even load: N (1 - (1 - K/N)^T).

    No other load of the same mean K touches more, as 1 - (1 - q)^T is concave in q. Tokens that do
    not choose independently can touch more, up to min(N, K T).

    Parameters
    ----------
    experts : int
        N.
    active : float
        The mean K, from 0 to N.
    tokens : int
        T, the tokens of the batch, at least 0.

    Examples
    --------
    >>> balanced_distinct_experts(experts=8, active=2, tokens=1)
    2.0
    >>> round(balanced_distinct_experts(experts=8, active=2, tokens=16), 2)
    7.92
    """
    if not 0 <= active <= experts:
        raise InvalidInput(f"active is {active}; it must be from 0 to the {experts} experts")
    return experts * (1 - (1 - active / experts) ** _checked_tokens(tokens))


def entropy_bounds(experts: int, active: float) -> tuple[float, float]:
    """The bounds ln K and ln N of a layer's load entropy H(f), in nats.

    A token uses an expert at most once, and all tokens together make K uses per token. So the load
    share of an expert is at most 1/K, and H >= ln K. This is reached where K is whole and every
    token uses the same experts. H <= ln N is reached with an even load.

    Parameters
    ----------
    experts : int
        N.
    active : float
        The mean K, from 1 to N.

    Returns
    -------
    floor, ceiling : float

    Examples
    --------
    >>> [round(bound, 3) for bound in entropy_bounds(experts=8, active=2)]
    [0.693, 2.079]
    """
    if not 1 <= active <= experts:
        raise InvalidInput(f"active is {active}; it must be from 1 to the {experts} experts")
    return math.log(active), math.log(experts)


def top_p_active_bounds(gates: ArrayLike, p: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bounds of a top-p router's K, from a token's largest gate and its gate entropy.

    ceil(p / max s) <= K <= max(1, floor(exp(H / (1 - p)))). Lower bound: K gates of at most max s
    must reach p. Upper bound: the gates before the K-th do not reach p, so the others hold more
    than 1 - p; each of these is at most 1/K, so H > (1 - p) ln K. Both leave room for the rounding
    of gates in float32.

    Parameters
    ----------
    gates : array_like of float, shape (T, N) or (N,)
        At least 0, each row summing to 1; without the router's noise.
    p : float
        Above 0 and at most 1.

    Returns
    -------
    lowest, highest : ndarray of int64, shape (T,) or ()
        From 1 to N.

    Examples
    --------
    >>> low, high = top_p_active_bounds([0.7, 0.1, 0.1, 0.1], p=0.8)
    >>> int(low), int(high)
    (2, 4)
    """
    if not 0 < p <= 1:
        raise InvalidInput(f"p is {p}; it must be above 0 and at most 1")
    s = np.asarray(gates, dtype=np.float64)
    experts = s.shape[-1]
    error = experts * _GATE_ERROR
    lowest = np.ceil((1 - error) * p / s.max(axis=-1))
    others = 1 - p - 2 * error  # the least that the gates from the K-th on hold
    if others <= 0:
        return _whole(lowest, experts), np.full_like(_whole(lowest, experts), experts)
    logarithm = np.minimum(entr(s).sum(axis=-1) / others, math.log(experts))
    return _whole(lowest, experts), _whole(np.floor(np.exp(logarithm + error)), experts)


def _whole(active: NDArray[np.float64], experts: int) -> NDArray[np.int64]:
    return np.clip(active, 1, experts).astype(np.int64)


def threshold_active_bound(experts: int, threshold: float) -> int:
    """The most experts whose gates can reach a threshold: min(N, floor(1 / t)), at least 1.

    This holds because gates sum to 1, and a token's largest gate is always used. It leaves room for
    the rounding of gates in float32.

    Parameters
    ----------
    experts : int
        N.
    threshold : float
        t; if it is 0 or below, all gates reach it.

    Examples
    --------
    >>> threshold_active_bound(experts=8, threshold=0.3)
    3
    """
    if threshold * experts <= 1:
        return experts
    return min(experts, max(1, math.floor((1 + experts * _GATE_ERROR) / threshold)))


def mean_active_tail(tokens: int, deviation: float, least: int, most: int) -> float:
    """An upper bound of the probability that a batch's mean K is eps above its expectation.

    exp(-2 T eps^2 / (kmax - kmin)^2), by Hoeffding's inequality (1963), for *independent* tokens;
    the same bound holds below the expectation. Tokens of one sequence are not independent, and
    their mean varies more.

    Parameters
    ----------
    tokens : int
        T, at least 1.
    deviation : float
        eps, above 0.
    least, most : int
        kmin and kmax, as a router's `active_bounds` gives them. Where they are equal, K does not
        vary, and the bound is 0.

    Examples
    --------
    >>> round(mean_active_tail(tokens=256, deviation=0.5, least=1, most=6), 4)
    0.006
    """
    if tokens < 1 or deviation <= 0 or not 1 <= least <= most:
        raise InvalidInput(
            f"tokens is {tokens}, deviation is {deviation}, K is from {least} to {most}; expected"
            " at least 1 token, a deviation above 0, and 1 <= least <= most"
        )
    return math.exp(-2 * tokens * (deviation / (most - least)) ** 2) if most > least else 0.0


def parallel_efficiency(load: ArrayLike) -> float:
    """The largest share of its parallel speed that a layer with one worker per expert can reach.

    1 / (1 + MaxVio) with MaxVio = max load / mean load - 1 (arXiv 2408.15664): all workers wait for
    the busiest expert, so this is the mean load over the largest load.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        The tokens that used each expert, each at least 0, not all 0.

    Returns
    -------
    float
        From 1/N, where one expert does everything, to 1.

    Examples
    --------
    >>> parallel_efficiency([30, 10, 10, 10])
    0.5
    """
    counts = np.asarray(load, dtype=np.float64)
    if counts.ndim != 1 or not (counts >= 0).all() or not 0 < counts.sum() < math.inf:
        raise InvalidInput(
            f"load is {load!r}; expected one finite number per expert, at least 0 and not all 0"
        )
    return float(counts.mean() / counts.max())


def _checked_tokens(tokens: int) -> int:
    if tokens < 0:
        raise InvalidInput(f"tokens is {tokens}; it must be at least 0")
    return tokens
