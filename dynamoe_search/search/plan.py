"""The plan of a study: everything that follows from its file and its data before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dynamoe_search.budgets import (
    Solution,
    experts_of,
    held_routers,
    parameter_count,
    solve_experts,
    with_schedule,
)
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    PATTERNS_AND_UNIFORM,
    Family,
    Profile,
    Schedule,
    allocate,
    alpha_lora_profile,
    make_family,
    pattern_profile,
    preset_profile,
    stretch,
)
from dynamoe_search.search.study_file import StudyFile
from dynamoe_search.specification import Classifier, Experts, LanguageModel, Specification

ALPHA_LORA = "alpha_lora"


@dataclass(frozen=True)
class Plan:
    """What a study will do.

    Parameters
    ----------
    study : StudyFile
    network : Classifier or LanguageModel
        The proxy; its schedule is uniform's.
    solution : Solution or None
        The experts that the budget buys, and the residual; None in the regime `paper`, which holds
        nothing equal.
    family : Family
        What the search moves in.
    baselines : dict of str to Schedule
        Each named pattern, uniform, and the presets that the study lists, in the order in which
        they are trained.
    """

    study: StudyFile
    network: Specification
    solution: Solution | None
    family: Family
    baselines: dict[str, Schedule]

    @property
    def depth(self) -> int:
        """The number of layers."""
        return self.study.model.depth

    def schedule(self, parameters: Mapping[str, float]) -> Schedule:
        """The schedule that the family's parameters stand for, at the study's budget."""
        total = self.solution.experts if self.solution else None
        return _schedule_of(self.family.profile(parameters, self.depth), self.study, total)

    def network_with(self, schedule: Schedule) -> Specification:
        """The proxy with another schedule, its routers held as the regime asks."""
        network = with_schedule(self.network, schedule)
        if self.study.budget.regime != "compute":
            return network
        routers = held_routers(self.study.router, schedule, self.study.active)
        return replace(network, blocks=replace(experts_of(network), router=routers))

    def seed(self, replicate: int) -> int:
        """The seed of a replicate: the same for every schedule, so that they can be paired."""
        return int(np.random.SeedSequence([self.study.seed, replicate]).generate_state(1)[0])


def make_plan(study: StudyFile, data: ImageData | TextData) -> Plan:
    """Work out a study for its data.

    Raises
    ------
    InvalidInput
        Where the budget cannot be met.
    """
    budget, search = study.budget, study.search
    network = _network(study, data)
    solution = _solve(study, network)
    total = solution.experts if solution else None
    baselines = baseline_schedules(study, total)
    network = with_schedule(network, baselines["uniform"])
    family = make_family(search.family, total or 1, budget.minimum, budget.maximum, search.contrast)
    plan = Plan(study, network, solution, family, baselines)
    for name, schedule in baselines.items():
        try:
            plan.network_with(schedule)
        except InvalidInput as error:
            raise InvalidInput(f"budget.active: {error} ({name})") from error
    return plan


def baseline_schedules(study: StudyFile, total: int | None) -> dict[str, Schedule]:
    """The schedules by name that a study trains before it searches.

    Parameters
    ----------
    study : StudyFile
    total : int or None
        The experts to hand out; None in the regime `paper`.

    Raises
    ------
    InvalidInput
        Where the total lies outside the bounds of the study's budget.
    """
    depth, contrast = study.model.depth, study.search.contrast
    profiles = {name: pattern_profile(name, depth, contrast) for name in PATTERNS_AND_UNIFORM}
    profiles |= {name: preset_profile(name, depth) for name in study.search.presets}
    if study.search.alpha_lora is not None:
        if len(study.search.alpha_lora) != depth:
            raise InvalidInput(
                f"search.alpha_lora: {len(study.search.alpha_lora)} scores are given for"
                f" {depth} layers"
            )
        profiles[ALPHA_LORA] = alpha_lora_profile(study.search.alpha_lora)
    return {name: _schedule_of(profile, study, total) for name, profile in profiles.items()}


def names_of(baselines: Mapping[str, Schedule]) -> dict[str, str]:
    """The name of each schedule that is a baseline; where several coincide, all their names."""
    names: dict[str, list[str]] = {}
    for name, schedule in baselines.items():
        names.setdefault(str(schedule), []).append(name)
    return {schedule: " = ".join(same) for schedule, same in names.items()}


def _network(study: StudyFile, data: ImageData | TextData) -> Specification:
    model = study.model
    thinnest = Schedule((study.budget.minimum,) * model.depth)
    blocks = Experts(model.hidden, thinnest, study.router, study.balance)
    if isinstance(data, ImageData):
        return Classifier(data.inputs, data.classes, model.width, blocks)
    return LanguageModel(data.vocabulary, data.context, model.width, model.heads, blocks)


def _solve(study: StudyFile, network: Specification) -> Solution | None:
    """The experts to hand out; None where the regime holds nothing equal."""
    budget = study.budget
    if budget.regime == "paper":
        return None
    if budget.parameters is not None:
        try:
            return solve_experts(network, budget.parameters, budget.minimum, budget.maximum)
        except InvalidInput as error:
            raise InvalidInput(f"budget.parameters: {error}") from error
    assert budget.experts is not None  # the study file asks for one of the two
    try:
        spread = allocate([1.0] * study.model.depth, budget.experts, budget.minimum, budget.maximum)
    except InvalidInput as error:
        raise InvalidInput(f"budget.experts: {error}") from error
    count = parameter_count(with_schedule(network, spread)).total
    return Solution(budget.experts, count, 0)


def _schedule_of(profile: Profile, study: StudyFile, total: int | None) -> Schedule:
    budget = study.budget
    if total is not None:
        return allocate(profile, total, budget.minimum, budget.maximum)
    assert budget.maximum is not None  # the study file asks for it in the regime `paper`
    return stretch(profile, budget.minimum, budget.maximum, study.search.contrast)
