"""The command ``bounds``: what no schedule of a budget can beat."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Name,
    PlotFile,
    Storage,
    console,
    open_study,
    save_plot,
    say,
    write_table,
    write_text,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import DEFAULT_CONTRAST, Schedule
from dynamoe_search.specification import (
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
    with_constants,
)

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.bounds.budget import ExpertBudget
    from dynamoe_search.bounds.machine import Machine
    from dynamoe_search.bounds.scaling_laws import Extrapolation

_ROUTERS: dict[str, Router] = {
    router.name: router for router in (Percentile(), TopK(), TopP(), Relative(), Threshold())
}
_BESIDE_A_STUDY = (
    *("study", "peak_flops", "bandwidth", "measure", "csv", "json", "plot"),
    *("data_dir", "storage", "name"),
)
_DEFAULT_LAYERS, _DEFAULT_EXPERTS = 8, 32


def bounds(
    context: typer.Context,
    study: Annotated[
        Path | None,
        typer.Option(
            help="Of this study: its budget, and beside it what was measured in its runs."
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers", "-l", min=1, max=4096, help="Layers of experts; 8 without a schedule."
        ),
    ] = None,
    experts: Annotated[
        int | None,
        typer.Option(
            "--experts",
            "-e",
            min=1,
            help="Experts of all layers together; 32 without a schedule.",
        ),
    ] = None,
    width: Annotated[int, typer.Option(min=1, help="The model width.")] = 512,
    hidden: Annotated[int, typer.Option(min=1, help="The hidden width of an expert.")] = 2048,
    router: Annotated[
        str,
        typer.Option(
            help="percentile, top_k, top_p, relative or threshold, with its constant:"
            " top_k:2, top_p:0.7, or top_p:p=0.7,target=2."
        ),
    ] = "top_k:2",
    compare: Annotated[
        str, typer.Option(help="Patterns, presets or schedules to set beside, with commas.")
    ] = "descending,pyramid,uniform",
    schedule: Annotated[
        list[str] | None, typer.Option(help="A schedule such as 8-6-4-2; can be repeated.")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="Also draw schedules from a family: blend, mixture, spline or free."),
    ] = None,
    minimum: Annotated[int, typer.Option(min=1, help="The fewest experts of a layer.")] = 1,
    maximum: Annotated[int | None, typer.Option(min=1, help="The most experts of a layer.")] = None,
    step: Annotated[
        int, typer.Option(min=1, help="Every layer has a multiple of this number of experts.")
    ] = 1,
    contrast: Annotated[float, typer.Option(min=0.0, help="How far patterns swing.")] = (
        DEFAULT_CONTRAST
    ),
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a batch.")] = 32,
    trained_tokens: Annotated[
        float | None,
        typer.Option(
            help="Also extrapolate published scaling laws to this number of training tokens."
        ),
    ] = None,
    peak_flops: Annotated[
        float | None, typer.Option(help="The machine's FLOP/s, for times; with --bandwidth.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="The machine's memory bandwidth in bytes/s.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this machine instead, in a few seconds.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all of it to this JSON file.")] = None,
    plot: PlotFile = None,
    data_dir: DataDirectory = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Say what no schedule of a budget can beat, and how far from it some schedules are.

    For all schedules of the budget, exactly: the most routing configurations, by the router's real
    rule; the FLOPs of a token; the ceiling of the load entropy; the experts that a batch uses; and
    with a machine's peak and bandwidth the least times. Nothing is trained. Only the layers of
    experts are counted: the rest of a network costs every schedule the same.

    With --study the budget is that of a study, and its leaders and named schedules are shown
    between their bounds: active experts, FLOPs, load entropy, and the time of a training run, as
    measured.

    Example: `dynamoe-search bounds --layers 12 --experts 96 --router top_p:0.7 --plot bounds.png`

    Example: `dynamoe-search bounds --study studies/digits --measure`
    """
    from dynamoe_search.bounds.budget import (
        ExpertBudget,
        budget_extremes,
        compare_schedules,
        family_bounds,
    )
    from dynamoe_search.bounds.extrapolation import extrapolate_budget
    from dynamoe_search.report import bounds as report
    from dynamoe_search.report.bounds import bounds_table
    from dynamoe_search.report.terminal import print_table

    if study is not None:
        _refuse_beside_a_study(context)
        from dynamoe_search.cli.study_bounds import bounds_of_study

        machine = _machine(peak_flops, bandwidth, measure, one_thread=True)
        opened = open_study(study, storage, name, data_dir)
        bounds_of_study(opened, machine, csv, json, plot)
        return
    written = [Schedule.parse(text) for text in schedule or []]
    budget = ExpertBudget(
        layers or (written[0].depth if written else _DEFAULT_LAYERS),
        experts or (written[0].total if written else _DEFAULT_EXPERTS),
        width,
        hidden,
        read_router(router),
        minimum=minimum,
        maximum=maximum,
        tokens=tokens,
        step=step,
    )
    machine = _machine(peak_flops, bandwidth, measure)
    names = [*filter(None, map(str.strip, compare.split(","))), *map(str, written)]
    if not names:
        raise InvalidInput("there is nothing to compare; name a pattern, a preset or a schedule")
    with console.status("computing the bounds"):
        named = {name: budget.named(name, contrast) for name in names}
        scores = compare_schedules(budget, named)
        extremes = budget_extremes(budget)
        sentences = report.bounds_sentences(budget, scores, extremes)
        met = None
        if family is not None:
            met = family_bounds(budget, family)
            sentences.append(report.family_sentence(family, met, extremes))
        shown = _with_extremes(budget, scores, extremes)
        times = None
        if machine is not None:
            from dynamoe_search.bounds.machine import roofline

            times = roofline(shown, tokens, machine)
            compared = times.iloc[: len(scores)]
            sentences += report.machine_sentences(machine, compared, list(named), tokens)
        laws = [] if trained_tokens is None else extrapolate_budget(budget, trained_tokens)
    say("\n".join([*sentences, *report.extrapolation_lines(laws)]))
    print_table(console, bounds_table(shown, extremes, times))
    table = shown if times is None else shown.join(times)
    if csv is not None:
        write_table(table, csv, "csv")
        say(f"wrote {csv}")
    if json is not None:
        record = _record(budget, table, extremes, met, machine, laws, sentences)
        write_text(json, json_format.dumps(record, indent=2, allow_nan=False) + "\n")
        say(f"wrote {json}")
    if plot is not None:
        from dynamoe_search.report.bounds_plot import plot_bounds

        save_plot(plot_bounds(budget, scores, extremes, met), plot)


