"""Helping with a study that was begun elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import check_data, recorded_study_file
from dynamoe_search.log.storage import Place, names_at, open_study
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.run.confirm import confirmation_agenda, loss_alone
from dynamoe_search.run.progress import Overview, Progress
from dynamoe_search.run.run import Outcome, Resources, carry_on
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.search.agenda import SearchAgenda


def join_study(
    storage: str,
    name: str | None = None,
    resources: Resources = Resources(),
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Help with a study, or with its confirmation where that has begun, until nothing is left.

    Parameters
    ----------
    storage : str
        The address of its records.
    name : str, optional
        The study's name there; the only one where it is None.
    resources, on_start, on_progress
        As in `dynamoe_search.run.run.run_study`.

    Raises
    ------
    InvalidInput
        Where there is no such study, or the data here are not those that it was begun with.
    RunFailed
        As in `dynamoe_search.run.run.run_study`.
    """
    place = Place(storage, name or _only_name(storage))
    study = open_study(place)
    study_file = recorded_study_file(study, place)
    data = load_study_data(study_file, resources.data_directory)
    check_data(study, data, place)
    folder = Path(place.name)
    overview = Overview(
        study, make_plan(study_file, data), SearchAgenda(study_file.search), on_progress
    )
    confirmation = confirmation_agenda(place)
    if confirmation is not None:
        confirming = Overview(
            open_study(place.confirmation),
            make_plan(loss_alone(study_file), data),
            confirmation,
            on_progress,
        )
        if not confirming.is_over(confirming.ledger()):
            overview, place = confirming, place.confirmation
    on_start(overview.plan)
    return carry_on(overview, place, folder, resources)


def _only_name(storage: str) -> str:
    place = Place(storage, "")
    names = names_at(place)
    if not names:
        raise InvalidInput(
            f"{place} holds no study; begin one with: dynamoe-search run STUDY --storage and the"
            " same address"
        )
    if len(names) > 1:
        raise InvalidInput(f"{place} holds {', '.join(names)}; choose one with --name")
    return names[0]
