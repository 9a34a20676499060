"""Figures as SVG inside a page: no outside reference, no id twice, and the page's own colors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

# Black and white are the page's ink and paper, which it exchanges in the dark.
_OF_THE_PAGE = {
    "#000000": "currentColor",
    "#262626": "currentColor",  # seaborn's black
    "#ffffff": "var(--paper)",
    "#555555": "var(--quiet)",
    "#696969": "var(--quiet)",
}
_REFERENCE = re.compile(r"(url\(#|^#)([^)]+)")
_DECIMALS = re.compile(r"(\d\.\d\d)\d+")
_PIXELS_OF_A_POINT = 96 / 72


@dataclass(frozen=True)
class Picture:
    """A figure, drawn.

    Parameters
    ----------
    svg : Markup
        To stand in a page as it is.
    caption : str
    width : int
        At which text has its own size, in pixels of CSS.
    """

    svg: Markup
    caption: str
    width: int


def draw(figure: Figure, prefix: str, caption: str) -> Picture:
    """Draw a figure for a page.

    Parameters
    ----------
    figure : Figure
    prefix : str
        Of its ids: another for each figure of a page.
    caption : str
        What can be seen, also for those who cannot see it.
    """
    buffer = io.StringIO()
    # Text as text: it can be searched and read out, and is small.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(
            buffer, format="svg", facecolor="none", bbox_inches="tight", metadata={"Date": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _rename_ids(root, prefix)
    width = float(root.attrib["viewBox"].split()[2]) * _PIXELS_OF_A_POINT
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": caption}
    return Picture(Markup(ElementTree.tostring(root, encoding="unicode")), caption, round(width))


def _strip(root: ElementTree.Element) -> None:
    """Take away what a page must not have: metadata, style of the whole page, namespaces."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _themed(v) for name, v in element.attrib.items()}
        if "d" in element.attrib:  # of a path: no finer than can be seen
            element.attrib["d"] = _DECIMALS.sub(r"\1", element.attrib["d"])


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _themed(value: str) -> str:
    for color, own in _OF_THE_PAGE.items():
        value = value.replace(color, own)
    return value


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Keep the ids that are referred to, with the prefix, and no others."""
    wanted = {reference for element in root.iter() for reference in _references(element)}
    new = {old: f"{prefix}-{number}" for number, old in enumerate(sorted(wanted))}
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in new:
            element.attrib["id"] = new[own]
        for name, value in element.attrib.items():
            element.attrib[name] = _REFERENCE.sub(lambda m: m[1] + new[m[2]], value)


def _references(element: ElementTree.Element) -> Iterator[str]:
    for name, value in element.attrib.items():
        if name != "id":
            yield from (match[2] for match in _REFERENCE.finditer(value))
