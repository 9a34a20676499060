"""Numbers as sentences and cards have them, and text as Markdown has it."""

from __future__ import annotations

from textwrap import fill


def percents(share: float) -> str:
    """A share in whole percents.

    Examples
    --------
    >>> percents(0.256)
    '26 %'
    """
    return f"{100 * share:.0f} %"


def p_value(value: float) -> str:
    """A p value with its sign of relation.

    Examples
    --------
    >>> p_value(0.04), p_value(1e-9)
    ('= 0.040', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def paragraph(text: str) -> str:
    """A paragraph of Markdown, in lines of at most 100 characters."""
    return fill(text, 100, break_long_words=False, break_on_hyphens=False)


def item(text: str) -> str:
    """An item of a list, likewise."""
    return fill(
        f"- {text}", 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
