"""From profiles to a study's schedules: experts per layer, and active experts per layer.

Where `budget.minimum` is 0, layers may be dense. A dense layer is a block that costs as much as K
experts with their rows of the router, and so it takes the place of K experts: layers are allotted
at least K, and one that gets no more than K is dense. So the total stays exactly equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import Profile, Schedule, allocate, allocate_batch, stretch
from dynamoe_search.specification import largest_active


def schedules_of(
    profiles: Sequence[Profile], study: StudyFile, total: int | None
) -> list[Schedule]:
    """The schedule of each profile.

    Parameters
    ----------
    profiles : sequence of ndarray of float64, shape (depth,)
    study : StudyFile
    total : int or None
        The experts of all layers together, where a dense layer counts as K; None in the regime
        `paper`, which holds none.
    """
    if total is not None:
        rows = allocate_batch(profiles, total, *study.limits)
        return [placed(Schedule(tuple(row)), study) for row in rows.tolist()]
    minimum, maximum, step = study.limits
    assert maximum is not None  # the study file asks for it in the regime `paper`
    span = minimum, maximum, study.search.contrast, step
    return [stretch(profile, *span) for profile in profiles]


def placed(schedule: Schedule, study: StudyFile) -> Schedule:
    """A schedule in which layers that were allotted no more than K experts are dense."""
    if study.budget.minimum > 0:
        return schedule
    return Schedule(tuple(0 if count == study.dense_experts else count for count in schedule))


def experts_spent(schedule: Schedule, study: StudyFile) -> int:
    """The experts of all layers together, where a dense layer counts as K."""
    return schedule.total + study.dense_experts * schedule.counts.count(0)


def active_schedules_of(
    profiles: Sequence[Profile], schedules: Sequence[Schedule], study: StudyFile
) -> list[Schedule]:
    """The active schedule of each profile: whole K_l of the study's mean, at most what N_l allows.

    A dense layer has the mean K itself, which is its width in experts.

    Parameters
    ----------
    profiles : sequence of ndarray of float64, shape (depth,)
    schedules : sequence of Schedule
        The experts of each layer, a schedule for each profile.
    study : StudyFile
        Of the regime `compute`.
    """
    maxima = [[largest_active(study.router, n) for n in schedule] for schedule in schedules]
    if all(all(schedule) for schedule in schedules):
        total = round(study.active * study.model.depth)
        rows = allocate_batch(profiles, total, 1, maxima).tolist()
        return [Schedule(tuple(row)) for row in rows]
    return [
        _around_dense_layers(np.asarray(profile), schedule, most, round(study.active))
        for profile, schedule, most in zip(profiles, schedules, maxima, strict=True)
    ]


def _around_dense_layers(
    profile: Profile, schedule: Schedule, maxima: Sequence[int], mean: int
) -> Schedule:
    layers = list(schedule.layers_with_experts)
    most = [maxima[layer] for layer in layers]
    counts = [mean] * schedule.depth
    for layer, active in zip(
        layers, allocate(profile[layers], mean * len(layers), 1, most), strict=True
    ):
        counts[layer] = active
    return Schedule(tuple(counts))
