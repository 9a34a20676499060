"""The scales of a ladder: larger studies of the same question, and the same candidates at each.

Scale 1 is the study's own size; `growth` g is the factor from one scale to the next. At scale s,
with f = g^(s - 1):

- width, hidden and dense_hidden are f times as large, rounded; with attention heads the width is a
  multiple of 2 heads, whose number stays;
- depth is f times as large, rounded, and so is the total of experts: experts per layer, K, shared
  experts and dense blocks that come first stay;
- the passes over the data grow as the total parameters do (training.flops as their square), so
  that tokens grow with parameters; the recipe, its learning rate and the batch stay.

A named baseline follows its own rule at each depth. Another candidate is stretched: its experts per
layer, and its active experts, are interpolated over the depth coordinate u, and allocated under the
new total, which so stays exactly equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.allotment import active_schedules_of, schedules_of
from dynamoe_search.plan.baselines import is_pattern, names_of
from dynamoe_search.plan.candidate import Candidate, DenseBaseline, parse_candidate
from dynamoe_search.plan.confirmation import Contender
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import interpolate_counts

GROWTH = 2**0.5
SCALES = 3
REFERENCE = "uniform"
# What a scale takes from the section search: what its candidates and baselines depend on.
_KEPT = ("family", "active_family", "contrast", "presets", "active_presets", "also")


def labels_to_compare(
    plan: Plan, in_order: Sequence[str], finalists: int, baselines: Sequence[str] | None
) -> tuple[str, ...]:
    """What a ladder compares: the study's best, then uniform and other baselines.

    Parameters
    ----------
    plan : Plan
        The study's.
    in_order : sequence of str
        Its candidates, the best first.
    finalists : int
        How many of these.
    baselines : sequence of str, optional
        Names of the study's baselines next to uniform; all named patterns where it is None.

    Returns
    -------
    tuple of str
        Names of baselines, and other candidates as text. None of them twice.

    Raises
    ------
    InvalidInput
        Where a name is unknown, or nothing is left to compare with uniform.
    """
    wanted = list(filter(is_pattern, plan.baselines)) if baselines is None else list(baselines)
    if unknown := [name for name in wanted if name not in plan.baselines]:
        raise InvalidInput(
            f"the study has no baseline {unknown[0]!r}; it has {', '.join(plan.baselines)}"
        )
    first_name = {text: names.split(" = ")[0] for text, names in names_of(plan.baselines).items()}
    found = [first_name.get(text, text) for text in in_order[:finalists]]
    labels = tuple(dict.fromkeys([*found, REFERENCE, *wanted]))
    if len({str(candidate_of(label, plan, plan)) for label in labels}) < 2:
        raise InvalidInput(
            "there is nothing to compare with uniform; finish the search, or name baselines that"
            " differ from it"
        )
    return labels


def candidate_of(label: str, study: Plan, plan: Plan) -> Candidate:
    """A label's candidate at the scale of a plan: a baseline by its rule, another one stretched.

    Parameters
    ----------
    label : str
        As `labels_to_compare` gives it.
    study, plan : Plan
        Of the study, and of the scale.
    """
    if label in study.baselines and label in plan.baselines:
        return plan.baselines[label]
    given = study.baselines.get(label) or parse_candidate(label)
    if isinstance(given, DenseBaseline) or given.schedule.depth != study.depth:
        raise InvalidInput(f"{label} is no candidate of {study.depth} layers of experts")
    assert plan.solution is not None  # a ladder asks for a total
    # A dense layer takes the place of K experts.
    spent = [count or study.study.dense_experts for count in given.schedule]
    profile = interpolate_counts(spent, plan.depth)
    schedule = schedules_of([profile], plan.study, plan.solution.experts)[0]
    active = None
    if given.active is not None:
        shape = interpolate_counts(given.active.counts, plan.depth)
        active = active_schedules_of([shape], [schedule], plan.study)[0]
    return Candidate(schedule, given.settings, active)


def contenders_of(labels: Sequence[str], study: Plan, plan: Plan) -> tuple[Contender, ...]:
    """The candidates to train at a scale, each with its labels as its `baselines`."""
    by_candidate: dict[str, list[str]] = {}
    for label in labels:
        by_candidate.setdefault(str(candidate_of(label, study, plan)), []).append(label)
    return tuple(
        Contender(candidate, " = ".join(same), _group(same, study), tuple(same))
        for candidate, same in by_candidate.items()
    )


def _group(labels: Sequence[str], study: Plan) -> str:
    if REFERENCE in labels:
        return "uniform"
    return "pattern" if any(label in study.baselines for label in labels) else "searched"


def scale_of_study(
    study: StudyFile, scale: int, growth: float, data: DataShape
) -> tuple[dict[str, Any], StudyFile]:
    """The study file of a scale, by the rules of the module: as a file has it, and validated.

    Parameters
    ----------
    study : StudyFile
        Its section search is left out, but for what its candidates depend on.
    scale : int
        From 1.
    growth : float
        Above 0, and not 1; below 1 the scales are smaller ones.
    data : DataShape

    Raises
    ------
    InvalidInput
        Where the study has no total of experts, or several expert widths; or a size cannot be.
    """
    if study.budget.regime == "paper":
        raise InvalidInput(
            "a ladder compares candidates of equal total parameters, and the regime paper holds no"
            " total; take the regime parameters or compute"
        )
    if study.search.also.hidden is not None:
        raise InvalidInput(
            "the study searches expert widths (search.also.hidden), and no other scale has exactly"
            " equal parameters at each of them; a ladder takes a study of one width"
        )
    if not 0.25 <= growth <= 4 or growth == 1:
        raise InvalidInput(f"growth is {growth:g}; give a factor from 0.25 to 4, and not 1")
    factor = growth ** (scale - 1)
    own = make_plan(study, data)
    content = _without_none(study.model_dump(mode="json", exclude_unset=True))
    content["model"] = _grown_model(content["model"], study, factor)
    content["budget"] = _grown_budget(content["budget"], study, own, content["model"]["depth"])
    content["search"] = {key: content["search"][key] for key in _KEPT if key in content["search"]}
    content["search"]["runs"] = 1
    if scale > 1:
        solution = make_plan(_validated(content, scale), data).solution
        assert solution is not None
        assert own.solution is not None
        more = solution.parameters / own.solution.parameters
        content["training"] = _more_training(content.get("training", {}), study, more)
    return content, _validated(content, scale)


def _grown_model(model: dict[str, Any], study: StudyFile, factor: float) -> dict[str, Any]:
    of_head = 2 * study.model.heads if study.data.is_text and study.model.heads else 1
    sizes = {
        "depth": max(1, round(study.model.depth * factor)),
        "width": max(1, round(study.model.width * factor / of_head)) * of_head,
        "hidden": max(1, round(study.model.hidden * factor)),
    }
    if study.model.dense_hidden is not None:
        sizes["dense_hidden"] = max(1, round(study.model.dense_hidden * factor))
    return {key: value for key, value in model.items() if key != "scale"} | sizes


def _grown_budget(
    budget: dict[str, Any], study: StudyFile, own: Plan, depth: int
) -> dict[str, Any]:
    assert own.solution is not None
    step = study.budget.step
    experts = round(own.solution.experts / own.depth * depth / step) * step
    kept = {key: value for key, value in budget.items() if key != "parameters"}
    return kept | {"experts": experts}


def _more_training(training: dict[str, Any], study: StudyFile, more: float) -> dict[str, Any]:
    settings = study.training
    if settings.flops is not None:
        return training | {"flops": settings.flops * more**2}
    assert settings.epochs is not None
    return training | {"epochs": max(1, round(settings.epochs * more))}


def _without_none(content: dict[str, Any]) -> dict[str, Any]:
    """Nested tables without what is not given, which TOML cannot write."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in content.items()
        if value is not None
    }


def _validated(content: dict[str, Any], scale: int) -> StudyFile:
    try:
        return StudyFile.model_validate_json(json.dumps(content))
    except ValueError as error:
        raise InvalidInput(f"scale {scale} of the ladder cannot be built: {error}") from error
