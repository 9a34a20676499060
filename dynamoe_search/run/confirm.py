"""The confirmation of a study: finalists and baselines from fresh seeds, on the test split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from dynamoe_search.budgets import dense_baseline, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import check_data, recorded_study_file
from dynamoe_search.log.records import Ledger, read_ledger
from dynamoe_search.log.storage import Place, begin_study, open_study, place_of
from dynamoe_search.plan.candidate import DenseBaseline
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import study_path
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.progress import Overview, Progress
from dynamoe_search.run.results import table_of
from dynamoe_search.run.run import Outcome, Resources, carry_on, results_folder
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.search.agenda import ConfirmationAgenda
from dynamoe_search.search.assignment import leaders
from dynamoe_search.specification import Dense

FINALISTS = 3
SEEDS = 8
# In nats: one percent in the probability that is given to the right answer.
MARGIN = 0.01
_ATTRIBUTE, _SETTINGS = "confirmation", "settings"


@dataclass(frozen=True)
class Confirmation:
    """What is confirmed; fixed before its first training.

    Parameters
    ----------
    reference : str
        The search's best candidate, with which the others are compared.
    names : dict of str to str
        The candidates, and what each is called besides.
    margin : float
        The difference of losses that does not matter, in nats.
    seeds : tuple of int
        The numbers of seeds that were asked for, one after another.
    """

    reference: str
    names: dict[str, str]
    margin: float
    seeds: tuple[int, ...]


def confirm_study(
    path: Path | str,
    seeds: int | None = None,
    margin: float | None = None,
    resources: Resources = Resources(),
    storage: str | None = None,
    name: str | None = None,
    on_start: Callable[[Plan, Confirmation], None] = lambda plan, confirmation: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Confirm what a search has found, or go on with that.

    The finalists of the search, the named patterns, uniform, and the dense networks of as many
    total and as many active parameters are trained from the same fresh seeds, and measured on the
    test split, which the search has never looked at. Who they are is fixed at the first call.

    Parameters
    ----------
    path : Path or str
        The study file, or its folder.
    seeds : int, optional
        From how many seeds each is trained: 8 where it is None. It can be raised later.
    margin : float, optional
        The difference of losses, in nats, that does not matter: 0.01 where it is None, which is one
        percent in the probability given to the right answer. It is fixed at the first call.
    resources, storage, name
        As in `dynamoe_search.run.run.run_study`.
    on_start : callable
        Called with the plan and what is confirmed before the first training.
    on_progress : callable
        Called a few times a second.

    Raises
    ------
    InvalidInput
        Where there is no study with results, or the margin is another than it was begun with.
    RunFailed
        As in `run_study`.
    """
    path = study_path(path)
    place = place_of(path.parent, storage, name)
    search = open_study(place)
    study_file = recorded_study_file(search, place)
    data = load_study_data(study_file, resources.data_directory)
    check_data(search, data, place)
    plan = make_plan(loss_alone(study_file), data)
    with place.run_lock():
        study = begin_study(place.confirmation, ["minimize"])
        ledger = read_ledger(search.get_trials(deepcopy=False))
        in_order = leaders(ledger, study_file.search)
        confirmation = _fix(study, plan, ledger, in_order, seeds, margin)
        on_start(plan, confirmation)
        agenda = ConfirmationAgenda(tuple(confirmation.names), confirmation.seeds[-1])
        overview = Overview(study, plan, agenda, on_progress)
        return carry_on(overview, place.confirmation, results_folder(path, name), resources)


def load_confirmation(
    study: Path | str, storage: str | None = None, name: str | None = None
) -> tuple[pd.DataFrame, Confirmation]:
    """The trainings of a confirmation, and what is confirmed.

    Parameters
    ----------
    study : Path or str
        The study file, or its folder.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.

    Returns
    -------
    DataFrame
        As `load_trials` gives it, with ``name`` and the measurements on the test split:
        ``test_loss`` in nats, ``test_accuracy``, and for text ``test_perplexity`` and
        ``test_bits_per_byte``.
    Confirmation

    Raises
    ------
    InvalidInput
        Where there is none yet.
    """
    path = study_path(study)
    place = place_of(path.parent, storage, name)
    try:
        optuna_study = open_study(place.confirmation)
        confirmation = _read(optuna_study)
    except InvalidInput:
        confirmation = None
    if confirmation is None:
        raise InvalidInput(
            f"{place} has no confirmation yet; begin with: dynamoe-search confirm {study}"
        )
    trials = table_of(
        optuna_study.get_trials(deepcopy=False),
        loss_alone(recorded_study_file(open_study(place), place)),
    )
    trials.insert(2, "name", trials["candidate"].map(confirmation.names))
    return trials, confirmation


