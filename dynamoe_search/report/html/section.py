"""A section of a report, before it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure
from rich.table import Table

from dynamoe_search.report.html.evidence import Evidence


@dataclass(frozen=True)
class Section:
    """What a section says and shows, in this order.

    Parameters
    ----------
    sentences : sequence of str
    figures : mapping of str to Figure
        By caption.
    tables : sequence of Table
        As the terminal shows them.
    texts : mapping of str to str
        By title, to be shown as they are, letter by letter.
    """

    sentences: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


MakeSection = Callable[[Evidence], Section]
"""Raises `InvalidInput` where the study has no such data: why, and how to get them."""
