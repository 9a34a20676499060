"""The plan of a study: everything that follows from its file and its data before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from dynamoe_search.budgets import (
    Solution,
    dense_width,
    equal_widths,
    experts_of,
    held_routers,
    parameter_count,
    solve_experts,
    with_schedule,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.allotment import active_schedules_of, schedules_of
from dynamoe_search.plan.baselines import ACTIVE, PAIRS, baselines_of_study, count_candidates
from dynamoe_search.plan.candidate import Candidate, DenseBaseline
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import (
    NONE,
    Dimension,
    Family,
    Schedule,
    allocate,
    make_family,
    renamed,
)
from dynamoe_search.specification import (
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Specification,
    Style,
    held_at,
    with_constants,
)

if TYPE_CHECKING:
    from dynamoe_search.data import ImageData, TextData

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
    active_family : Family or None
        Those of the active experts per layer; None where they do not move.
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
    active_family: Family | None
    baselines: dict[str, Candidate]
    totals: dict[int, int]

    @property
    def depth(self) -> int:
        """The number of layers of experts."""
        return self.study.model.depth

    @property
    def space(self) -> tuple[Dimension, ...]:
        """The parameters of the family, and those of the active family with `ACTIVE` before."""
        own = self.family.search_space(self.depth)
        if self.active_family is None:
            return own
        return (
            *own,
            *(renamed(one, ACTIVE) for one in self.active_family.search_space(self.depth)),
        )

    def location(self, name: str) -> dict[str, float] | None:
        """The parameters of a named pattern; None for other baselines."""
        if name not in PAIRS:
            return None
        contrast, (shape, of_active) = self.study.search.contrast, PAIRS[name]
        found = self.family.locate(shape, self.depth, contrast).parameters
        if self.active_family is None:
            return found
        active = self.active_family.locate(of_active, self.depth, contrast).parameters
        return found | {ACTIVE + name: value for name, value in active.items()}

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
        split = [_split(parameters) for parameters, _ in points]
        profiles = [self.family.profile(own, self.depth) for own, _ in split]
        schedules: dict[int, Schedule] = {}
        for total in set(totals):
            some = [place for place, one in enumerate(totals) if one == total]
            found = schedules_of([profiles[place] for place in some], self.study, total)
            schedules.update(zip(some, found, strict=True))
        in_order = [schedules[place] for place in range(len(points))]
        active: Sequence[Schedule | None] = [None] * len(points)
        if self.active_family is not None:
            shapes = [self.active_family.profile(of_active, self.depth) for _, of_active in split]
            active = active_schedules_of(shapes, in_order, self.study)
        return [
            Candidate(schedule, tuple(settings.items()), of_schedule)
            for schedule, (_, settings), of_schedule in zip(in_order, points, active, strict=True)
        ]

    def network_with(self, candidate: Candidate | DenseBaseline) -> Specification:
        """The proxy of a candidate; in the regime `compute` its routers hold the mean K."""
        if isinstance(candidate, DenseBaseline):
            return replace(self.network, blocks=Dense(candidate.hidden, self.study.model.style))
        schedule, settings = candidate.schedule, dict(candidate.settings)
        hidden = int(settings.pop("hidden", self.study.model.hidden))
        router = with_constants(self.study.router, settings)
        whole = _with_dense_first(schedule, self.study)
        blocks = replace(experts_of(self.network), schedule=whole, hidden=hidden, router=router)
        if candidate.active is not None:
            layers = zip(schedule, candidate.active, strict=True)
            first = (router,) * self.study.model.dense_first
            routers = (*first, *(held_at(router, *layer) for layer in layers))
            blocks = replace(blocks, router=routers)
        elif self.study.budget.regime == "compute":
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
    search = study.search
    network = _network(study, data)
    solution = _solve(study, network)
    total = solution.experts if solution else None
    if total == study.dense_experts * study.model.depth:
        raise InvalidInput(
            f"budget.minimum: with {total} experts every layer would be dense, as large as"
            f" {study.dense_experts} experts; raise the budget"
        )
    if search.sampler == "exhaustive":
        _check_that_all_can_be_trained(study, total)
    baselines = baselines_of_study(study, total)
    network = with_schedule(network, _with_dense_first(baselines["uniform"].schedule, study))
    minimum, maximum, step = study.limits
    family = make_family(search.family, total or 1, minimum, maximum, search.contrast, step)
    active_family = None
    if search.active_family != NONE:
        share = round(study.active * study.model.depth)
        active_family = make_family(search.active_family, share, 1, maximum, search.contrast)
    totals = _totals(study, network, total)
    plan = Plan(study, network, solution, family, active_family, baselines, totals)
    for name, candidate in baselines.items():
        try:
            plan.network_with(candidate)
        except InvalidInput as error:
            raise InvalidInput(f"budget.active: {error} ({name})") from error
    return plan


def _split(parameters: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The parameters of the family, and those of the active family under their own names."""
    own = {name: value for name, value in parameters.items() if not name.startswith(ACTIVE)}
    active = {
        name.removeprefix(ACTIVE): value for name, value in parameters.items() if name not in own
    }
    return own, active


