"""The plan of a study: everything that follows from its file and its data before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from dynamoe_search.budgets import (
    Solution,
    equal_widths,
    experts_of,
    held_routers,
    parameter_count,
    solve_experts,
    with_schedule,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import Candidate, DenseBaseline, with_settings
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import (
    PATTERNS_AND_UNIFORM,
    Family,
    Profile,
    Schedule,
    allocate,
    allocate_batch,
    alpha_lora_profile,
    count_schedules,
    make_family,
    pattern_profile,
    preset_profile,
    stretch,
)
from dynamoe_search.specification import (
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Specification,
    Style,
    with_constants,
)

if TYPE_CHECKING:
    from dynamoe_search.data import ImageData, TextData

ALPHA_LORA = "alpha_lora"
_MOST_TO_ENUMERATE = 10_000
_MOST_WIDTHS = 8  # in a message
_GOOD_WIDTHS: dict[Style, str] = {
    "paper": ": 2 hidden + 1 should have many divisors, as 52 or 157 do",
    "modern": ": 3 hidden + 1 should have many divisors, as 53 or 93 do",
}


@dataclass(frozen=True)
class DataShape:
    """What a study's network depends on in its data.

    Parameters
    ----------
    inputs, classes : int
        Of images; 0 for text.
    vocabulary, context : int
        Of text; 0 for images.
    """

    inputs: int = 0
    classes: int = 0
    vocabulary: int = 0
    context: int = 0

    @staticmethod
    def of(data: ImageData | TextData) -> DataShape:
        """The shape of loaded data."""
        names = (field.name for field in fields(DataShape))
        return DataShape(**{name: getattr(data, name, 0) for name in names})


@dataclass(frozen=True)
class Plan:
    """What a study will do.

    Parameters
    ----------
    study : StudyFile
    network : Classifier or LanguageModel
        The proxy; its schedule is uniform's, after 0 for each dense block that comes first.
    solution : Solution or None
        The experts that the budget buys, and the residual; None in the regime `paper`, which holds
        nothing equal.
    family : Family
        The profiles among which the search moves.
    baselines : dict of str to Candidate
        Each named pattern, uniform, and the presets that the study lists, in the order in which
        they are trained.
    totals : dict of int to int
        The experts of all layers together, by expert width; empty in the regime `paper`.
    """

    study: StudyFile
    network: Specification
    solution: Solution | None
    family: Family
    baselines: dict[str, Candidate]
    totals: dict[int, int]

    @property
    def depth(self) -> int:
        """The number of layers of experts."""
        return self.study.model.depth

    def candidate(
        self, parameters: Mapping[str, float], settings: Mapping[str, float]
    ) -> Candidate:
        """The candidate of a family's parameters and of settings, at the study's budget."""
        return self.candidates([(parameters, settings)])[0]

    def candidates(
        self, points: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]
    ) -> list[Candidate]:
        """As `candidate`, for many parameters and settings at once, which takes less time."""
        model = self.study.model
        totals = [self.totals.get(int(of.get("hidden", model.hidden))) for _, of in points]
        profiles = [self.family.profile(parameters, self.depth) for parameters, _ in points]
        schedules: dict[int, Schedule] = {}
        for total in set(totals):
            some = [place for place, one in enumerate(totals) if one == total]
            found = _schedules_of([profiles[place] for place in some], self.study, total)
            schedules.update(zip(some, found, strict=True))
        return [with_settings(schedules[place], of) for place, (_, of) in enumerate(points)]

    def network_with(self, candidate: Candidate | DenseBaseline) -> Specification:
        """The proxy of a candidate; in the regime `compute` its routers hold the mean K."""
        if isinstance(candidate, DenseBaseline):
            return replace(self.network, blocks=Dense(candidate.hidden))
        schedule, settings = candidate.schedule, dict(candidate.settings)
        hidden = int(settings.pop("hidden", self.study.model.hidden))
        router = with_constants(self.study.router, settings)
        whole = _with_dense_first(schedule, self.study)
        blocks = replace(experts_of(self.network), schedule=whole, hidden=hidden, router=router)
        if self.study.budget.regime == "compute":
            routers = held_routers(router, whole, self.study.active)
            blocks = replace(blocks, router=routers)
        return replace(self.network, blocks=blocks)

    def seeds(self, block: int) -> tuple[int, ...]:
        """The seeds of a block: the same for every schedule, so that they can be paired."""
        return self._seeds(block, ())

    def confirmation_seeds(self, block: int) -> tuple[int, ...]:
        """The seeds of a block of the confirmation, which the search has never used."""
        return self._seeds(block, (1,))

    def _seeds(self, block: int, spawn_key: tuple[int, ...]) -> tuple[int, ...]:
        number = self.study.training.seeds
        sequences = [
            np.random.SeedSequence([self.study.seed, place], spawn_key=spawn_key)
            for place in range(block * number, (block + 1) * number)
        ]
        return tuple(int(sequence.generate_state(1)[0]) for sequence in sequences)


def make_plan(study: StudyFile, data: ImageData | TextData | DataShape) -> Plan:
    """Make the plan of a study for its data.

    Raises
    ------
    InvalidInput
        Where the budget cannot be met.
    """
    budget, search = study.budget, study.search
    network = _network(study, data)
    solution = _solve(study, network)
    total = solution.experts if solution else None
    if search.sampler == "exhaustive":
        _check_that_all_can_be_trained(study, total)
    schedules = baseline_schedules(study, total)
    network = with_schedule(network, _with_dense_first(schedules["uniform"], study))
    family = make_family(search.family, total or 1, budget.minimum, budget.maximum, search.contrast)
    own = study.own_settings()
    baselines = {name: with_settings(schedule, own) for name, schedule in schedules.items()}
    plan = Plan(study, network, solution, family, baselines, _totals(study, network))
    for name, candidate in baselines.items():
        try:
            plan.network_with(candidate)
        except InvalidInput as error:
            raise InvalidInput(f"budget.active: {error} ({name})") from error
    return plan


def _check_that_all_can_be_trained(study: StudyFile, total: int | None) -> None:
    budget = study.budget
    assert total is not None  # the study file asks for one
    count = count_schedules(total, study.model.depth, budget.minimum, budget.maximum)
    if count > _MOST_TO_ENUMERATE:
        raise InvalidInput(
            f"search.sampler exhaustive: the budget has {count:,} schedules; at most"
            f" {_MOST_TO_ENUMERATE:,} can be trained one by one. Take another sampler"
        )


def _totals(study: StudyFile, network: Specification) -> dict[int, int]:
    """The total of experts at each expert width that keeps the parameters exactly equal."""
    budget = study.budget
    if budget.regime == "paper":
        return {}
    wanted = study.search.also.hidden or (study.model.hidden,)
    equal = equal_widths(network, budget.minimum, budget.maximum)
    if unequal := [width for width in wanted if width not in equal]:
        nearest = sorted(equal, key=lambda width: abs(width - unequal[0]))[:_MOST_WIDTHS]
        raise InvalidInput(
            f"search.also.hidden: no number of experts of width {unequal[0]} has exactly the"
            f" parameters of the study, {parameter_count(network).total:,}; the nearest widths that"
            f" have: {', '.join(map(str, sorted(nearest)))}. Another model.hidden has others"
            f"{'' if study.model.shared else _GOOD_WIDTHS[study.model.style]}"
        )
    return {width: equal[width] for width in wanted}


def baseline_schedules(study: StudyFile, total: int | None) -> dict[str, Schedule]:
    """The schedules by name that a study trains before it searches.

    Parameters
    ----------
    study : StudyFile
    total : int or None
        The experts of all layers together; None in the regime `paper`.

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


