"""Samplers and pruners by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.quiet import quiet

# These keep a state besides trials and their values.
KEEPS_STATE = ("cmaes", "nsga2", "nsga3", "qmc")
# These note which rungs a run has reached, and so must be asked at every point of every run.
KEEPS_RUNGS = ("asha", "hyperband")
_POPULATION = 20  # of the genetic samplers: studies are small, and a generation must pass to learn
_REDUCTION = 3  # of ASHA and Hyperband: a third goes on at each rung


def make_sampler(name: str, seed: int, asked: int, in_vain: int) -> optuna.samplers.BaseSampler:
    """The sampler of that name for a study's next trial.

    Most samplers keep no state but their random numbers. These are drawn from the study's seed, the
    number of runs started so far, and the number of proposals for the next run that needed no run;
    so an interrupted study goes on as it would have. QMC and CMA-ES keep their state in the trials
    and need the same seed each time (CMA-ES takes 32 bits of it); what they cannot choose, such as
    the expert width for CMA-ES, is drawn at random.

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    drawn = int(np.random.SeedSequence([seed, asked, in_vain]).generate_state(1)[0])
    others: dict[str, Any] = {
        "independent_sampler": optuna.samplers.RandomSampler(seed=drawn),
        "warn_independent_sampling": False,
    }
    with quiet():
        match name:
            case "tpe":
                return optuna.samplers.TPESampler(seed=drawn, multivariate=True)
            case "random" | "exhaustive":
                return optuna.samplers.RandomSampler(seed=drawn)
            case "gp":
                return optuna.samplers.GPSampler(seed=drawn)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=drawn, population_size=_POPULATION)
            case "nsga3":
                return optuna.samplers.NSGAIIISampler(seed=drawn, population_size=_POPULATION)
            case "qmc":
                return optuna.samplers.QMCSampler(seed=seed, scramble=True, **others)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed % 2**32, **others)
    raise InvalidInput(f"unknown sampler {name!r}")


def make_pruner(name: str, evaluations: int) -> BasePruner:
    """The pruner of that name, for learning curves with this number of points.

    Rungs are the points of the curve: ASHA (arXiv 1810.05934) and Hyperband (arXiv 1603.06560) look
    at 1, 3, 9, ... of them. The median pruner (Vizier's stopping rule) compares with the median of
    the others at the same point; the Wilcoxon pruner compares curves point by point with the
    best's by a signed-rank test. Its points are not independent, so it is a rule of thumb.

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    with quiet():
        match name:
            case "none":
                return NopPruner()
            case "asha":
                return SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION)
            case "hyperband":
                return HyperbandPruner(
                    min_resource=1, max_resource=evaluations, reduction_factor=_REDUCTION
                )
            case "median":
                return MedianPruner(n_startup_trials=5, n_warmup_steps=1)
            case "wilcoxon":
                return WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    raise InvalidInput(f"unknown pruner {name!r}")
