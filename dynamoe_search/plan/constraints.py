"""Constraints of a study, written as text: ``active_experts <= 2``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

# The name of a quantity in study files, and its column in results.
QUANTITIES = {
    "active_experts": "active_experts",
    "active_parameters": "active_parameters",
    "active_flops": "flops_per_token",
    "gradient_noise": "gradient_noise",
    "utilization_entropy": "utilization_entropy",
}
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a measured quantity.

    Parameters
    ----------
    quantity : str
        One of `QUANTITIES`.
    sign : {"<=", ">="}
    bound : float
    """

    quantity: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.sign} {self.bound:g}"

    @property
    def key(self) -> str:
        """Where a result has the quantity."""
        return QUANTITIES[self.quantity]

    def violation(self, value: float) -> float:
        """By how much a value violates the constraint: at most 0 where it is met, as in Optuna."""
        excess = value - self.bound
        return excess if self.sign == "<=" else -excess


def parse_constraint(text: str) -> Constraint:
    """Read a constraint.

    Raises
    ------
    ValueError
        Where it is not of the form QUANTITY <= NUMBER, or >=.

    Examples
    --------
    >>> parse_constraint("active_experts <= 2").violation(2.5)
    0.5
    """
    match = _FORM.fullmatch(text)
    if match is None or match[1] not in QUANTITIES:
        raise ValueError(
            f"{text!r} is not QUANTITY <= NUMBER or QUANTITY >= NUMBER; quantities are"
            f" {', '.join(QUANTITIES)}"
        )
    return Constraint(match[1], match[2], float(match[3]))


def _checked(text: str) -> str:
    parse_constraint(text)
    return text


ConstraintText = Annotated[str, AfterValidator(_checked)]