def names_of(baselines: Mapping[str, Candidate]) -> dict[str, str]:
    """The name of each candidate that is a baseline; where several coincide, all their names."""
    names: dict[str, list[str]] = {}
    for name, candidate in baselines.items():
        names.setdefault(str(candidate), []).append(name)
    return {candidate: " = ".join(same) for candidate, same in names.items()}


def groups_of(baselines: Mapping[str, Candidate]) -> dict[str, str]:
    """Which kind of baseline each candidate is: uniform, pattern or preset, the first that fits."""
    groups: dict[str, str] = {}
    for name, candidate in baselines.items():
        group = "pattern" if name in PATTERNS_AND_UNIFORM else "preset"
        if name == "uniform":
            groups[str(candidate)] = name
        groups.setdefault(str(candidate), group)
    return groups


def _network(study: StudyFile, data: ImageData | TextData | DataShape) -> Specification:
    model = study.model
    thinnest = Schedule((study.budget.minimum,) * model.depth)
    blocks = Experts(
        model.hidden,
        _with_dense_first(thinnest, study),
        study.router,
        study.balance,
        study.dense_hidden,
        model.shared,
        model.style,
    )
    if study.data.is_text:
        text = cast(DataShape, data)
        return LanguageModel(
            text.vocabulary,
            text.context,
            model.width,
            model.heads,
            blocks,
            model.key_value_heads,
            model.query_key_norm,
            study.data.documents,
        )
    images = cast(DataShape, data)
    return Classifier(images.inputs, images.classes, model.width, blocks)


def _with_dense_first(schedule: Schedule, study: StudyFile) -> Schedule:
    """The schedule of the whole network: dense blocks, then the layers of experts."""
    return Schedule((0,) * study.model.dense_first + schedule.counts)


def _solve(study: StudyFile, network: Specification) -> Solution | None:
    """The experts that the budget buys; None where the regime holds nothing equal."""
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
    count = parameter_count(with_schedule(network, _with_dense_first(spread, study))).total
    return Solution(budget.experts, count, 0)


def _schedule_of(profile: Profile, study: StudyFile, total: int | None) -> Schedule:
    return _schedules_of([profile], study, total)[0]


def _schedules_of(
    profiles: Sequence[Profile], study: StudyFile, total: int | None
) -> list[Schedule]:
    budget = study.budget
    if total is not None:
        rows = allocate_batch(profiles, total, budget.minimum, budget.maximum)
        return [Schedule(tuple(row)) for row in rows.tolist()]
    assert budget.maximum is not None  # the study file asks for it in the regime `paper`
    bounds = budget.minimum, budget.maximum, study.search.contrast
    return [stretch(profile, *bounds) for profile in profiles]
