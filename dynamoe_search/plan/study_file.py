"""The study file: what a search holds equal, moves in, and stops at."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynamoe_search.data import DATA_SETS, IMAGE_SETS, TOKEN_FILE_ENDING
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.quantities import MEASURES
from dynamoe_search.plan.constraints import Constraint, ConstraintText, parse_constraint
from dynamoe_search.schedules import DEFAULT_CONTRAST, FAMILIES, LARGEST_TOTAL, PRESETS
from dynamoe_search.specification import (
    LANGUAGE_SCALES,
    Balance,
    Documents,
    Router,
    Style,
    TopK,
    with_constants,
)
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
_OF_TEXT = ("scale", "heads", "context", "key_value_heads", "query_key_norm")


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
    minimum: int = Field(1, ge=1, le=LARGEST_TOTAL, description="the fewest experts of a layer")
    maximum: int | None = Field(
        None, ge=1, le=LARGEST_TOTAL, description="the most experts of a layer"
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

    family: Literal[FAMILIES] = Field("blend", description="the family to move in")  # type: ignore[valid-type]
    contrast: float = Field(
        DEFAULT_CONTRAST, ge=0, le=0.95, description="the contrast of the named patterns"
    )
    presets: tuple[Literal[PRESETS], ...] = Field(  # type: ignore[valid-type]
        (), description="rules of the literature to train, too, beside the named patterns"
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
        given = self.model.model_fields_set
        of_text = [name for name in _OF_TEXT if name in given]
        if of_text and not self.data.is_text:
            raise ValueError(
                f"model.{of_text[0]} is for language models, and {self.data.name} is a set of"
                " images; leave it out"
            )
        if self.budget.regime == "paper":
            if self.search.family == "free":
                raise ValueError(
                    "search.family free needs a total, and the regime paper has none; use blend,"
                    " mixture or spline"
                )
            if self.search.contrast == 0:
                raise ValueError("search.contrast is 0; the regime paper needs it above 0")
        if self.model.dense_first and self.dense_hidden is None:
            raise ValueError(
                f"model.dense_first needs model.dense_hidden, since {self.router.name} sets no K"
            )
        if self.budget.regime == "compute" and self._own_active() is None:
            raise ValueError(
                f"the regime compute needs budget.active, since {self.router.name} sets no K"
            )
        return self

    @model_validator(mode="after")
    def _also_fits(self) -> StudyFile:
        also, matched = self.search.also, self.budget.regime == "compute"
        for name, interval in also.intervals().items():
            if matched or not hasattr(self.router, name):
                reason = "the regime compute holds K" if matched else f"{self.router.name} has none"
                raise ValueError(f"search.also.{name} cannot be searched: {reason}")
            for value in interval:
                try:
                    with_constants(self.router, {name: value})
                except InvalidInput as error:
                    raise ValueError(f"search.also.{name}: {error}") from error
        if also.hidden is not None and matched:
            raise ValueError(
                "search.also.hidden changes what an active expert costs, which the regime compute"
                " holds equal; use parameters or paper"
            )
        if also.hidden is not None and self.model.hidden not in also.hidden:
            raise ValueError(
                f"search.also.hidden must contain model.hidden, {self.model.hidden}, the width of"
                " the named patterns"
            )
        if self.search.sampler == "exhaustive" and (also.hidden or also.intervals()):
            raise ValueError("sampler exhaustive trains schedules only; leave out search.also")
        if self.search.sampler == "exhaustive" and self.budget.regime == "paper":
            raise ValueError("sampler exhaustive needs a total, and the regime paper has none")
        if matched and "active_flops" in self.search.objectives:
            raise ValueError("active_flops is held equal by the regime compute; leave it out")
        return self

    def _own_active(self) -> float | None:
        if self.budget.active is not None:
            return self.budget.active
        if isinstance(self.router, TopK):
            return self.router.k
        return getattr(self.router, "target", None)

    @property
    def active(self) -> float:
        """The mean active experts per layer that the regime `compute` holds."""
        active = self._own_active()
        assert active is not None
        return active

    @property
    def dense_hidden(self) -> int | None:
        """The hidden width of dense blocks; None where neither it nor K is given.

        With its default, a dense block takes as many FLOPs as the experts of a layer that a token
        uses; the layer takes d N more for its router.
        """
        model, active = self.model, self._own_active()
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