def read_router(text: str) -> Router:
    """A router from its name and constants: ``top_k:2``, or ``top_p:p=0.7,target=2``.

    Raises
    ------
    InvalidInput
        For an unknown router or constant, or a value that it cannot take.

    Examples
    --------
    >>> read_router("top_k:3").k, read_router("top_p:p=0.5,target=2").target
    (3, 2.0)
    """
    name, _, constants = text.partition(":")
    if name not in _ROUTERS:
        raise InvalidInput(f"unknown router {name!r}; choose from {', '.join(_ROUTERS)}")
    router = _ROUTERS[name]
    known = [field.name for field in fields(router) if field.name != "name"]
    values = {}
    for part in filter(None, constants.split(",")):
        key, equals, value = part.rpartition("=")
        key = key if equals else known[0]
        try:
            values[key] = float(value)
        except ValueError:
            raise InvalidInput(
                f"{part!r} in the router {text!r} is no constant; write {name}:{known[0]}=NUMBER,"
                f" the constants being {', '.join(known)}"
            ) from None
        if key not in known or (key == "k" and not values[key].is_integer()):
            raise InvalidInput(
                f"{part!r} in the router {text!r}: {name} has {', '.join(known)}"
                + (", and k is a whole number" if "k" in known else "")
            )
    return with_constants(router, values)


def _refuse_beside_a_study(context: typer.Context) -> None:
    """`InvalidInput` where an option is given that a study decides."""
    for name in context.params:
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and name not in _BESIDE_A_STUDY:
            option = "--" + name.replace("_", "-")
            raise InvalidInput(f"{option} is decided by the study; leave out {option}, or --study")


def _machine(
    peak_flops: float | None, bandwidth: float | None, measure: bool, one_thread: bool = False
) -> Machine | None:
    if (peak_flops is None) != (bandwidth is None):
        raise InvalidInput("a machine has two figures: give --peak-flops and --bandwidth, or none")
    if peak_flops is None and not measure:
        return None
    if peak_flops is None or bandwidth is None:
        from dynamoe_search.measure.machine import measure_machine

        if one_thread:  # as workers have
            import torch

            torch.set_num_threads(1)
        return measure_machine()
    if measure:
        raise InvalidInput("give --peak-flops and --bandwidth, or --measure, not both")
    from dynamoe_search.bounds.machine import Machine

    return Machine(peak_flops, bandwidth)


def _with_extremes(
    budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame
) -> pd.DataFrame:
    """The compared schedules, and those of most and fewest configurations below them."""
    import pandas as pd

    from dynamoe_search.bounds.budget import compare_schedules

    row = extremes.loc["log2_configurations"]
    ends = {"most ways": row["most_schedule"], "fewest ways": row["least_schedule"]}
    missing = {name: end for name, end in ends.items() if end not in set(scores["schedule"])}
    if not missing:
        return scores
    return pd.concat([scores, compare_schedules(budget, missing)], ignore_index=True)


def _record(
    budget: ExpertBudget,
    table: pd.DataFrame,
    extremes: pd.DataFrame,
    met: pd.DataFrame | None,
    machine: Machine | None,
    laws: list[Extrapolation],
    sentences: list[str],
) -> dict[str, Any]:
    return {
        "budget": asdict(budget),
        "schedules": table.assign(schedule=table["schedule"].map(str)).to_dict("records"),
        "extremes": extremes.astype({"least_schedule": str, "most_schedule": str}).to_dict("index"),
        "family": None if met is None else _numbers(met.describe()),
        "machine": None if machine is None else asdict(machine),
        "extrapolated": [asdict(law) for law in laws],
        "sentences": sentences,
    }


def _numbers(table: pd.DataFrame) -> dict[str, Any]:
    """A table for JSON, which has no NaN: the deviation of a single number is one."""
    return dict(table.astype(object).where(table.notna(), None).to_dict())
