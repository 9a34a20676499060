"""How noisy the losses of each candidate are: some candidates scatter more than others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from dynamoe_search.decision.seed_groups import complete_parts

Floats = NDArray[np.float64]

_FEWEST = 3  # candidates whose scatter is known, to compare it
_LEAST_SHARE = 1e-3  # of the typical variance: ties would have none


def relative_noise(losses: pd.DataFrame) -> Floats:
    """The variance of each candidate's noise over the typical one; shape (C,).

    A few seeds tell little about a variance. So each is drawn towards the typical one, the more the
    less they differ than chance explains: the empirical Bayes rule of Smyth (2004), as in limma.
    Where they differ no more than by chance, all are 1.

    Parameters
    ----------
    losses : DataFrame
        A row per candidate, a column per seed, as `dynamoe_search.decision.seed_groups.loss_table`
        gives it.
    """
    squares, degrees = np.zeros(len(losses)), np.zeros(len(losses))
    for rows, table in complete_parts(losses.to_numpy(np.float64)):
        of_seed, of_candidate = table.mean(axis=0), table.mean(axis=1, keepdims=True)
        squares[rows] += ((table - of_candidate - of_seed + table.mean()) ** 2).sum(axis=1)
        degrees[rows] += (table.shape[1] - 1) * (1 - 1 / len(table))
    known = degrees > 0
    noise = np.ones(len(losses))
    if known.sum() < _FEWEST or not squares.any():
        return noise
    variances, half = squares[known] / degrees[known], degrees[known] / 2
    common = np.median(variances) or variances.mean()  # the median, unless most have none
    variances = np.maximum(variances, _LEAST_SHARE * common)
    logs = np.log(variances / variances.mean()) - special.digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - special.polygamma(1, half).mean()
    if excess <= 0:
        return noise
    prior = np.exp(optimize.brentq(lambda log: special.polygamma(1, np.exp(log)) - excess, -20, 20))
    typical = variances.mean() * np.exp(logs.mean() + special.digamma(prior) - np.log(prior))
    noise[known] = (prior + half * variances / typical) / (prior + half)
    return noise
