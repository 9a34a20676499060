"""What must fit together in a study file, beyond one section: dense layers and active schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.schedules import NONE

if TYPE_CHECKING:
    from dynamoe_search.plan.study_file import StudyFile


def check_dense_layers(study: StudyFile) -> None:
    """Raise `ValueError` where layers may be dense, and it is not clear how large they are."""
    budget, also = study.budget, study.search.also
    if budget.minimum > 0:
        return
    active = study.own_active()
    if active is None or active != int(active):
        raise ValueError(
            "budget.minimum 0 needs a whole number of active experts K, since a dense layer is as"
            f" large as K experts, and {'none' if active is None else active} is set: give the"
            " router its k or target, or budget.active in the regime compute"
        )
    if also.hidden or also.intervals():
        raise ValueError(
            "budget.minimum 0 fixes what a dense layer costs, and search.also changes it; leave"
            " one of them out"
        )
    if int(active) % budget.step:
        raise ValueError(
            f"budget.minimum 0: a dense layer takes the place of {int(active)} experts, which is no"
            f" multiple of budget.step, {budget.step}"
        )


def check_active_family(study: StudyFile) -> None:
    """Raise `ValueError` where an active schedule cannot be searched."""
    search = study.search
    if search.active_family == NONE:
        return
    if study.budget.regime != "compute":
        raise ValueError(
            f"search.active_family needs the regime compute, which holds the mean K; this is"
            f" {study.budget.regime}"
        )
    total = study.active * study.model.depth
    if abs(total - round(total)) > 1e-9:
        raise ValueError(
            f"search.active_family: {study.active:g} active experts in each of"
            f" {study.model.depth} layers are {total:g} in all; give a budget.active that makes"
            " it a whole number"
        )
