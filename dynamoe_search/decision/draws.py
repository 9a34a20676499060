"""What the process tells of all candidates, averaged over points of its parameters.

At each point the losses are normal given sigma, and so Student's t with sigma integrated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.linalg import solve_triangular

from dynamoe_search.decision.belief import Belief
from dynamoe_search.decision.process import Prediction
from dynamoe_search.decision.seed_groups import SeedGroups

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Seen = Sequence[tuple[float, Prediction]]
"""What is seen at each point, with the probability of the point."""

_DRAWS = 2048
_JITTER = 1e-9
_LEVELS = (np.arange(2**14) + 0.5) / 2**14


def moments(seen: Seen) -> tuple[Floats, Floats]:
    """The expected losses and their standard deviations, each of shape (P,)."""
    expected = np.sum([weight * one.mean for weight, one in seen], axis=0)
    squares = [
        weight * (one.solution.variance * one.variance + (one.mean - expected) ** 2)
        for weight, one in seen
    ]
    return expected, np.sqrt(np.sum(squares, axis=0))


def make_belief(
    seen: Seen, groups: SeedGroups, covariances: Sequence[Floats], joint: Places
) -> Belief:
    """What is known of some candidates and of the effects of seed groups, in nats.

    Parameters
    ----------
    seen : sequence of (float, Prediction)
    groups : SeedGroups
    covariances : sequence of ndarray of float64, shape (P, J)
        Those of all candidates with the joint ones, at each point.
    joint : ndarray of int, shape (J,)
        The places of these; the tried ones come first.
    """
    wholes = []
    for (_, one), covariance in zip(seen, covariances, strict=True):
        of_effects = one.of_effects(joint)
        rows = [[covariance[joint], of_effects], [of_effects.T, one.solution.covariance[1:, 1:]]]
        wholes.append(groups.scale**2 * one.solution.variance * np.block(rows))
    noise = groups.scale * np.sqrt([one.solution.variance for _, one in seen])
    relative_noise = np.ones(len(joint))
    relative_noise[: len(groups.seeds)] = groups.relative_noise
    has = np.zeros((len(joint), len(groups.sizes)), bool)
    has[: len(groups.seeds)] = groups.seeds > 0
    return Belief(
        weights=np.array([weight for weight, _ in seen]),
        mean=groups.center + groups.scale * np.stack([one.mean[joint] for _, one in seen]),
        covariance=np.stack(wholes),
        noise=noise,
        seed=noise * [one.solution.parameters.seed for _, one in seen],
        relative_noise=relative_noise,
        has=has,
        sizes=groups.sizes,
    )


def draw_losses(
    seen: Seen,
    groups: SeedGroups,
    covariances: Sequence[Floats],
    joint: Places,
    copies: float,
    seed: int,
) -> tuple[Floats, Floats]:
    """Draws of the losses of all candidates, and of the least of a number of copies of each.

    Joint candidates are drawn jointly. The others follow from these, and what is left of their
    variance is drawn independently. As what is left is positively correlated, their least loss is
    if anything too low, and a bound on the regret too large (Slepian 1962). The copies of an
    untried candidate differ in what is its own; tried candidates have none.

    Parameters
    ----------
    seen, groups, covariances, joint
        As in `make_belief`.
    copies : float
        At least 1.
    seed : int

    Returns
    -------
    draws, least : ndarray of float64, shape (D, P)
    """
    generator = np.random.default_rng(seed)
    # The least of all copies but the candidate itself, by its quantiles.
    table = -special.ndtri(_LEVELS ** (1 / (copies - 1))) if copies > 1 else None
    draws, least = [], []
    for (weight, one), covariance in zip(seen, covariances, strict=True):
        number = round(weight * _DRAWS)
        loads, own = _split(one, covariance, joint, len(groups.seeds))
        freedom = generator.chisquare(groups.degrees, number) / groups.degrees
        sizes = np.sqrt(one.solution.variance / freedom)[:, None].astype(np.float32)
        shared = generator.standard_normal((number, len(joint)), np.float32) @ loads
        normal = generator.standard_normal((number, len(own)), np.float32)
        draws.append(one.mean + sizes * (shared + own * normal))
        if table is None:
            least.append(draws[-1])
        else:
            places = generator.integers(len(table), size=normal.shape, dtype=np.uint16)
            normal = np.minimum(normal, table.astype(np.float32)[places])
            least.append(one.mean + sizes * (shared + own * normal))
    return np.concatenate(draws), np.concatenate(least)


def _split(
    one: Prediction, covariance: Floats, joint: Places, tried: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How losses depend on J independent normal variables, and the deviation of their own part.

    Shapes (J, P) and (P,). The own part of an untried joint candidate is g.
    """
    covariance = covariance.copy()
    new = np.arange(tried, len(joint))
    covariance[joint[new], new] -= one.solution.parameters.rough**2
    of_joint = covariance[joint]
    of_joint[np.diag_indices_from(of_joint)] += _JITTER * one.variance.max()
    root = np.linalg.cholesky(of_joint)
    loads = solve_triangular(root, covariance.T, lower=True, check_finite=False)
    own = np.sqrt(np.maximum(one.variance - (loads**2).sum(axis=0), 0))
    own[:tried] = 0
    return loads.astype(np.float32), own.astype(np.float32)
