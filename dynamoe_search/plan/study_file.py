"""The study file: what a search holds equal, moves in, and stops at."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynamoe_search.data import DATA_SETS, IMAGE_SETS, TOKEN_FILE_ENDING
from dynamoe_search.measure.quantities import MEASURES
from dynamoe_search.plan.checks import (
    check_active_family,
    check_also,
    check_dense_layers,
    check_parts,
)
from dynamoe_search.plan.constraints import Constraint, ConstraintText, parse_constraint
from dynamoe_search.schedules import (
    ACTIVE_PRESETS,
    DEFAULT_CONTRAST,
    FAMILIES,
    LARGEST_TOTAL,
    NONE,
    PRESETS,
)
from dynamoe_search.schedules.allocation import multiples_within
from dynamoe_search.specification import LANGUAGE_SCALES, Balance, Documents, Router, Style, TopK
from dynamoe_search.statistics.pareto import OBJECTIVES
from dynamoe_search.training.settings import TrainingSettings

SAMPLERS = ("posterior", "tpe", "random", "qmc", "cmaes", "gp", "nsga2", "nsga3", "exhaustive")
PRUNERS = ("none", "asha", "hyperband", "median", "wilcoxon")
FITS_A_MODEL = ("tpe", "gp")
"""Samplers whose time for a decision grows with the runs that they know."""
MOST_FITTED = 300
"""How many runs these are fitted to at most: the best, and an even sample of the others."""
_LARGEST_SIZE = 2**20  # of a width or a context: beyond those of any model
_DECIMALS = 3  # of a router's constant, so that a candidate can be named
_OF_ONE_OBJECTIVE = ("cmaes",)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSection(_Section):
    """What the proxies are trained on."""

    name: str = Field("digits", description="the data set, or a token file in the data directory")
    seed: int = Field(0, ge=0, description="decides the split; the same for every run")
    documents: Documents = Field(
        "joined",
        description="whether attention sees all of a window of text, or each document separately",
    )

    @model_validator(mode="after")
    def _known(self) -> DataSection:
        if self.name not in DATA_SETS and not self.name.endswith(TOKEN_FILE_ENDING):
            raise ValueError(
                f"unknown data set {self.name!r}; choose from {', '.join(DATA_SETS)}, or name a"
                f" prepared token file, NAME{TOKEN_FILE_ENDING}"
            )
        if self.documents == "separate" and not self.is_text:
            raise ValueError(f"data.documents is for text, and {self.name} is images; leave it out")
        return self

    @property
    def is_text(self) -> bool:
        """Whether the proxy is a language model."""
        return self.name not in IMAGE_SETS


class ModelSection(_Section):
    """The proxy's fixed sizes; a scale fills in those of a language model that are not given."""

    scale: Literal[tuple(LANGUAGE_SCALES)] | None = Field(  # type: ignore[valid-type]
        None, description="the sizes of a language model, by name"
    )
    depth: int = Field(ge=1, le=256, description="layers of experts, L")
    width: int = Field(ge=1, le=_LARGEST_SIZE, description="the model width, d")
    hidden: int = Field(ge=1, le=_LARGEST_SIZE, description="the hidden width of one expert, h")
    heads: int = Field(4, ge=0, description="attention heads; 0 for none, as in the source")
    context: int = Field(128, ge=1, le=_LARGEST_SIZE, description="tokens of a window of text")
    style: Style = Field(
        "paper",
        description="as the source, LayerNorm and ReLU; or as today's decoders, RMSNorm and SwiGLU",
    )
    shared: int = Field(
        0,
        ge=0,
        le=256,
        description="experts of every layer that all tokens use, next to the others",
    )
    dense_first: int = Field(
        0, ge=0, le=256, description="dense blocks before the layers of experts, as in DeepSeek"
    )
    dense_hidden: int | None = Field(
        None,
        ge=1,
        le=_LARGEST_SIZE,
        description="the hidden width of dense blocks; by default that of the experts that a token"
        " uses in a layer, (K + shared) h",
    )
    key_value_heads: int | None = Field(
        None, ge=1, description="heads of keys and values; by default as many as heads"
    )
    query_key_norm: bool = Field(
        False, description="whether queries and keys are normalized, as in OLMoE"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        scale = given.get("scale") if isinstance(given, dict) else None
        if not isinstance(scale, str) or scale not in LANGUAGE_SCALES:
            return given
        sizes = asdict(LANGUAGE_SCALES[scale])
        del sizes["experts"]
        return sizes | given


class BudgetSection(_Section):
    """What all candidates of the study have in common."""

    regime: Literal["paper", "parameters", "compute"] = Field(
        "parameters",
        description="what is held equal: nothing, as in the source; total parameters; or total"
        " parameters and mean active experts",
    )
    parameters: int | None = Field(
        None, ge=1, description="total parameters; they buy as many experts as fit"
    )
    experts: int | None = Field(
        None,
        ge=1,
        le=LARGEST_TOTAL,
        description="experts of all layers together, in place of parameters",
    )
    minimum: int = Field(
        1,
        ge=0,
        le=LARGEST_TOTAL,
        description="the fewest experts of a layer; with 0 a layer can be a dense block that costs"
        " as much as its K experts",
    )
    maximum: int | None = Field(
        None, ge=1, le=LARGEST_TOTAL, description="the most experts of a layer"
    )
    step: int = Field(
        1,
        ge=1,
        le=LARGEST_TOTAL,
        description="every layer has a multiple of this number of experts, as expert-parallel"
        " training needs it",
    )
    active: float | None = Field(
        None,
        ge=1,
        description="mean active experts per layer, for compute; by default the router's own",
    )

    @model_validator(mode="after")
    def _fits_the_regime(self) -> BudgetSection:
        if self.regime == "paper":
            if self.parameters is not None or self.experts is not None:
                raise ValueError(
                    "the regime paper holds no total; leave out parameters and experts, and give"
                    " minimum and maximum"
                )
            if self.maximum is None or self.maximum < self.minimum:
                raise ValueError("the regime paper needs a maximum, at least the minimum")
            if self.minimum == 0:
                raise ValueError("minimum 0 needs a total, and the regime paper has none")
            multiples_within(self.minimum, self.maximum, self.step)
        elif (self.parameters is None) == (self.experts is None):
            raise ValueError("give either parameters or experts, and not both")
        if self.active is not None and self.regime != "compute":
            raise ValueError(f"active belongs to the regime compute; this is {self.regime}")
        return self


class AlsoSection(_Section):
    """What is searched next to the schedule: the expert width, and the router's constants."""

    hidden: tuple[Annotated[int, Field(ge=1, le=_LARGEST_SIZE)], ...] | None = Field(
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


class SearchSection(_Section):
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
        " exhaustive, which trains every schedule",
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
        if self.sampler == "exhaustive" and (self.family == NONE or self.active_family != NONE):
            raise ValueError(
                "sampler exhaustive trains every schedule at equal K; choose a family, and leave"
                " out active_family"
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


class StudyFile(_Section):
    """A study file, read and validated."""

    seed: int = Field(0, ge=0, description="decides the sampler and all training runs")
    data: DataSection = DataSection()
    model: ModelSection
    budget: BudgetSection
    router: Annotated[Router, Field(discriminator="name")] = TopK()
    balance: Balance = Balance()
    training: TrainingSettings = TrainingSettings()
    search: SearchSection

    @model_validator(mode="after")
    def _fits_together(self) -> StudyFile:
        check_parts(self)
        check_dense_layers(self)
        check_active_family(self)
        check_also(self)
        return self

    def own_active(self) -> float | None:
        """The mean active experts per layer that the study file sets; None where it sets none."""
        if self.budget.active is not None:
            return self.budget.active
        if isinstance(self.router, TopK):
            return self.router.k
        return getattr(self.router, "target", None)

    @property
    def active(self) -> float:
        """The mean active experts per layer that the regime `compute` holds."""
        active = self.own_active()
        assert active is not None
        return active

    @property
    def dense_experts(self) -> int:
        """The number of experts whose place a dense layer takes; 0 where no layer may be dense."""
        return int(self.active) if self.budget.minimum == 0 else 0

    @property
    def limits(self) -> tuple[int, int | None, int]:
        """What limits the experts of each layer: minimum, maximum and step.

        A layer that may be dense has at least the experts whose place a dense one takes.
        """
        budget = self.budget
        return budget.minimum or self.dense_experts, budget.maximum, budget.step

    @property
    def dense_hidden(self) -> int | None:
        """The hidden width of dense blocks that come first; None where neither it nor K is given.

        With its default, a dense block takes as many FLOPs as the experts of a layer that a token
        uses; the layer takes d N more for its router.
        """
        model, active = self.model, self.own_active()
        if model.dense_hidden is not None or active is None:
            return model.dense_hidden
        return round((active + model.shared) * model.hidden)

    def own_settings(self) -> dict[str, float]:
        """What is searched next to the schedule, at the values nearest to the file's own."""
        own: dict[str, float] = {}
        if self.search.also.hidden is not None:
            own["hidden"] = self.model.hidden
        for name, (low, _) in self.search.also.intervals().items():
            value = getattr(self.router, name)
            # A controller that is off has no target of its own.
            own[name] = self.search.also.rounded(name, low if value is None else value)
        return own

    def definition(self) -> dict[str, Any]:
        """What may not change once a study has begun: all but how long it runs."""
        extendable = {"blocks", "margin", "runs", "minutes", "training_flops"}
        return self.model_dump(mode="json", exclude={"search": extendable})
