"""The schedule: how many experts each layer has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dynamoe_search.errors import InvalidInput

_TEXT_FORM = re.compile(r"[0-9]+(-[0-9]+)*")


@dataclass(frozen=True, order=True)
class Schedule:
    """The expert counts (N_1, ..., N_L), first layer first.

    Schedules are hashable values: equal where all their counts are, ordered like tuples.

    Parameters
    ----------
    counts : tuple of int
        One expert count a layer, each at least 1.

    Raises
    ------
    InvalidInput
        Where there is no layer, or a count is not a positive whole number.

    Examples
    --------
    >>> schedule = Schedule((8, 6, 4, 2))
    >>> str(schedule), schedule.total, schedule.depth
    ('8-6-4-2', 20, 4)
    >>> Schedule.parse("8-6-4-2") == schedule
    True
    """

    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            counts = tuple(self.counts)
        except TypeError:
            raise InvalidInput(
                f"a schedule is a sequence of expert counts, got {self.counts!r}"
            ) from None
        if not counts:
            raise InvalidInput("a schedule needs at least one layer, got none")
        for layer, count in enumerate(counts):
            # numpy integers are welcome, booleans and fractions are not.
            if isinstance(count, bool) or not hasattr(count, "__index__") or count < 1:
                raise InvalidInput(
                    f"layer {layer} has {count!r} experts; every layer needs a whole number of"
                    " at least 1"
                )
        object.__setattr__(self, "counts", tuple(int(count) for count in counts))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read the text form, for example ``8-6-4-2``.

        Raises
        ------
        InvalidInput
            Where the text is not counts joined by ``-``, or a count is 0.
        """
        stripped = text.strip()
        if not _TEXT_FORM.fullmatch(stripped, 0) or not stripped.isascii():
            raise InvalidInput(
                f"{text!r} is not a schedule; write the expert counts from the first layer to the"
                " last, joined by '-', for example 8-6-4-2"
            )
        return cls(tuple(int(count) for count in stripped.split("-")))

    @property
    def total(self) -> int:
        """The sum of the expert counts."""
        return sum(self.counts)

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.counts)

    def __str__(self) -> str:
        return "-".join(map(str, self.counts))

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)
