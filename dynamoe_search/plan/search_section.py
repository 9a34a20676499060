"""The section ``search`` of a study file: what a search moves in, and where it stops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dynamoe_search.measure.quantities import MEASURES
from dynamoe_search.plan.constraints import Constraint, ConstraintText, parse_constraint
from dynamoe_search.plan.section import LARGEST_SIZE, Section
from dynamoe_search.schedules import (
    ACTIVE_PRESETS,
    DEFAULT_CONTRAST,
    FAMILIES,
    NONE,
    PRESETS,
)
from dynamoe_search.statistics.pareto import OBJECTIVES

SAMPLERS = ("posterior", "tpe", "random", "qmc", "cmaes", "gp", "nsga2", "nsga3", "exhaustive")
PRUNERS = ("none", "asha", "hyperband", "median", "wilcoxon")
FITS_A_MODEL = ("tpe", "gp")
"""Samplers whose time for a decision grows with the runs that they know."""
MOST_FITTED = 300
"""How many runs these are fitted to at most: the best, and an even sample of the others."""
_DECIMALS = 3  # of a router's constant, so that a candidate can be named
_OF_ONE_OBJECTIVE = ("cmaes",)


class AlsoSection(Section):
    """What is searched next to the schedule: the expert width, and the router's constants."""

    hidden: tuple[Annotated[int, Field(ge=1, le=LARGEST_SIZE)], ...] | None = Field(
        None, min_length=1, description="expert widths to choose from, of equal parameters"
    )
    k: tuple[int, int] | None = Field(None, description="from, to: of top_k")
    p: tuple[float, float] | None = Field(None, description="from, to: of top_p")
    tau: tuple[float, float] | None = Field(None, description="from, to: of percentile, relative")
    target: tuple[float, float] | None = Field(None, description="from, to: the K to hold")

    @model_validator(mode="after")
    def _ordered(self) -> AlsoSection:
        for name, (low, high) in self.intervals().items():
            if low > high:
                raise ValueError(f"{name} goes from {low} to {high}; give the lower end first")
        if self.hidden is not None and len(set(self.hidden)) < len(self.hidden):
            raise ValueError(f"hidden names a width twice: {list(self.hidden)}")
        return self

    def rounded(self, name: str, value: float) -> float:
        """A value of a router's constant as candidates have it: rounded, within its interval."""
        low, high = self.intervals()[name]
        return min(max(round(value, _DECIMALS), low), high)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The router's constants that are searched, each with its interval."""
        given = {name: getattr(self, name) for name in ("k", "p", "tau", "target")}
        return {name: interval for name, interval in given.items() if interval is not None}


