"""Figures as SVG inside a page: no outside reference, no id twice, and the page's own colors."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from dynamoe_search.report.figure import BLUE, GREEN, ORANGE, lay_out, own_style

# Black and white are the page's text and background, which it exchanges in the dark; it also has
# our own colors, lighter there and darker here, so that text in them can be read.
_OF_THE_PAGE = {
    "#000000": "currentColor",
    "#262626": "currentColor",  # the dark gray of axes
    "#ffffff": "var(--paper)",
    "#555555": "var(--quiet)",
    "#696969": "var(--quiet)",
    BLUE.lower(): "var(--blue)",
    ORANGE.lower(): "var(--orange)",
    GREEN.lower(): "var(--green)",
}
_COLOR = re.compile("|".join(_OF_THE_PAGE))
_ATTRIBUTE = re.compile(r' ([\w:-]+)="([^"]*)"')
_REFERENCE = re.compile(r"(url\(#|^#)([^)]+)")
_DECIMALS = re.compile(r"(\d\.\d\d)\d+")
_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_PIXELS_OF_A_POINT = 96 / 72
_DOTS_AN_INCH = 200  # of what is an image inside


@dataclass(frozen=True)
class Picture:
    """A figure, drawn; its width in pixels of CSS is that at which text has its own size."""

    svg: Markup
    caption: str
    width: int


def draw(figure: Figure, prefix: str, caption: str) -> Picture:
    """Draw a figure for a page.

    Parameters
    ----------
    figure : Figure
        Its layout is made, and then fixed.
    prefix : str
        Of its ids: another for each figure of a page.
    caption : str
        What can be seen, also for those who cannot see it.
    """
    buffer = io.StringIO()
    with own_style(), mpl.rc_context({"svg.hashsalt": prefix}):
        lay_out(figure)
        figure.savefig(
            buffer, format="svg", dpi=_DOTS_AN_INCH, facecolor="none", metadata={"Date": None}
        )
    drawn = buffer.getvalue()
    body = _DROPPED.sub("", drawn[drawn.index(">", drawn.index("<svg")) + 1 :])
    used = {
        match[2] for _, value in _ATTRIBUTE.findall(body) for match in _REFERENCE.finditer(value)
    }
    ids = {old: f"{prefix}-{number}" for number, old in enumerate(sorted(used))}

    def written(attribute: re.Match[str]) -> str:
        name, value = attribute[1].removeprefix("xlink:"), attribute[2]
        if name == "id":
            return f' id="{ids[value]}"' if value in ids else ""
        if name == "d":  # of a path: no finer than can be seen
            value = _DECIMALS.sub(r"\1", value)
        value = _REFERENCE.sub(lambda found: found[1] + ids[found[2]], value)
        value = _COLOR.sub(lambda found: _OF_THE_PAGE[found[0]], value)
        return f' {name}="{value}"'

    width, height = 72 * figure.get_size_inches()
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(caption)}">'
    svg = Markup(opening + _ATTRIBUTE.sub(written, body))
    return Picture(svg, caption, round(_PIXELS_OF_A_POINT * width))
