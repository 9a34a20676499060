"""Numbers, names and lists as sentences and tables write them, and paragraphs of Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import TextWrapper
from typing import Any

_PARAGRAPH = TextWrapper(100, break_long_words=False, break_on_hyphens=False)
_BULLET = TextWrapper(100, "- ", "  ", break_long_words=False, break_on_hyphens=False)


def number(value: float, form: str) -> str:
    """A number in a format such as ``.4f``; a question mark where it is unknown.

    Examples
    --------
    >>> number(0.25, ".4f"), number(float("nan"), ".4f")
    ('0.2500', '?')
    """
    return "?" if math.isnan(value) else format(value, form)


def plus_minus(width: float, form: str) -> str:
    """Half an interval, to be written after its middle."""
    return f" ± {number(width, form)}"


def half_interval(row: Any, name: str) -> float:
    """From a mean to the farther end of its interval; one end can be cut off at a bound.

    Parameters
    ----------
    row : mapping
        A row of a table that has the columns `name`, and that with ``_low`` and ``_high``.
    name : str
    """
    return float(max(row[f"{name}_high"] - row[name], row[name] - row[f"{name}_low"]))


def percents(share: float) -> str:
    """A share in whole percents."""
    return f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has one.

    Examples
    --------
    >>> duration(0.4), duration(42), duration(426), duration(100_000)
    ('0.4 s', '42 s', '7.1 min', '27.8 h')
    """
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def p_value(value: float) -> str:
    """A p value with its sign of relation; a question mark where it is unknown.

    Examples
    --------
    >>> p_value(0.04), p_value(1e-9)
    ('= 0.040', '< 0.001')
    """
    if math.isnan(value):
        return "?"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def engineering(value: float) -> str:
    """A number in three digits with an SI prefix, to be followed by its unit.

    Examples
    --------
    >>> engineering(25_263_360), engineering(0.00012), engineering(0)
    ('25.3 M', '120 µ', '0 ')
    """
    if value == 0:
        return "0 "
    power = min(5, max(-3, math.floor(math.log10(abs(value) * (1 + 5.1e-4)) / 3)))
    prefix = dict(zip(range(-3, 6), ("n", "µ", "m", "", "k", "M", "G", "T", "P"), strict=True))
    return f"{value / 1000**power:.3g} {prefix[power]}"


def span(low: str, high: str) -> str:
    """From one to the other; once where they are the same."""
    return low if low == high else f"{low} to {high}"


def counted(count: int, thing: str) -> str:
    """A count and its noun."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def named(name: str, candidate: str) -> str:
    """A candidate, after its name where it has one.

    Examples
    --------
    >>> named("uniform", "4-4"), named("", "5-3")
    ('uniform (4-4)', '5-3')
    """
    return f"{name} ({candidate})" if name else candidate


def enumerated(parts: Sequence[str]) -> str:
    """A list in a sentence."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def paragraph(text: str) -> str:
    """A paragraph of Markdown, in lines of at most 100 characters."""
    return _PARAGRAPH.fill(" ".join(text.split()))


def bullets(texts: Sequence[str]) -> str:
    """A list of Markdown, likewise."""
    return "\n".join(_BULLET.fill(" ".join(text.split())) for text in texts)
