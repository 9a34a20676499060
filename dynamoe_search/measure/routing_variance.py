"""Test the source's claim that dynamic routing lowers the variance of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pandas as pd

from dynamoe_search.budgets import experts_of, held_routers
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.measure.gradient_moments import pool_groups, with_ratios
from dynamoe_search.measure.per_sample_gradients import per_sample_gradient_noise
from dynamoe_search.measure.quantities import GROUPS, NETWORK
from dynamoe_search.measure.recorder import TrainingRecorder
from dynamoe_search.specification import FixedRouter, Router, Specification, VariableRouter
from dynamoe_search.statistics.comparison import (
    ERROR_RATE,
    difference_p_value,
    holm,
    studentized_interval,
)
from dynamoe_search.training.loop import Data, NonFiniteLoss, train
from dynamoe_search.training.settings import TrainingSettings

VarianceQuantity = Literal["trace", "noise_scale"]

_QUANTITIES = {
    "trace": "the trace of the gradient's covariance",
    "noise_scale": "the gradient's noise scale",
}
_ROUTINGS = ("dynamic", "fixed")


@dataclass(frozen=True)
class VarianceResult:
    """The result of `gradient_variance`.

    Parameters
    ----------
    verdict : {"supported", "reversed", "undecided"}
        Whether the quantity is significantly lower with dynamic routing, higher, or neither.
    sentence : str
        The verdict and the numbers behind it.
    comparison : DataFrame
        As `compare_routings` gives it.
    seeds : DataFrame
        One row per ``routing`` (dynamic or fixed), ``seed`` and ``group`` (network is all
        parameters): means over the training of ``loss`` (validation), ``trace``, ``squared_norm``
        and so on, with ratios of these means; ``mean_active``, the measured K.
    measurements : DataFrame
        The measurements that they are means of: one row per run, ``fraction``, ``layer`` and
        ``group``.
    seconds : float
        The wall time of measuring, without training.
    """

    verdict: str
    sentence: str
    comparison: pd.DataFrame
    seeds: pd.DataFrame
    measurements: pd.DataFrame
    seconds: float


def gradient_variance(
    network: Specification,
    data: Data,
    settings: TrainingSettings,
    dynamic: VariableRouter,
    fixed: FixedRouter,
    active: float,
    seeds: Sequence[int],
    quantity: VarianceQuantity = "trace",
    samples: int | None = None,
    every: int = 1,
) -> VarianceResult:
    """Does dynamic routing lower the variance of the gradient?

    One network is trained with each of two routers, from the same seeds: with the same initial
    weights, order of the data, and samples to measure on. The parameters are the same, and both
    routers are held at the same mean K (`dynamoe_search.budgets.held_routers`). The gradients are
    taken sample by sample, by `per_sample_gradient_noise`.

    The trace is the variance that the source speaks of. However, it grows with the square of the
    loss's scale, and changes as the network learns. The noise scale, the trace over the squared
    norm of the mean gradient, does not depend on the scale. The routers are compared as they are:
    they also weight the chosen experts differently (those of variable K do not divide the gates by
    their sum), and can differ in temperature and noise.

    Parameters
    ----------
    network : Classifier or LanguageModel
        A network with experts; its routers are replaced.
    data : ImageData or TextData
    settings : TrainingSettings
        Its evaluations are the points of measurement.
    dynamic : TopP, Relative or Threshold
    fixed : TopK or Percentile
    active : float
        The mean K over layers; with a whole number, it is that of every layer.
    seeds : sequence of int
        At least 2, all different.
    quantity : {"trace", "noise_scale"}
        The quantity to compare; choose it before the training runs.
    samples : int, optional
        The number of samples of the training split to measure on; by default all.
    every : int
        Measure at each N-th evaluation, for this N, and at the last one.

    Raises
    ------
    InvalidInput
        For routers of the wrong kind, a K that the schedule cannot have, too few seeds, or where
        `train` or `per_sample_gradient_noise` raises it.
    RunFailed
        If every training run diverges.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts, TopK, TopP
    >>> network = Classifier(64, 10, 8, Experts(8, Schedule((4, 2))))
    >>> settings = TrainingSettings(epochs=2, evaluations=2)
    >>> found = gradient_variance(
    ...     network, embedded_digits(seed=0), settings, TopP(), TopK(), 1.5, range(3), samples=64
    ... )
    >>> found.verdict in ("supported", "reversed", "undecided")
    True
    >>> found.comparison["group"].tolist()
    ['network', 'trunk', 'router', 'experts']
    """
    if not isinstance(dynamic, VariableRouter) or not isinstance(fixed, FixedRouter):
        raise InvalidInput(
            f"dynamic is {dynamic.name} and fixed is {fixed.name}; give a router whose K varies by"
            " token (top_p, relative, threshold), then one whose K does not (top_k, percentile)"
        )
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise InvalidInput(f"seeds are {list(seeds)}; give at least 2, all different")
    _check(quantity)
    routers = dict(zip(_ROUTINGS, (dynamic, fixed), strict=True))
    tables, seconds = [], 0.0
    for (routing, router), seed in product(routers.items(), seeds):
        measure = partial(per_sample_gradient_noise, split=data.train, samples=samples, seed=seed)
        recorder = TrainingRecorder(measure, every)
        try:
            specification = _with_router(network, router, active)
            result = train(specification, data, settings, [seed], on_evaluation=recorder)
        except NonFiniteLoss:
            continue  # a missing pair
        seconds += recorder.seconds
        mean_active = fmean(active for active in result.of_seeds[0].mean_active if active)
        tables.append(recorder.table.assign(routing=routing, seed=seed, mean_active=mean_active))
    if not tables:
        raise RunFailed("every training run diverged; lower learning_rate")
    measurements = pd.concat(tables, ignore_index=True)
    by_seed = _by_seed(measurements)
    comparison = compare_routings(by_seed, seeds, quantity)
    return VarianceResult(
        verdict=comparison["verdict"][0],
        sentence=_sentence(comparison, by_seed, routers, quantity),
        comparison=comparison,
        seeds=by_seed,
        measurements=measurements,
        seconds=seconds,
    )


def compare_routings(
    by_seed: pd.DataFrame, seeds: Sequence[int], quantity: VarianceQuantity
) -> pd.DataFrame:
    """Compare dynamic with fixed routing, paired by seed, as a ratio.

    The paired t test is made on logarithms. The test of the whole network is one test, fixed
    beforehand; those of the groups are a family, with Holm's correction. The verdict comes from the
    tests; each interval is of one ratio, and can disagree with them in the last digit.

    Parameters
    ----------
    by_seed : DataFrame
        As `VarianceResult.seeds`.
    seeds : sequence of int
        All planned seeds.
    quantity : {"trace", "noise_scale"}

    Returns
    -------
    DataFrame
        One row for the network, then one per ``group``: ``seeds`` (pairs) and ``missing`` (the
        other seeds: a run diverged, or the quantity is not a finite number above 0); ``dynamic``
        and ``fixed`` (geometric means over the pairs), their ``ratio`` with ``low`` and ``high``
        (95 %, studentized bootstrap); ``p`` and ``p_holm``; ``verdict`` (supported: below 1;
        reversed: above 1; undecided).

    Raises
    ------
    InvalidInput
        For another quantity.
    """
    _check(quantity)
    places = pd.MultiIndex.from_product([(NETWORK, *GROUPS), _ROUTINGS])
    values = by_seed.pivot(index="seed", columns=["group", "routing"], values=quantity)
    values = values.reindex(index=list(seeds), columns=places)
    logs = np.log(values.where((values > 0) & (values < np.inf)))
    table = pd.DataFrame([_compared(group, logs[group]) for group in (NETWORK, *GROUPS)])
    table["p_holm"] = [table["p"][0], *holm(table["p"][1:])]
    is_shown = table["p_holm"] <= ERROR_RATE
    table["verdict"] = np.select(
        [is_shown & (table["ratio"] < 1), is_shown], ["supported", "reversed"], "undecided"
    )
    return table


def _check(quantity: str) -> None:
    if quantity not in _QUANTITIES:
        raise InvalidInput(f"quantity is {quantity!r}; choose from {', '.join(_QUANTITIES)}")


def _compared(group: str, logs: pd.DataFrame) -> dict[str, Any]:
    pairs = logs.dropna()
    differences = (pairs["dynamic"] - pairs["fixed"]).to_numpy()
    low, high = studentized_interval(differences)
    means = pairs.mean()
    return {
        "group": group,
        "seeds": len(pairs),
        "missing": len(logs) - len(pairs),
        "dynamic": np.exp(means["dynamic"]),
        "fixed": np.exp(means["fixed"]),
        "ratio": np.exp(means["dynamic"] - means["fixed"]),
        "low": np.exp(low),
        "high": np.exp(high),
        "p": float(difference_p_value(differences)),
    }


def _by_seed(measurements: pd.DataFrame) -> pd.DataFrame:
    """Means over the training, of the whole network and by group."""
    run = ["routing", "seed", "mean_active"]
    points = pool_groups(measurements, [*run, "fraction", "loss"])
    means = points.groupby([*run, "group"], sort=False, as_index=False).mean()
    return with_ratios(means.drop(columns="fraction")).astype({"parameters": int})


def _with_router(network: Specification, router: Router, active: float) -> Specification:
    blocks = experts_of(network)
    held = held_routers(router, blocks.schedule, active)
    return replace(network, blocks=replace(blocks, router=held))


def _sentence(
    comparison: pd.DataFrame,
    by_seed: pd.DataFrame,
    routers: Mapping[str, Router],
    quantity: VarianceQuantity,
) -> str:
    row = next(comparison.itertuples())
    names = [routers[routing].name for routing in _ROUTINGS]
    means = by_seed[by_seed["group"] == NETWORK].groupby("routing")[["mean_active", "loss"]].mean()
    active, loss = (means[column].reindex(_ROUTINGS) for column in means)
    found = {
        "supported": "Supported",
        "reversed": "Reversed",
        "undecided": "Undecided",
    }[row.verdict]
    sentence = (
        f"{found}: with {names[0]} {_QUANTITIES[quantity]} is {row.ratio:.3g} times that with"
        f" {names[1]} (95 % {row.low:.3g} to {row.high:.3g}; {row.seeds} paired seeds,"
        f" p = {row.p:.2g}), at a measured mean K of {active.iloc[0]:.2f} and {active.iloc[1]:.2f}."
    )
    if quantity == "trace":
        sentence += (
            f" The trace depends on the scale of the loss, on average {loss.iloc[0]:.3g} and"
            f" {loss.iloc[1]:.3g} nats here; the noise scale does not."
        )
    if row.missing:
        sentence += (
            f" {row.missing} of {row.seeds + row.missing} pairs are missing: a training run"
            " diverged, or the quantity was not a finite number above 0."
        )
    return sentence
