"""What was seen of a model's routing as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dynamoe_search import __version__
from dynamoe_search.files import user_path, writing
from dynamoe_search.report import routing as seen
from dynamoe_search.report.html.page import draw_part
from dynamoe_search.report.html.sections import Section
from dynamoe_search.report.rendering import render

if TYPE_CHECKING:
    from dynamoe_search.interop.observed import ObservedRouting

_CAPTIONS = {
    "load": "The load of the experts of each layer, the busiest first",
    "active": "How many experts a token uses",
}


def make_routing_report(routing: ObservedRouting, title: str = "Routing") -> str:
    """Tables, plots and metrics of what was observed, as one HTML file that needs no other.

    Parameters
    ----------
    routing : ObservedRouting
        Of `observe` or `read_routing_trace`.
    title : str
        What was observed: the name of a model.
    """
    plots = {_CAPTIONS[name]: plot for name, plot in seen.routing_plots(routing).items()}
    layers, *pairs = seen.routing_tables(routing)
    sections = {
        "use": (
            "How the experts are used",
            Section(seen.routing_sentences(routing), plots, [layers]),
        ),
        "pairs": ("Which experts are used together", Section(tables=pairs)),
        "metrics": ("Metrics for dashboards", Section(tables=[seen.metrics_table(routing)])),
    }
    if not pairs:
        del sections["pairs"]  # each token uses one expert
    return render(
        "routing.html",
        title=title,
        kind="routing",
        parts=[draw_part(anchor, *about) for anchor, about in sections.items()],
        made_by=__version__,
    )


def write_routing_report(
    routing: ObservedRouting, path: Path | str, title: str = "Routing"
) -> Path:
    """Write the page of `make_routing_report`, whole or not at all.

    Parameters
    ----------
    routing : ObservedRouting
    path : path
        The HTML file.
    title : str

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InvalidInput
        If it cannot be written.
    """
    path, page = user_path(path), make_routing_report(routing, title)
    with writing(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return path
