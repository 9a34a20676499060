"""Which parameters of a search matter, by Optuna's evaluators, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
)
from optuna.trial import FrozenTrial, create_trial

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.records import claim_of, read_ledger
from dynamoe_search.log.storage import open_study, place_of
from dynamoe_search.plan.reader import study_path

CHANCE = "(chance)"
"""A parameter that means nothing, drawn at random: what has no more importance than it, has none
that is shown."""

EVALUATORS: Mapping[str, str] = {
    "fanova": "what the loss depends on, over the whole space (fANOVA)",
    "ped_anova": "what tells the best tenth from the rest (PED-ANOVA)",
}
"""By name: the question that each answers."""

REPETITIONS = 20
FEWEST_CANDIDATES = 15
_TREES = 32  # a forest; there is one for each repetition
_LOSS = "validation_loss"


def parameter_importance(
    study: Path,
    storage: str | None = None,
    name: str | None = None,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of the validation loss each parameter of a search decides.

    Importances of few candidates are unstable, which a single number hides. So each repetition
    draws the candidates anew, with replacement, gives the evaluator another seed, and adds a
    parameter that is pure chance. What spreads over repetitions, or stays near chance, is not
    known.

    A candidate counts once, by the mean loss of its trainings; parameters are those that Optuna
    chooses (see `dynamoe_search.search.space`).

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.
    repetitions : int
    seed : int

    Returns
    -------
    DataFrame
        ``evaluator`` (see `EVALUATORS`: fANOVA, Hutter, Hoos and Leyton-Brown 2014; PED-ANOVA,
        arXiv 2304.10255), ``repetition``, ``parameter`` (with `CHANCE`) and ``importance``, which
        sums to 1 over the parameters of a repetition. The number of candidates is in ``attrs``.

    Raises
    ------
    InvalidInput
        With fewer than 15 candidates that were trained in full and lie in the family.
    """
    place = place_of(study_path(study).parent, storage, name)
    candidates = _candidates(open_study(place).get_trials(deepcopy=False))
    if len(candidates) < FEWEST_CANDIDATES:
        raise InvalidInput(
            f"importance takes at least {FEWEST_CANDIDATES} candidates that the sampler has chosen"
            f" and that are trained in full, and this study has {len(candidates)}: raise its trials"
        )
    generator = np.random.default_rng(seed)
    rows = []
    for repetition in range(repetitions):
        drawn = generator.integers(len(candidates), size=len(candidates))
        chance = generator.uniform(size=len(candidates))
        sample = optuna.create_study()
        sample.add_trials([_with_chance(candidates[i], chance[i]) for i in drawn])
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
    table = pd.DataFrame(rows)
    table.attrs["candidates"] = len(candidates)
    return table


def _candidates(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """A trial for each candidate that has results and parameters, its value the mean loss."""
    means = read_ledger(trials).means([_LOSS])
    known: dict[str, FrozenTrial] = {}
    for trial in trials:
        claim = claim_of(trial)
        if claim is None or not trial.params or claim.candidate in known:
            continue
        loss = means.get(claim.candidate, {}).get(_LOSS, np.nan)
        if np.isfinite(loss):
            known[claim.candidate] = create_trial(
                params=trial.params, distributions=trial.distributions, value=float(loss)
            )
    return list(known.values())


def _with_chance(trial: FrozenTrial, chance: float) -> FrozenTrial:
    distributions: dict[str, BaseDistribution] = {
        **trial.distributions,
        CHANCE: FloatDistribution(0.0, 1.0),
    }
    return create_trial(
        params=trial.params | {CHANCE: float(chance)},
        distributions=distributions,
        value=trial.value,
    )


def _importances(name: str, study: optuna.Study, seed: int) -> dict[str, float]:
    evaluator: BaseImportanceEvaluator = PedAnovaImportanceEvaluator()
    if name == "fanova":
        evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
