"""A pilot: some training runs of about a minute, to see what a study will be able to decide."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.plan.baselines import is_pattern
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.networks import one_thread_here
from dynamoe_search.training.loop import NonFiniteLoss, train

AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Variant:
    """A study, or one that differs from it in the size of the proxy.

    Parameters
    ----------
    name : str
    plan : Plan
    results : DataFrame
        ``candidate``, ``seed`` and ``loss``.
    seconds : float
        Of one training run, on one core.
    """

    name: str
    plan: Plan
    results: pd.DataFrame
    seconds: float


def run_pilot(
    study_file: StudyFile,
    data: ImageData | TextData,
    seconds: float,
    on_run: Callable[[str, float], None] = lambda what, fraction: None,
) -> list[Variant]:
    """Train named patterns on two seeds or more: of the study, and of other proxies.

    The study itself comes first, with at least two patterns that differ, then, if time allows, a
    proxy of half as many layers, and one that is half as wide again. None begins that would not be
    done in time. All are trained on one seed block; on two where a block is a single seed.

    Parameters
    ----------
    study_file : StudyFile
    data : ImageData or TextData
    seconds : float
        How long it may take; two patterns are trained in any case.
    on_run : callable
        Told what is trained next, and the part of the time that has passed.

    Raises
    ------
    InvalidInput
        Where all named patterns of the study are the same schedule.
    RunFailed
        Where a run diverges.
    """
    begin, found = time.monotonic(), list[Variant]()

    def left() -> float:
        return seconds - (time.monotonic() - begin)

    with one_thread_here():
        for name, plan in _variants(study_file, data):
            share = left() / 2 if name == AS_IT_IS else left()
            blocks = range(1 if plan.study.training.seeds > 1 else 2)
            if found and 2 * len(blocks) * found[0].seconds > share:
                break
            results, spent = list[dict[str, object]](), list[float]()  # by pattern
            own = time.monotonic()
            for pattern in _patterns(plan):
                in_time = time.monotonic() - own + max(spent, default=0.0) <= share
                if len(spent) >= 2 and not in_time:
                    break
                on_run(f"{name}: {pattern}", min(1.0, 1 - left() / seconds))
                start = time.monotonic()
                for block in blocks:
                    results += _train(plan, data, pattern, block)
                spent.append(time.monotonic() - start)
            mean = sum(spent) / len(spent) / len(blocks)
            found.append(Variant(name, plan, pd.DataFrame(results), mean))
    return found


def _train(
    plan: Plan, data: ImageData | TextData, pattern: str, block: int
) -> list[dict[str, object]]:
    candidate = plan.baselines[pattern]
    try:
        result = train(plan.network_with(candidate), data, plan.study.training, plan.seeds(block))
    except NonFiniteLoss as error:
        raise RunFailed(f"the pilot's {pattern} diverged: {error}; lower learning_rate") from error
    return [
        {"candidate": str(candidate), "seed": one.seed, "loss": one.validation.loss}
        for one in result.of_seeds
    ]


def _patterns(plan: Plan) -> list[str]:
    """The named patterns and uniform; of those that are the same schedule, the first."""
    first: dict[str, str] = {}
    for name in filter(is_pattern, plan.baselines):
        first.setdefault(str(plan.baselines[name]), name)
    return list(first.values())


def _variants(study_file: StudyFile, data: ImageData | TextData) -> Iterator[tuple[str, Plan]]:
    plan = make_plan(study_file, data)
    if len(_patterns(plan)) < 2:
        raise InvalidInput(
            f"all named patterns are {plan.baselines['uniform']}: a pilot has nothing to compare;"
            " give more layers, more experts or more search.contrast"
        )
    yield AS_IT_IS, plan
    model = study_file.model
    if plan.solution is None:  # the regime paper holds no total that could be scaled
        return
    for name, depth, width in (
        ("of half as many layers", model.depth // 2, model.width),
        ("that is half as wide again", model.depth, model.width * 3 // 2),
    ):
        try:
            step = study_file.budget.step
            experts = plan.solution.experts * depth // model.depth // step * step
            other = make_plan(_resized(study_file, depth, width, experts), data)
        except InvalidInput:
            continue  # such a proxy cannot be built
        if len(_patterns(other)) >= 2:
            yield name, other


def _resized(study_file: StudyFile, depth: int, width: int, experts: int) -> StudyFile:
    content = study_file.model_dump(mode="json", exclude_unset=True)
    sizes = {"depth": depth, "width": width, "hidden": study_file.model.hidden}
    content["model"] = content["model"] | sizes
    content["budget"] = content["budget"] | {"parameters": None, "experts": experts}
    content["search"] = {**content["search"], "presets": [], "alpha_lora": None}
    try:
        return StudyFile.model_validate_json(json.dumps(content))
    except ValueError as error:
        raise InvalidInput(str(error)) from error
