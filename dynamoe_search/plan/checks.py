"""What must fit together in a study file, beyond one section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import NONE
from dynamoe_search.specification import with_constants

if TYPE_CHECKING:
    from dynamoe_search.plan.study_file import StudyFile

_OF_TEXT = ("scale", "heads", "context", "key_value_heads", "query_key_norm")


def check_parts(study: StudyFile) -> None:
    """Raise `ValueError` where the data, the regime and the router do not fit."""
    given = study.model.model_fields_set
    of_text = [name for name in _OF_TEXT if name in given]
    if of_text and not study.data.is_text:
        raise ValueError(
            f"model.{of_text[0]} is for language models, and {study.data.name} is a set of"
            " images; leave it out"
        )
    if study.budget.regime == "paper":
        if study.search.family == "free":
            raise ValueError(
                "search.family free needs a total, and the regime paper has none; use blend,"
                " mixture or spline"
            )
        if study.search.contrast == 0:
            raise ValueError("search.contrast is 0; the regime paper needs it above 0")
    if study.model.dense_first and study.dense_hidden is None:
        raise ValueError(
            f"model.dense_first needs model.dense_hidden, since {study.router.name} sets no K"
        )
    if study.budget.regime == "compute" and study.own_active() is None:
        raise ValueError(
            f"the regime compute needs budget.active, since {study.router.name} sets no K"
        )


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
    if search.sampler == "exhaustive" and study.budget.minimum == 0:
        raise ValueError(
            "sampler exhaustive trains active schedules where every layer has experts; give"
            " budget.minimum 1 or more"
        )
    total = study.active * study.model.depth
    if abs(total - round(total)) > 1e-9:
        raise ValueError(
            f"search.active_family: {study.active:g} active experts in each of"
            f" {study.model.depth} layers are {total:g} in all; give a budget.active that makes"
            " it a whole number"
        )


def check_also(study: StudyFile) -> None:
    """Raise `ValueError` where what is searched next to the schedule does not fit."""
    also, matched = study.search.also, study.budget.regime == "compute"
    for name, interval in also.intervals().items():
        if matched or not hasattr(study.router, name):
            reason = "the regime compute holds K" if matched else f"{study.router.name} has none"
            raise ValueError(f"search.also.{name} cannot be searched: {reason}")
        for value in interval:
            try:
                with_constants(study.router, {name: value})
            except InvalidInput as error:
                raise ValueError(f"search.also.{name}: {error}") from error
    if also.hidden is not None and matched:
        raise ValueError(
            "search.also.hidden changes what an active expert costs, which the regime compute"
            " holds equal; use parameters or paper"
        )
    if also.hidden is not None and study.model.hidden not in also.hidden:
        raise ValueError(
            f"search.also.hidden must contain model.hidden, {study.model.hidden}, the width of"
            " the named patterns"
        )
    if study.search.sampler == "exhaustive" and (also.hidden or also.intervals()):
        raise ValueError("sampler exhaustive trains schedules only; leave out search.also")
    if study.search.sampler == "exhaustive" and study.budget.regime == "paper":
        raise ValueError("sampler exhaustive needs a total, and the regime paper has none")
    if matched and "active_flops" in study.search.objectives:
        raise ValueError("active_flops is held equal by the regime compute; leave it out")
