"""How evenly the experts of a layer are used, and how much they depend on classes or tokens.

A load is the number of tokens that used each expert of a layer. The load share f_e is expert e's
part of the load, so that shares sum to 1 for any K.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from dynamoe_search.errors import InvalidInput


def load_shares(load: ArrayLike) -> NDArray[np.float64]:
    """The load shares f_e, which sum to 1.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        The tokens that used each expert, each at least 0, not all 0.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    InvalidInput
        If the load has another shape, a number below 0, or only zeros.

    Examples
    --------
    >>> load_shares([30, 10]).tolist()
    [0.75, 0.25]
    """
    counts = np.asarray(load, dtype=np.float64)
    total = counts.sum()
    if counts.ndim != 1 or not (counts >= 0).all() or not 0 < total < math.inf:
        raise InvalidInput(
            f"load is {load!r}; expected one finite number per expert, at least 0 and not all 0"
        )
    return np.asarray(counts / total)


def load_entropy(load: ArrayLike) -> float:
    """The entropy of the load shares, H(f) = -sum_e f_e ln f_e, in nats.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Returns
    -------
    float
        From 0, where one expert has the whole load, to ln N for an even load.

    Examples
    --------
    >>> load_entropy([10, 0, 0]), round(load_entropy([10, 10]) / math.log(2), 9)
    (0.0, 1.0)
    """
    shares = load_shares(load)
    # Rounding can exceed the bounds.
    return min(max(0.0, float(entr(shares).sum())), math.log(len(shares)))


def normalized_entropy(load: ArrayLike) -> float:
    """H(f) / ln N: 1 for an even load, whatever N is; also 1 for N = 1.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> normalized_entropy([5, 5, 0, 0]), normalized_entropy([7])
    (0.5, 1.0)
    """
    entropy, experts = load_entropy(load), np.size(load)
    return entropy / math.log(experts) if experts > 1 else 1.0


def mean_normalized_entropy(loads: Sequence[ArrayLike]) -> float:
    """The mean of H(f) / ln N over layers, from 0 to 1.

    Parameters
    ----------
    loads : sequence of array_like
        The load of each layer, such as `Evaluation.load`.

    Raises
    ------
    InvalidInput
        For no loads, as those of a dense network.

    Examples
    --------
    >>> mean_normalized_entropy([(5, 5, 0, 0), (7,)])
    0.75
    """
    if not loads:
        raise InvalidInput("there are no loads: a dense network has no experts")
    return sum(map(normalized_entropy, loads)) / len(loads)


def effective_experts(load: ArrayLike) -> float:
    """exp(H(f)), from 1 to N: the number of equally used experts with the same entropy.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> round(effective_experts([5, 5, 0, 0]), 9)
    2.0
    """
    return min(math.exp(load_entropy(load)), float(np.size(load)))


def coefficient_of_variation(load: ArrayLike) -> float:
    """The standard deviation of the load over its mean, from 0 to sqrt(N - 1).

    The deviation has ddof = 0, since the N experts are the whole population.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> coefficient_of_variation([3, 1]), coefficient_of_variation([4, 4])
    (0.5, 0.0)
    """
    shares = load_shares(load)
    return float(shares.std() * len(shares))


def maximum_violation(load: ArrayLike) -> float:
    """MaxVio, the largest load over the mean load, less 1 (arXiv 2408.15664); from 0 to N - 1.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> maximum_violation([3, 1]), maximum_violation([4, 4])
    (0.5, 0.0)
    """
    shares = load_shares(load)
    return max(0.0, float(shares.max() * len(shares) - 1))


def gini(load: ArrayLike) -> float:
    """The Gini coefficient of the load, from 0 for an even load to 1 - 1 / N.

    sum_ij |f_i - f_j| / (2 N): half the mean difference of two experts, over the mean.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> gini([6, 0]), gini([6, 2]), gini([4, 4])
    (0.5, 0.25, 0.0)
    """
    shares = np.sort(load_shares(load))
    ranks = 2 * np.arange(1, len(shares) + 1) - len(shares) - 1
    return max(0.0, float(ranks @ shares) / len(shares))


def dead_experts(load: ArrayLike) -> int:
    """The number of experts that no token used, from 0 to N - 1.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_shares`.

    Examples
    --------
    >>> dead_experts([6, 0, 2, 0])
    2
    """
    return int((load_shares(load) == 0).sum())


def mutual_information(table: ArrayLike) -> float:
    """The mutual information of groups and experts, H(group) + H(expert) - H(both), in nats.

    This is the plug-in estimate from the counts. It is never below 0, and so too large for small
    counts; `chance_information` is its expectation where groups and experts are independent.

    Parameters
    ----------
    table : array_like of int, shape (G, N)
        How often tokens of each group, a class or a token id, used each expert; not all 0.

    Returns
    -------
    float
        From 0 to the smaller of the entropies of groups and experts. Every use has equal weight:
        where K varies, a token with more experts has more.

    Raises
    ------
    InvalidInput
        If the table has another shape, a number below 0, or only zeros.

    Examples
    --------
    >>> mutual_information([[3, 3], [5, 5]])
    0.0
    >>> round(mutual_information([[4, 0], [0, 4]]) / math.log(2), 9)
    1.0
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2:
        raise InvalidInput(f"the table has shape {counts.shape}; it must be (groups, experts)")
    groups, experts = load_entropy(counts.sum(axis=1)), load_entropy(counts.sum(axis=0))
    return min(max(0.0, groups + experts - load_entropy(counts.ravel())), groups, experts)


def chance_information(active: ArrayLike, groups: int, experts: int) -> float:
    """The expected mutual information where groups are assigned to tokens at random, in nats.

    For T tokens, G groups and N experts,

        (G - 1) (N - E[K] - Var[K] / E[K]) / (2 (T - 1) E[K])

    To second order, this is the mean of `mutual_information` over all permutations of the groups.
    Where each token uses one expert it is the correction of Miller and Madow (1955),
    (G - 1) (N - 1) / (2 T), except for T - 1. Subtracting it from the plug-in estimate removes most
    of the bias, if the cells of the table hold a few counts each.

    Parameters
    ----------
    active : array_like of int, shape (any,)
        The number of tokens that use 0, 1, 2, ... experts; 0 is never used.
    groups, experts : int
        G and N, the numbers of groups and experts that occur.

    Examples
    --------
    >>> round(chance_information([0, 101], groups=3, experts=6), 9)
    0.05
    >>> chance_information([0, 0, 101], groups=3, experts=2)
    0.0
    """
    counts = np.asarray(active, dtype=np.float64)
    tokens = counts.sum()
    if tokens <= 1:
        return 0.0
    mean, variance = active_moments(counts)
    free = experts - mean - variance / mean
    return max(0.0, float((groups - 1) * free / (2 * (tokens - 1) * mean)))


def active_moments(active: ArrayLike) -> tuple[float, float]:
    """The mean and the variance (ddof = 0) of K over tokens.

    Parameters
    ----------
    active : array_like of int, shape (any,)
        The number of tokens that use 0, 1, 2, ... experts; not all 0.

    Returns
    -------
    mean, variance : float

    Examples
    --------
    >>> active_moments([0, 1, 0, 1])
    (2.0, 1.0)
    """
    shares = load_shares(active)
    values = np.arange(len(shares))
    mean = float(values @ shares)
    return mean, float(np.square(values - mean) @ shares)
