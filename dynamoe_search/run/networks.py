"""The networks of a study: what each is, and those that were trained, kept or trained again."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamoe_search.bounds.budget import ExpertBudget
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import check_data, recorded_study_file
from dynamoe_search.log.records import Claim, claim_of, read_ledger, state_of
from dynamoe_search.log.storage import open_study, place_of
from dynamoe_search.models import Model
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import study_path
from dynamoe_search.run.run import check_device, results_folder
from dynamoe_search.run.worker import about_model, load_study_data, model_path
from dynamoe_search.search.assignment import leaders
from dynamoe_search.specification import FixedRouter, Router, TopK, with_constants
from dynamoe_search.training.checkpoint import load_model, read_about, save_model
from dynamoe_search.training.evaluation import evaluate
from dynamoe_search.training.loop import Data, train
from dynamoe_search.training.settings import CurvePoint, Precision

_STAGE = "trial"
_SAME_LOSS = 1e-3  # of the network that was kept, on whatever machine it is measured


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that a search has trained.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    data : ImageData or TextData
        What it was trained on.
    plan : Plan
        That of the study.
    trial : int
    candidate : str
    replicate, seed : int
    recorded_loss : float
        On the validation split, in nats.
    path : Path
        Where it is kept.
    loss_again : float or None
        The same, where it had to be trained again: equal on the same machine and versions.
    """

    model: Model
    data: Data
    plan: Plan
    trial: int
    candidate: str
    replicate: int
    seed: int
    recorded_loss: float
    path: Path
    loss_again: float | None


def load_plan(
    study: Path,
    data_directory: Path | None = None,
    storage: str | None = None,
    name: str | None = None,
) -> Plan:
    """The plan of a study that was begun, from its records.

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    data_directory : Path, optional
        Where data files are; see `dynamoe_search.data.load_data`.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.

    Raises
    ------
    InvalidInput
        Where there is no such study, or its data are missing.
    """
    place = place_of(study_path(study).parent, storage, name)
    records = open_study(place)
    study_file = recorded_study_file(records, place)
    data = load_study_data(study_file, data_directory)
    check_data(records, data, place)
    return make_plan(study_file, data)


def expert_budget(plan: Plan) -> ExpertBudget | None:
    """The budget of experts that all candidates of a study share.

    None where they share none: in the regime `paper`, where the router or the expert width is
    searched, and where layers can be smaller than the K that `compute` holds on average.
    """
    study = plan.study
    if plan.solution is None or study.search.also.hidden or study.search.also.intervals():
        return None
    router = study.router
    if study.budget.regime == "compute":
        held = _of_every_layer(router, study.active)
        if held is None or study.budget.minimum < study.active:
            return None
        router = held
    return ExpertBudget(
        plan.depth,
        plan.solution.experts,
        study.model.width,
        study.model.hidden,
        router,
        study.budget.minimum,
        study.budget.maximum,
        study.training.batch * (study.model.context if study.data.is_text else 1),
    )


def _of_every_layer(router: Router, active: float) -> Router | None:
    """The router that holds a mean K, where it is the same in every layer."""
    if not isinstance(router, FixedRouter):
        return with_constants(router, {"target": active})
    if isinstance(router, TopK) and active == int(active):
        return with_constants(router, {"k": active})
    return None


def trained_network(
    study: Path,
    trial: int | None = None,
    candidate: str | None = None,
    data_directory: Path | None = None,
    device: str = "cpu",
    storage: str | None = None,
    name: str | None = None,
    on_start: Callable[[int, str], None] = lambda trial, candidate: None,
    on_evaluation: Callable[[CurvePoint, Model, Data, Precision], None] | None = None,
) -> TrainedNetwork:
    """A network of a search: that which was kept, or the same, trained again and kept.

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    trial : int, optional
        Which; the first replicate of the candidate, or of the leader, where it is None.
    candidate : str, optional
        A schedule such as ``8-6-4-2``, with its settings where these are searched.
    data_directory : Path, optional
        Where data files are; see `dynamoe_search.data.load_data`.
    device : str
        The torch device.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.
    on_start : callable
        Told the trial and the candidate before a training.
    on_evaluation : callable, optional
        Called with each point of the learning curve, the network, the data and the precision; then
        it is trained again in any case.

    Raises
    ------
    InvalidInput
        Where there is no such study, trial or candidate, or its training was not completed.
    """
    place = place_of(study_path(study).parent, storage, name)
    records = open_study(place)
    study_file = recorded_study_file(records, place)
    trials = records.get_trials(deepcopy=False)
    claims = {
        one.number: claim
        for one in trials
        if state_of(one) == "complete" and (claim := claim_of(one)) is not None
    }
    if not claims:
        raise InvalidInput("no training of this study is complete yet")
    if trial is None:
        if candidate is None:
            candidate = leaders(read_ledger(trials), study_file.search)[0]
        trial = _first_of(str(parse_candidate(candidate)), claims)
    elif trial not in claims:
        state = state_of(trials[trial]) if 0 <= trial < len(trials) else "missing"
        raise InvalidInput(
            f"trial {trial} is {state}; choose one that is complete, from 0 to {max(claims)}:"
            " dynamoe-search leaderboard lists the candidates"
        )
    claim, recorded = claims[trial], trials[trial].user_attrs["result"]["validation_loss"]
    check_device(device)
    data = load_study_data(study_file, data_directory, device)
    check_data(records, data, place)
    plan = make_plan(study_file, data)
    folder = results_folder(study, name)
    path, about = model_path(folder, _STAGE, trial), about_model(folder, _STAGE, trial, claim, data)
    kept = _kept_network(path, about, data, study_file.training.precision, recorded, device)
    if kept is not None and on_evaluation is None:
        model, again = kept, None
    else:
        on_start(trial, claim.candidate)
        observe = on_evaluation or (lambda *seen: None)
        precision = study_file.training.precision
        result = train(
            plan.network_with(parse_candidate(claim.candidate)),
            data,
            study_file.training,
            claim.seed,
            on_evaluation=lambda point, model: observe(point, model, data, precision),
        )
        model, again = result.model, result.validation.loss
        if kept is None and again == recorded:
            # To look at a network, it need not be possible to keep it.
            with suppress(OSError, InvalidInput):
                path.parent.mkdir(parents=True, exist_ok=True)
                save_model(model, path, about)
    return TrainedNetwork(
        model=model,
        data=data,
        plan=plan,
        trial=trial,
        candidate=claim.candidate,
        replicate=claim.replicate,
        seed=claim.seed,
        recorded_loss=recorded,
        path=path,
        loss_again=again,
    )


def _kept_network(
    path: Path, about: dict[str, Any], data: Data, precision: Precision, loss: float, device: str
) -> Model | None:
    """The network that was kept of a trial, if it is that one."""
    try:
        if read_about(path) != about:
            return None
        model = load_model(path, device)
    except InvalidInput:
        return None
    # Records that were begun anew have other networks of the same trials.
    found = evaluate(model, data.validation, precision).loss
    return model if math.isclose(found, loss, rel_tol=_SAME_LOSS) else None


def _first_of(candidate: str, claims: dict[int, Claim]) -> int:
    own = {one.replicate: trial for trial, one in claims.items() if one.candidate == candidate}
    if not own:
        known = sorted({claim.candidate for claim in claims.values()})
        raise InvalidInput(
            f"{candidate} was not trained to its end in this study; {len(known)} candidates were,"
            f" such as {', '.join(known[:3])}: dynamoe-search leaderboard lists them"
        )
    return own[min(own)]