def _check_that_all_can_be_trained(study: StudyFile, total: int | None) -> None:
    assert total is not None  # the study file asks for one
    count = count_candidates(study, total)
    if count > _MOST_TO_ENUMERATE:
        raise InvalidInput(
            f"search.sampler exhaustive: there are {count:,} schedules; at most"
            f" {_MOST_TO_ENUMERATE:,} can be trained one by one. Take another sampler"
        )


def _totals(study: StudyFile, network: Specification, total: int | None) -> dict[int, int]:
    """The total of experts at each expert width that keeps the parameters exactly equal."""
    if total is None:
        return {}
    wanted = study.search.also.hidden
    if wanted is None:
        return {study.model.hidden: total}
    equal = equal_widths(network, *study.limits)
    if unequal := [width for width in wanted if width not in equal]:
        nearest = sorted(equal, key=lambda width: abs(width - unequal[0]))[:_MOST_WIDTHS]
        raise InvalidInput(
            f"search.also.hidden: no number of experts of width {unequal[0]} has exactly the"
            f" parameters of the study, {parameter_count(network).total:,}; the nearest widths that"
            f" have: {', '.join(map(str, sorted(nearest)))}. Another model.hidden has others"
            f"{'' if study.model.shared else _GOOD_WIDTHS[study.model.style]}"
        )
    return {width: equal[width] for width in wanted}


def _network(study: StudyFile, data: ImageData | TextData | DataShape) -> Specification:
    model = study.model
    thinnest = Schedule((study.limits[0],) * model.depth)
    blocks = Experts(
        model.hidden,
        _with_dense_first(thinnest, study),
        study.router,
        study.balance,
        study.dense_hidden,
        model.shared,
        model.style,
    )
    network: Specification
    if study.data.is_text:
        text = cast(DataShape, data)
        network = LanguageModel(
            text.vocabulary,
            text.context,
            model.width,
            model.heads,
            blocks,
            model.key_value_heads,
            model.query_key_norm,
            study.data.documents,
        )
    else:
        images = cast(DataShape, data)
        network = Classifier(images.inputs, images.classes, model.width, blocks)
    if not study.dense_experts:
        return network
    # The blocks that come first have a width of their own.
    first = (study.dense_hidden or 0,) * model.dense_first
    widths = first + (dense_width(network, study.dense_experts),) * model.depth
    return replace(network, blocks=replace(blocks, dense_hidden=widths))


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
            return solve_experts(network, budget.parameters, *study.limits)
        except InvalidInput as error:
            raise InvalidInput(f"budget.parameters: {error}") from error
    assert budget.experts is not None  # the study file asks for one of the two
    try:
        spread = allocate([1.0] * study.model.depth, budget.experts, *study.limits)
    except InvalidInput as error:
        raise InvalidInput(f"budget.experts: {error}") from error
    count = parameter_count(with_schedule(network, _with_dense_first(spread, study))).total
    return Solution(budget.experts, count, 0)
