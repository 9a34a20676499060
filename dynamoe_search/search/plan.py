"""The plan of a study: everything that follows from its file and its data before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dynamoe_search.budgets import Solution, parameter_count, solve_experts
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    PATTERNS_AND_UNIFORM,
    Family,
    Schedule,
    allocate,
    make_family,
    pattern_schedule,
)
from dynamoe_search.search.study_file import StudyFile
from dynamoe_search.specification import Classifier


@dataclass(frozen=True)
class Plan:
    """What a study will do.

    Parameters
    ----------
    study : StudyFile
    network : Classifier
        The proxy; its schedule is uniform's.
    solution : Solution
        The experts that the budget buys, and the residual.
    family : Family
        What the search moves in.
    baselines : dict of str to Schedule
        Each named pattern, and uniform, in the order in which they are trained.
    """

    study: StudyFile
    network: Classifier
    solution: Solution
    family: Family
    baselines: dict[str, Schedule]

    @property
    def depth(self) -> int:
        """The number of layers."""
        return self.study.model.depth

    def schedule(self, parameters: Mapping[str, float]) -> Schedule:
        """The schedule that the family's parameters stand for, at the study's budget."""
        budget = self.study.budget
        profile = self.family.profile(parameters, self.depth)
        return allocate(profile, self.solution.experts, budget.minimum, budget.maximum)

    def network_with(self, schedule: Schedule) -> Classifier:
        """The proxy with another schedule."""
        return replace(self.network, schedule=schedule)

    def seed(self, replicate: int) -> int:
        """The seed of a replicate: the same for every schedule, so that they can be paired."""
        return int(np.random.SeedSequence([self.study.seed, replicate]).generate_state(1)[0])


def make_plan(study: StudyFile, inputs: int, classes: int) -> Plan:
    """Work out a study for data of that many inputs and classes.

    Raises
    ------
    InvalidInput
        Where the budget cannot be met.
    """
    model, budget, search = study.model, study.budget, study.search
    thinnest = Schedule((budget.minimum,) * model.depth)
    network = Classifier(inputs, classes, model.width, model.hidden, thinnest, study.router)
    if budget.parameters is not None:
        try:
            solution = solve_experts(network, budget.parameters, budget.minimum, budget.maximum)
        except InvalidInput as error:
            raise InvalidInput(f"budget.parameters: {error}") from error
        total = solution.experts
    else:
        assert budget.experts is not None  # the study file asks for one of the two
        total = budget.experts
    try:
        baselines = {
            pattern: pattern_schedule(
                pattern, model.depth, total, budget.minimum, budget.maximum, search.contrast
            )
            for pattern in PATTERNS_AND_UNIFORM
        }
    except InvalidInput as error:
        raise InvalidInput(f"budget.experts: {error}") from error
    network = replace(network, schedule=baselines["uniform"])
    count = parameter_count(network).total
    if budget.parameters is None:
        solution = Solution(total, count, 0)
    family = make_family(search.family, total, budget.minimum, budget.maximum, search.contrast)
    return Plan(study, network, solution, family, baselines)
