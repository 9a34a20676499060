"""The study file: what a search holds equal, moves in, and stops at."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dynamoe_search.data import DATA_SETS, IMAGE_SETS, TOKEN_FILE_ENDING
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import DEFAULT_CONTRAST, FAMILIES, PRESETS
from dynamoe_search.specification import LANGUAGE_SCALES, Balance, Router, TopK
from dynamoe_search.training import TrainingSettings

FILE_NAME = "study.toml"
SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSection(_Section):
    """What the proxies are trained on."""

    name: str = Field("digits", description="the data set, or a token file in the data directory")
    seed: int = Field(0, ge=0, description="decides the split; the same for every trial")

    @model_validator(mode="after")
    def _known(self) -> DataSection:
        if self.name not in DATA_SETS and not self.name.endswith(TOKEN_FILE_ENDING):
            raise ValueError(
                f"unknown data set {self.name!r}; choose from {', '.join(DATA_SETS)}, or name a"
                f" prepared token file, NAME{TOKEN_FILE_ENDING}"
            )
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
    width: int = Field(ge=1, description="the model width, d")
    hidden: int = Field(ge=1, description="the hidden width of one expert, h")
    heads: int = Field(4, ge=0, description="attention heads; 0 for none, as in the source")
    context: int = Field(128, ge=1, description="tokens of a window of text")

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
    """What every candidate of the study has the same of."""

    regime: Literal["paper", "parameters", "compute"] = Field(
        "parameters",
        description="what is held equal: nothing, as in the source; total parameters; or total"
        " parameters and mean active experts",
    )
    parameters: int | None = Field(
        None, ge=1, description="total parameters; the most experts that fit are handed out"
    )
    experts: int | None = Field(None, ge=1, description="experts to hand out, instead")
    minimum: int = Field(1, ge=1, description="the fewest experts of a layer")
    maximum: int | None = Field(None, ge=1, description="the most experts of a layer")
    active: float | None = Field(
        None, ge=1, description="mean active experts a layer, for compute; the router's own without"
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


class SearchSection(_Section):
    """How the search moves, and when it stops: at the first of the limits that are given."""

    family: Literal[FAMILIES] = Field("blend", description="the family to move in")  # type: ignore[valid-type]
    contrast: float = Field(
        DEFAULT_CONTRAST, ge=0, le=0.95, description="the contrast of the named patterns"
    )
    presets: tuple[Literal[PRESETS], ...] = Field(  # type: ignore[valid-type]
        (), description="rules of the literature that are trained beside the named patterns"
    )
    alpha_lora: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="a score a layer: AlphaLoRA's schedule is trained, too"
    )
    sampler: Literal[SAMPLERS] = Field("tpe", description="the Optuna sampler")  # type: ignore[valid-type]
    replicates: int = Field(3, ge=1, description="how often one schedule is trained at most")
    keep_models: bool = Field(False, description="keep every trained network in models/")
    trials: int | None = Field(None, ge=1, description="trainings")
    minutes: float | None = Field(None, gt=0, description="time in which trials were running")
    training_flops: float | None = Field(None, gt=0, description="FLOPs of all trainings together")

    @model_validator(mode="after")
    def _a_limit(self) -> SearchSection:
        if self.trials is None and self.minutes is None and self.training_flops is None:
            raise ValueError("give at least one limit: trials, minutes or training_flops")
        return self


class StudyFile(_Section):
    """A study file, read and validated."""

    seed: int = Field(0, ge=0, description="decides the sampler and all trainings")
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
        of_text = [name for name in ("scale", "heads", "context") if name in given]
        if of_text and not self.data.is_text:
            raise ValueError(
                f"model.{of_text[0]} is for language models, and {self.data.name} is images;"
                " leave it out"
            )
        if self.budget.regime == "paper":
            if self.search.family == "free":
                raise ValueError(
                    "search.family free needs a total, and the regime paper has none; use blend,"
                    " mixture or spline"
                )
            if self.search.contrast == 0:
                raise ValueError("search.contrast is 0; the regime paper needs it above 0")
        if self.budget.regime == "compute" and self._own_active() is None:
            raise ValueError(
                f"the regime compute needs budget.active, since {self.router.name} says no K"
            )
        return self

    def _own_active(self) -> float | None:
        if self.budget.active is not None:
            return self.budget.active
        if isinstance(self.router, TopK):
            return self.router.k
        return getattr(self.router, "target", None)

    @property
    def active(self) -> float:
        """The mean active experts a layer that the regime `compute` holds."""
        active = self._own_active()
        assert active is not None
        return active

    def definition(self) -> dict[str, Any]:
        """What may not change once a study has begun: all but how long it runs."""
        extendable = {"replicates", "trials", "minutes", "training_flops"}
        return self.model_dump(mode="json", exclude={"search": extendable})


def study_path(study: Path) -> Path:
    """The study file that a path means: itself, or ``study.toml`` in a folder."""
    path = study / FILE_NAME if study.is_dir() else study
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist; name a study file or a folder with {FILE_NAME}")
    return path


def read_study_file(path: Path) -> StudyFile:
    """Read and validate a study file.

    Raises
    ------
    InvalidInput
        With every mistake on a line of its own: file, line, key, what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from error
    try:
        # By way of JSON, where pydantic is strict about values and lets tables be dataclasses.
        return StudyFile.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        mistakes = [_describe(mistake, text) for mistake in error.errors()]
        raise InvalidInput(
            "\n".join(f"{path}:{line}: {message}" for line, message in mistakes)
        ) from error


def _describe(mistake: Any, text: str) -> tuple[int, str]:
    """The line of a mistake, and what to say of it."""
    # A discriminated union puts its tag, which is no key of the file, into the location.
    location = [str(part) for part in mistake["loc"]]
    router = ""
    if location[:1] == ["router"] and len(location) > 1 and mistake["type"] != "union_tag_invalid":
        router = location.pop(1)
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_beside(location, router)
        close = difflib.get_close_matches(location[-1], known, n=1)
        message = f"unknown key; did you mean {close[0]}?" if close else "unknown key"
        message += f" (known here: {', '.join(known)})"
    elif mistake["type"] == "missing":
        message = "is missing"
    elif not isinstance(mistake["input"], dict):
        message += f", got {mistake['input']!r}"
    return _line_of(location, text), f"{'.'.join(location) or 'the file'}: {message}"


def _keys_beside(location: list[str], router: str) -> list[str]:
    """The keys that can stand where the last part of a location does."""
    if len(location) == 1:
        return list(StudyFile.model_fields)
    if location[0] == "router":
        return next(list(r.__dataclass_fields__) for r in get_args(Router) if r.name == router)
    if location[0] == "balance":
        return list(Balance.__dataclass_fields__)
    if location[0] == "training":
        return list(TrainingSettings.__dataclass_fields__)
    section = StudyFile.model_fields[location[0]].annotation
    return list(getattr(section, "model_fields", {}))


def _line_of(location: list[str], text: str) -> int:
    """The line on which a key stands, else that of its table, else 1."""
    table: list[str] = []
    table_line = 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == location[: len(table)]:
                table_line = number
        elif key := re.match(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=", line):
            path = table + [part.strip(" \"'") for part in key[1].split(".")]
            if path == location[: len(path)]:
                return number
    return table_line
