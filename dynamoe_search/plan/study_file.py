"""The study file: the data, the proxy, what a search holds equal, and the whole file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dynamoe_search.data import DATA_SETS, IMAGE_SETS, TOKEN_FILE_ENDING
from dynamoe_search.plan.checks import (
    check_active_family,
    check_also,
    check_dense_layers,
    check_parts,
)
from dynamoe_search.plan.search_section import SearchSection
from dynamoe_search.plan.section import LARGEST_SIZE, Section
from dynamoe_search.schedules import (
    LARGEST_TOTAL,
)
from dynamoe_search.schedules.allocation import multiples_within
from dynamoe_search.specification import LANGUAGE_SCALES, Balance, Documents, Router, Style, TopK
from dynamoe_search.training.settings import TrainingSettings


class DataSection(Section):
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


class ModelSection(Section):
    """The proxy's fixed sizes; a scale fills in those of a language model that are not given."""

    scale: Literal[tuple(LANGUAGE_SCALES)] | None = Field(  # type: ignore[valid-type]
        None, description="the sizes of a language model, by name"
    )
    depth: int = Field(ge=1, le=256, description="layers of experts, L")
    width: int = Field(ge=1, le=LARGEST_SIZE, description="the model width, d")
    hidden: int = Field(ge=1, le=LARGEST_SIZE, description="the hidden width of one expert, h")
    heads: int = Field(4, ge=0, description="attention heads; 0 for none, as in the source")
    context: int = Field(128, ge=1, le=LARGEST_SIZE, description="tokens of a window of text")
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
        le=LARGEST_SIZE,
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


class BudgetSection(Section):
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


class StudyFile(Section):
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
