"""Which parameters of a search matter, by Optuna's evaluators, and how sure that is."""

from __future__ import annotations

from collections.abc import Container, Mapping
from copy import copy

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.state import Progress
from dynamoe_search.plan.plan import Plan
from dynamoe_search.search.quiet import quiet
from dynamoe_search.search.space import suggest, suggest_settings

CHANCE = "(chance)"
"""A random parameter without meaning. A parameter of no greater importance is not shown to
matter."""

EVALUATORS: Mapping[str, str] = {
    "fanova": "what the loss depends on, over the whole space (fANOVA)",
    "ped_anova": "what tells the best tenth from the rest (PED-ANOVA)",
}
"""By name: the question that each answers."""

REPETITIONS = 20
FEWEST_CANDIDATES = 15
# Of a forest; there is one for each repetition. In simulated studies of 70 candidates a parameter
# without effect was above chance in 95 % of the repetitions in 6 % of the studies; with forests of
# 32 deep trees, which take five times as long, in 27 %.
_TREES, _DEPTH = 8, 5
_MOST_DRAWN = 500  # candidates of a repetition; more would not say more
_LOSS = "validation_loss"
_UNIT = FloatDistribution(0.0, 1.0)


def parameter_importance(
    progress: Progress, plan: Plan, repetitions: int = REPETITIONS, seed: int = 0
) -> pd.DataFrame:
    """How much of the validation loss each parameter of a search decides.

    Importances of few candidates are unstable, which a single number hides. So each repetition
    draws the candidates again, with replacement, at most 500; it gives the evaluator another seed,
    and adds a parameter that is pure chance. What spreads over repetitions, or stays near chance,
    is not known.

    A candidate counts once, by the mean loss of its blocks; parameters are those of the family and
    of what is searched next to the schedule, as Optuna proposes them.

    Parameters
    ----------
    progress : Progress
        Of the search.
    plan : Plan
    repetitions : int
    seed : int

    Returns
    -------
    DataFrame
        ``evaluator`` (see `EVALUATORS`: fANOVA, Hutter, Hoos and Leyton-Brown 2014; PED-ANOVA,
        arXiv 2304.10255), ``repetition``, ``parameter`` (with `CHANCE`), ``importance``, which sums
        to 1 over the parameters of a repetition, and ``candidates``, how many there are.

    Raises
    ------
    InvalidInput
        With fewer than 15 candidates that were trained in full and lie in the family.
    """
    candidates = _candidates(progress, plan)
    if len(candidates) < FEWEST_CANDIDATES:
        raise InvalidInput(
            f"importance takes at least {FEWEST_CANDIDATES} candidates of the family that are"
            f" trained in full, and this study has {len(candidates)}: raise search.runs"
        )
    generator = np.random.default_rng(seed)
    rows = []
    for repetition in range(repetitions):
        drawn = generator.integers(len(candidates), size=min(len(candidates), _MOST_DRAWN))
        chance = generator.uniform(size=len(drawn))
        trials = [_with_chance(candidates[i], c) for i, c in zip(drawn, chance, strict=True)]
        with quiet():
            sample = optuna.create_study(storage=_Drawn(trials))
        for evaluator in EVALUATORS:
            importances = _importances(evaluator, sample, int(generator.integers(2**31)))
            rows += [
                {
                    "evaluator": evaluator,
                    "repetition": repetition,
                    "parameter": parameter,
                    "importance": importance,
                }
                for parameter, importance in importances.items()
            ]
    return pd.DataFrame(rows).assign(candidates=len(candidates))


class _Drawn(InMemoryStorage):
    """Has given trials. Optuna copies each trial that is added, which takes half of all time."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._drawn = trials

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """All of them, which are complete."""
        return self._drawn


def _candidates(progress: Progress, plan: Plan) -> list[FrozenTrial]:
    """A trial for each candidate that has results and parameters, its value the mean loss."""
    means = progress.means([_LOSS])
    found: dict[str, FrozenTrial] = {}
    for run in progress.runs:
        name, parameters = run.start.candidate, run.start.parameters
        loss = means.get(name, {}).get(_LOSS, np.nan)
        if parameters and name not in found and np.isfinite(loss):
            proposed = FixedTrial(dict(parameters))
            suggest(proposed, plan.space)
            suggest_settings(proposed, plan.study.search.also)
            found[name] = create_trial(
                params=proposed.params, distributions=proposed.distributions, value=float(loss)
            )
    return list(found.values())


def _with_chance(trial: FrozenTrial, chance: float) -> FrozenTrial:
    own = copy(trial)
    own.params = {**trial.params, CHANCE: float(chance)}
    own.distributions = {**trial.distributions, CHANCE: _UNIT}
    return own


def _importances(name: str, study: optuna.Study, seed: int) -> dict[str, float]:
    evaluator: BaseImportanceEvaluator = PedAnovaImportanceEvaluator()
    if name == "fanova":
        evaluator = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=seed)
    with quiet():
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
