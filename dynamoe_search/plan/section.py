"""What all sections of a study file have in common."""

from pydantic import BaseModel, ConfigDict

LARGEST_SIZE = 2**20
"""Of a width or a context: beyond those of any model."""


class Section(BaseModel):
    """A section of a study file: it knows its keys, and takes no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
