"""The schedule: how many experts each layer has."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

from dynamoe_search.errors import InvalidInput

_TEXT_FORM = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})*")
_BAR_HEIGHT = 40  # pixels of the tallest bar in a notebook
_BAR_STEP = 10  # pixels per layer


@dataclass(frozen=True, order=True)
class Schedule:
    """The expert counts (N_1, ..., N_L), first layer first.

    A hashable value that compares like the tuple of its counts, and reads like one.

    Parameters
    ----------
    counts : tuple of int
        One expert count per layer, each at least 0. A layer of 0 experts is a plain feed-forward
        block; at least one layer has experts.

    Raises
    ------
    InvalidInput
        If there is no layer with experts, or a count is not a whole number of at least 0.

    Examples
    --------
    >>> schedule = Schedule((8, 6, 4, 2))
    >>> str(schedule), schedule.total, schedule.depth, len(schedule)
    ('8-6-4-2', 20, 4, 4)
    >>> schedule[0], schedule[1:3], list(schedule), 6 in schedule
    (8, (6, 4), [8, 6, 4, 2], True)
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
            # numpy integers are accepted, booleans and fractions are not.
            if isinstance(count, bool) or not hasattr(count, "__index__") or count < 0:
                raise InvalidInput(
                    f"layer {layer} has {count!r} experts; every layer needs a whole number of"
                    " at least 0"
                )
        if not any(counts):
            raise InvalidInput(
                f"a schedule needs experts in at least one layer; all {len(counts)} have 0"
            )
        object.__setattr__(self, "counts", tuple(int(count) for count in counts))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read the text form, for example ``8-6-4-2``.

        Raises
        ------
        InvalidInput
            If the text is not a list of counts joined by ``-``, of at most nine digits each, or all
            counts are 0.
        """
        stripped = text.strip()
        if not _TEXT_FORM.fullmatch(stripped):
            raise InvalidInput(
                f"{reprlib.repr(text)} is not a schedule; write the expert counts from the first"
                " layer to the last, joined by '-', for example 8-6-4-2"
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

    @property
    def layers_with_experts(self) -> tuple[int, ...]:
        """The places of the layers that have experts, from 0; the others are plain blocks.

        Examples
        --------
        >>> Schedule((0, 8, 0, 4)).layers_with_experts
        (1, 3)
        """
        return tuple(layer for layer, count in enumerate(self.counts) if count)

    def __str__(self) -> str:
        return "-".join(map(str, self.counts))

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)

    @overload
    def __getitem__(self, layer: int) -> int: ...
    @overload
    def __getitem__(self, layer: slice) -> tuple[int, ...]: ...
    def __getitem__(self, layer: int | slice) -> int | tuple[int, ...]:
        return self.counts[layer]

    def _repr_html_(self) -> str:
        """The text form under one bar per layer, in the text color of the notebook.

        Examples
        --------
        >>> Schedule((2, 1))._repr_html_().count("<rect ")
        2
        """
        scale = _BAR_HEIGHT / max(self.counts)
        bars = "".join(
            f'<rect x="{_BAR_STEP * layer}" y="{_BAR_HEIGHT - scale * count:g}"'
            f' width="{_BAR_STEP - 2}" height="{scale * count:g}"/>'
            for layer, count in enumerate(self.counts)
        )
        return (
            f'<div><svg role="img" aria-label="Experts per layer: {self}" fill="currentColor"'
            f' width="{_BAR_STEP * self.depth}" height="{_BAR_HEIGHT}">{bars}</svg>'
            f"<br><code>{self}</code></div>"
        )