class SearchSection(Section):
    """What the search looks for, how it moves, and when it stops: at the first limit given."""

    objectives: tuple[Literal[tuple(OBJECTIVES)], ...] = Field(  # type: ignore[valid-type]
        ("loss",), min_length=1, description="what to optimize: one, or several against each other"
    )
    constraints: tuple[ConstraintText, ...] = Field(
        (), description='what must hold, such as "active_experts <= 2"'
    )
    measure: tuple[Literal[MEASURES], ...] = Field(  # type: ignore[valid-type]
        (), description="what else to measure of every network; the cost is shown"
    )
    also: AlsoSection = AlsoSection()
    pruner: Literal[PRUNERS] = Field(  # type: ignore[valid-type]
        "none", description="what ends unpromising runs early"
    )

    family: Literal[(NONE, *FAMILIES)] = Field(  # type: ignore[valid-type]
        "blend",
        description="the family in which the experts per layer move; none: all stay uniform",
    )
    active_family: Literal[(NONE, *FAMILIES)] = Field(  # type: ignore[valid-type]
        NONE,
        description="the family in which the active experts per layer move, at the mean K that the"
        " regime compute holds; none: K is the same in every layer",
    )
    contrast: float = Field(
        DEFAULT_CONTRAST, ge=0, le=0.95, description="the contrast of the named patterns"
    )
    presets: tuple[Literal[PRESETS], ...] = Field(  # type: ignore[valid-type]
        (), description="rules of the literature to train, too, beside the named patterns"
    )
    active_presets: tuple[Literal[ACTIVE_PRESETS], ...] = Field(  # type: ignore[valid-type]
        (), description="likewise, rules for the active experts per layer"
    )
    alpha_lora: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="a score per layer: AlphaLoRA's schedule is trained, too"
    )
    sampler: Literal[SAMPLERS] = Field(  # type: ignore[valid-type]
        "posterior",
        description="what proposes candidates: the posterior over all of them (by default tpe where"
        " there are other objectives than the loss, or a pruner); a sampler of Optuna, by name; or"
        " exhaustive, which trains every schedule, or every active schedule",
    )
    margin: float = Field(
        0.01,
        gt=0,
        description="the loss in nats that does not matter: posterior stops where no candidate of"
        " the family is better by more, with 95 %",
    )
    blocks: int = Field(
        16,
        ge=1,
        description="the most seed blocks per candidate; 3 where the sampler is not posterior",
    )
    keep_models: bool = Field(False, description="keep every trained network in models/")
    runs: int | None = Field(None, ge=1, description="training runs")
    minutes: float | None = Field(None, gt=0, description="the time in which runs were under way")
    training_flops: float | None = Field(None, gt=0, description="FLOPs of all runs together")

    @model_validator(mode="after")
    def _choose_what_is_not_given(self) -> SearchSection:
        given = self.model_fields_set
        if "sampler" not in given and (self.objectives != ("loss",) or self.pruner != "none"):
            object.__setattr__(self, "sampler", "tpe")
        if "blocks" not in given and self.sampler != "posterior":
            object.__setattr__(self, "blocks", 3)
        return self

    @model_validator(mode="after")
    def _objectives_fit(self) -> SearchSection:
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives names one twice: {', '.join(self.objectives)}")
        if len(set(self.measure)) < len(self.measure):
            raise ValueError(f"measure names one twice: {', '.join(self.measure)}")
        if self.pruner != "none" and self.objectives != ("loss",):
            raise ValueError(
                f"pruner {self.pruner} compares losses only; set objectives to the loss, or leave"
                " out the pruner"
            )
        if self.sampler == "posterior" and (self.objectives != ("loss",) or self.pruner != "none"):
            raise ValueError(
                "sampler posterior decides by the loss alone, and without a pruner; choose tpe, or"
                " leave out objectives and pruner"
            )
        if len(self.objectives) > 1 and self.sampler in _OF_ONE_OBJECTIVE:
            raise ValueError(
                f"sampler {self.sampler} takes one objective; choose tpe, gp, nsga2 or nsga3"
            )
        return self

    @model_validator(mode="after")
    def _something_moves(self) -> SearchSection:
        if self.family == NONE and (self.presets or self.alpha_lora):
            raise ValueError("family none keeps the schedule uniform; leave out its presets")
        if self.active_family == NONE and self.active_presets:
            raise ValueError("active_presets need an active_family")
        others = self.also.hidden or self.also.intervals()
        if self.family == NONE and self.active_family == NONE and not others:
            raise ValueError("nothing is searched: family and active_family are both none")
        both = self.family != NONE and self.active_family != NONE
        if self.sampler == "exhaustive" and (both or self.family == self.active_family):
            raise ValueError(
                "sampler exhaustive trains every schedule, or every active schedule; give family or"
                " active_family, and set the other one to none"
            )
        return self

    @property
    def constraint_list(self) -> tuple[Constraint, ...]:
        """The constraints, parsed."""
        return tuple(parse_constraint(text) for text in self.constraints)

    def measures(self, quantity: str) -> bool:
        """Whether an objective or a constraint asks for a quantity."""
        return quantity in self.objectives or any(
            constraint.quantity == quantity for constraint in self.constraint_list
        )

    @model_validator(mode="after")
    def _a_limit(self) -> SearchSection:
        if self.runs is None and self.minutes is None and self.training_flops is None:
            raise ValueError("give at least one limit: runs, minutes or training_flops")
        return self
