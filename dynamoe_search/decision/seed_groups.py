"""The losses of a study, summed up: all that a fit of the posterior needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput

Floats = NDArray[np.float64]

_COLUMNS = ("candidate", "seed", "loss")


@dataclass(frozen=True, eq=False)
class SeedGroups:
    """Losses by candidate and seed group.

    A seed group is all seeds from which the same candidates were trained: a seed block, or several.
    Within a group the table of losses is complete. So its means per candidate and two sums of
    squares are sufficient for the model of `dynamoe_search.decision.process`: nothing is lost.
    Below, C is the number of candidates and B of groups. Losses are less `center`, over `scale`.

    Parameters
    ----------
    seeds : ndarray of float64, shape (C, B)
        From how many seeds of each group a candidate was trained: all or none.
    means : ndarray of float64, shape (C, B)
        The mean losses; 0 where there are none.
    noise : ndarray of float64, shape (B,)
        The sum of squares of each group that is neither the candidates' nor the seeds'.
    between : ndarray of float64, shape (B,)
        The sum of squares between the seeds of each group.
    relative_noise : ndarray of float64, shape (C,)
        The variance of each candidate's noise, over sigma^2. Sums and means over candidates have
        its inverse as weight.
    center, scale : float
    """

    seeds: Floats
    means: Floats
    noise: Floats
    between: Floats
    relative_noise: Floats
    center: float
    scale: float

    @property
    def sizes(self) -> Floats:
        """The number of seeds of each group; shape (B,)."""
        return np.asarray(self.seeds.max(axis=0))

    @property
    def weights(self) -> Floats:
        """The seeds of each group that a candidate was trained from, by their precision; (C, B)."""
        return self.seeds / self.relative_noise[:, None]

    @property
    def degrees(self) -> int:
        """The number of losses, less 1."""
        return int(self.seeds.sum()) - 1


def loss_table(results: pd.DataFrame) -> pd.DataFrame:
    """The finite losses as a table: a row per candidate, a column per seed, both sorted.

    Raises
    ------
    InvalidInput
        Where a column is missing, or there are fewer than two finite losses.
    """
    if missing := [name for name in _COLUMNS if name not in results]:
        raise InvalidInput(
            f"results need the columns {', '.join(_COLUMNS)}; {missing[0]} is not there"
        )
    finite = results[np.isfinite(results["loss"].to_numpy(np.float64))]
    if len(finite) < 2:
        raise InvalidInput(f"a decision needs at least two finite losses, got {len(finite)}")
    return finite.pivot_table(index="candidate", columns="seed", values="loss", aggfunc="mean")


def complete_parts(values: Floats) -> list[tuple[NDArray[np.bool_], Floats]]:
    """The rows of each seed group, and its losses without holes, shape (rows, seeds).

    The groups come in the order of how many candidates they have, most first: the order in which
    blocks are trained.
    """
    there = np.isfinite(values)
    values, there = values[:, there.any(axis=0)], there[:, there.any(axis=0)]
    patterns, of = np.unique(there, axis=1, return_inverse=True)
    order = np.argsort(-patterns.sum(axis=0), kind="stable")
    return [(patterns[:, one], values[np.ix_(patterns[:, one], of == one)]) for one in order]


def sum_up(losses: pd.DataFrame, relative_noise: Floats | None = None) -> SeedGroups:
    """Sum up a table of losses, as `loss_table` gives it.

    Parameters
    ----------
    losses : DataFrame
    relative_noise : ndarray of float64, shape (C,), optional
        By default all are equally noisy.
    """
    values = losses.to_numpy(np.float64)
    some = values[np.isfinite(values)]
    center, scale = float(some.mean()), float(some.std()) or 1.0
    ratios = np.ones(len(values)) if relative_noise is None else relative_noise
    seeds, means, noise, between = [], [], [], []
    for rows, part in complete_parts((values - center) / scale):
        weights = 1 / ratios[rows]
        of_candidate = part.mean(axis=1)
        of_seed = np.average(part - of_candidate[:, None], axis=0, weights=weights)
        rest = part - of_candidate[:, None] - of_seed
        seeds.append(rows * float(part.shape[1]))
        means.append(np.zeros(len(values)))
        means[-1][rows] = of_candidate
        noise.append(weights @ (rest**2).sum(axis=1))
        between.append(weights.sum() * (of_seed**2).sum())
    return SeedGroups(
        np.stack(seeds, axis=1),
        np.stack(means, axis=1),
        np.array(noise),
        np.array(between),
        ratios,
        center,
        scale,
    )
