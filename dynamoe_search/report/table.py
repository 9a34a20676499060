"""A table of text. A terminal, the report and a notebook show the same one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Parameters
    ----------
    header : str
    is_number : bool
        Whether its cells are numbers, which are aligned to the right.
    is_name : bool
        Whether it says what a row is about. A terminal never cuts it; a page makes it the header
        of the row.
    """

    header: str
    is_number: bool = False
    is_name: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under columns.

    Parameters
    ----------
    columns : sequence of Column
        The most important first: a narrow terminal leaves out the last ones.
    rows : sequence of sequence of str
        A cell per column.
    title : str
    caption : str
        What the columns and marks mean.
    emphasized : collection of int
        The rows that stand out, counted from 0.

    Examples
    --------
    >>> Table((Column("schedule", is_name=True), *numbers("loss")), [("3-1", "0.52")]).rows
    [('3-1', '0.52')]
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    caption: str = ""
    emphasized: Collection[int] = ()


def texts(*headers: str) -> list[Column]:
    """Columns of text."""
    return [Column(header) for header in headers]


def numbers(*headers: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(header, is_number=True) for header in headers]
