"""How evenly the experts of a layer are used.

A load is the number of tokens that used each expert of a layer, as `dynamoe_search.evaluation`
counts them; the load share f_e is expert e's part of it, so that shares sum to 1 whatever K is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from dynamoe_search.errors import InvalidInput


def load_entropy(load: ArrayLike) -> float:
    """The entropy of the load shares, H(f) = -sum_e f_e ln f_e, in nats.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        At least 0 each, and not all 0.

    Returns
    -------
    float
        From 0, where one expert does everything, to ln N, where all are equally busy.

    Raises
    ------
    InvalidInput
        For anything that is no load, or a load of nothing.

    Examples
    --------
    >>> load_entropy([10, 0, 0]), round(load_entropy([10, 10]) / math.log(2), 9)
    (0.0, 1.0)
    """
    counts = np.asarray(load, dtype=np.float64)
    total = counts.sum()
    if counts.ndim != 1 or not (counts >= 0).all() or not 0 < total < math.inf:
        raise InvalidInput(
            f"the load is {load!r}; it must be one finite number of at least 0 an expert, not all 0"
        )
    entropy = float(entr(counts / total).sum())
    return min(max(0.0, entropy), math.log(len(counts)))  # which rounding may overstep


def normalised_entropy(load: ArrayLike) -> float:
    """H(f) / ln N: 1 where all experts are equally busy, whatever their number; 1 where N = 1.

    Parameters
    ----------
    load : array_like of int or float, shape (N,)
        As in `load_entropy`.

    Examples
    --------
    >>> normalised_entropy([5, 5, 0, 0]), normalised_entropy([7])
    (0.5, 1.0)
    """
    entropy, experts = load_entropy(load), np.size(load)
    return entropy / math.log(experts) if experts > 1 else 1.0


def mean_normalised_entropy(loads: Sequence[ArrayLike]) -> float:
    """The mean of H(f) / ln N over the layers, from 0 to 1; every layer counts alike.

    Parameters
    ----------
    loads : sequence of array_like
        The load of each layer, as `Evaluation.load` has them.

    Raises
    ------
    InvalidInput
        For the loads of a dense network, which are none.

    Examples
    --------
    >>> mean_normalised_entropy([(5, 5, 0, 0), (7,)])
    0.75
    """
    if not loads:
        raise InvalidInput("there are no loads; a dense network has no experts to be used")
    return sum(map(normalised_entropy, loads)) / len(loads)