def paired_results(trials: pd.DataFrame) -> pd.DataFrame:
    """Of each candidate and seed the one training that counts, for `compare_with_reference`.

    Parameters
    ----------
    trials : DataFrame
        As `load_confirmation` gives it.

    Returns
    -------
    DataFrame
        ``candidate``, ``replicate`` and ``loss``: the test loss, NaN where no attempt came to an
        end, be it that it diverged or that it is still to be tried again.
    """
    # Who was killed before a claim leaves a trial of nothing.
    claimed = trials[trials["replicate"].notna()]
    in_order = claimed.sort_values("trial").assign(ended=claimed["state"] == "complete")
    in_order = in_order.sort_values("ended", kind="stable")
    kept = in_order.drop_duplicates(["candidate", "replicate"], keep="last")
    return kept.rename(columns={"test_loss": "loss"}).reindex(
        columns=["candidate", "replicate", "loss"]
    )


def loss_alone(study_file: StudyFile) -> StudyFile:
    """The study file as a confirmation goes by: all that counts is the loss."""
    search = {"objectives": ("loss",), "constraints": (), "pruner": "none", "measure": ()}
    return study_file.model_copy(update={"search": study_file.search.model_copy(update=search)})


def confirmation_agenda(place: Place) -> ConfirmationAgenda | None:
    """What there is to confirm of a study; None where no confirmation has begun."""
    try:
        confirmation = _read(open_study(place.confirmation))
    except InvalidInput:
        return None
    if confirmation is None:
        return None
    return ConfirmationAgenda(tuple(confirmation.names), confirmation.seeds[-1])


def _read(study: optuna.Study) -> Confirmation | None:
    kept = study.user_attrs.get(_ATTRIBUTE)
    if kept is None:
        return None
    return Confirmation(kept["reference"], kept["names"], kept["margin"], tuple(kept["seeds"]))


def _fix(
    study: optuna.Study,
    plan: Plan,
    ledger: Ledger,
    in_order: list[str],
    seeds: int | None,
    margin: float | None,
) -> Confirmation:
    """What is confirmed: as it was fixed, but for more seeds; else by what the search has found."""
    begun = _read(study)
    settings = plan.study.definition()
    del settings["search"]
    kept = study.user_attrs.get(_SETTINGS, settings)
    if kept != settings:
        changed = [key for key in settings if settings[key] != kept.get(key)]
        raise InvalidInput(
            f"the study file was changed since its confirmation began ({', '.join(changed)}):"
            " its trainings cannot be compared with new ones; begin another study with --name"
        )
    study.set_user_attr(_SETTINGS, settings)
    if begun is None:
        confirmation = _choose(plan, ledger, in_order, seeds or SEEDS, margin)
    else:
        if margin is not None and margin != begun.margin:
            raise InvalidInput(
                f"--margin is {margin:g}, and the confirmation was begun with {begun.margin:g}; a"
                " margin must not be chosen by what it makes of the results"
            )
        raised = (seeds,) if seeds is not None and seeds > begun.seeds[-1] else ()
        confirmation = Confirmation(
            begun.reference, begun.names, begun.margin, (*begun.seeds, *raised)
        )
    if confirmation != begun:
        study.set_user_attr(_ATTRIBUTE, asdict(confirmation))
    return confirmation


def _choose(
    plan: Plan, ledger: Ledger, in_order: list[str], seeds: int, margin: float | None
) -> Confirmation:
    if not in_order:
        raise InvalidInput(
            "no training of this study is complete yet; finish it with: dynamoe-search run"
        )
    reference = in_order[0]
    margin = MARGIN if margin is None else margin
    if not 0 < margin < math.inf:
        raise InvalidInput(f"--margin is {margin:g}; give the loss that does not matter, above 0")
    names = dict.fromkeys(in_order[:FINALISTS], "")
    for name in PATTERNS_AND_UNIFORM:
        candidate = str(plan.baselines[name])
        names[candidate] = " = ".join(filter(None, (names.get(candidate), name)))
    names |= _dense_twins(plan, ledger)
    return Confirmation(reference, names, margin, (seeds,))


def _dense_twins(plan: Plan, ledger: Ledger) -> dict[str, str]:
    """The dense networks of as many total, and as many active, parameters as uniform."""
    uniform = plan.baselines["uniform"]
    network = plan.network_with(uniform)
    measured = [r["mean_active"] for r in ledger.results.get(str(uniform), {}).values()]
    mean_active = [float(k) for k in np.mean(measured, axis=0)] if measured else None
    twins: dict[str, str] = {}
    for match in ("active", "total"):
        twin = dense_baseline(network, "active" if match == "active" else "total", mean_active)
        assert isinstance(twin.blocks, Dense)
        parameters = parameter_count(twin).total
        twins[str(DenseBaseline(twin.blocks.hidden))] = (
            f"dense, {match} parameters ({parameters:,})"
        )
    return twins
