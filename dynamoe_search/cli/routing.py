"""The command ``routing``: what the routing trace of a trainer shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import console, save_plot, say, write_table, write_text
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path

if TYPE_CHECKING:
    from dynamoe_search.interop.observed import ObservedRouting


def routing(
    traces: Annotated[
        list[Path],
        typer.Argument(
            help="Files of JSON lines, or folders with files *.jsonl.", metavar="TRACE..."
        ),
    ],
    experts: Annotated[
        int | None,
        typer.Option(
            "--experts",
            "-e",
            min=1,
            help="Experts of each layer. A trace does not say it; the largest that was used does"
            " without it.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The title of the page.")] = "Routing",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the page, all tables, plots and metrics to this folder."),
    ] = None,
) -> None:
    """Say how a model routes, from routing traces of Megatron-LM (--moe-routing-trace-path).

    How evenly each layer uses its experts, which are dead, which are used together, and how many a
    token uses. All steps and ranks are counted together; give fewer files to see a part. With
    --out also report.html, and metrics.json by the names that NeMo Automodel logs. For a model of
    Hugging Face transformers there is `dynamoe_search.observe`.

    Example: `dynamoe-search routing traces --experts 64 --out routing`
    """
    from dynamoe_search.interop.routing_trace import read_routing_trace
    from dynamoe_search.report.routing import routing_sentences, routing_tables
    from dynamoe_search.report.terminal import print_table

    with console.status("reading the trace"):
        seen = read_routing_trace(traces, experts)
        sentences, tables = routing_sentences(seen), routing_tables(seen)
    say("\n".join(sentences))
    for table in tables:
        print_table(console, table)
    if out is not None:
        _write(seen, user_path(out), title)


def _write(seen: ObservedRouting, folder: Path, title: str) -> None:
    from dynamoe_search.report.html.routing import make_routing_report
    from dynamoe_search.report.routing import routing_plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be made: {error}") from error
    tables = {
        "utilization": seen.utilization_table(),
        "load": seen.load_table(),
        "active": seen.active_table(),
        "co_activation": seen.co_activation_table(),
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    write_text(folder / "metrics.json", json.dumps(seen.metrics(detailed=True), indent=2) + "\n")
    write_text(folder / "report.html", make_routing_report(seen, title))
    say(f"wrote report.html, metrics.json and {len(tables)} tables to {folder}")
    for name, figure in routing_plots(seen).items():
        save_plot(figure, folder / f"{name}.png")
