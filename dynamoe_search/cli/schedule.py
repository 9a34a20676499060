"""Commands on schedules: ``schedule show``, ``list`` and ``enumerate``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dynamoe_search.cli.console import PlotFile, console, save_plot
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import writing
from dynamoe_search.schedules import (
    ACTIVE_PRESETS,
    DEFAULT_CONTRAST,
    PATTERNS_AND_UNIFORM,
    PRESETS,
    Schedule,
    count_schedules,
    describe_preset,
    enumerate_schedules,
    pattern_schedule,
    preset_schedule,
)

app = typer.Typer(help="Look at schedules: the experts of each layer.", no_args_is_help=True)

Layers = Annotated[int, typer.Option("--layers", "-l", min=1, max=4096, help="Layers of experts.")]
Experts = Annotated[
    int, typer.Option("--experts", "-e", min=1, help="Experts of all layers together.")
]
Minimum = Annotated[int, typer.Option(min=1, help="The fewest experts of a layer.")]
Maximum = Annotated[int | None, typer.Option(min=1, help="The most experts of a layer.")]
Step = Annotated[
    int, typer.Option(min=1, help="Every layer has a multiple of this number of experts.")
]
Contrast = Annotated[
    float,
    typer.Option(
        min=0.0, help="How far patterns swing: largest to smallest is (1 + c) to (1 - c)."
    ),
]


@app.command("show")
def schedule_show(
    what: Annotated[str, typer.Argument(help="A schedule such as 8-6-4-2, or a pattern's name.")],
    layers: Layers = 8,
    experts: Experts = 32,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    step: Step = 1,
    contrast: Contrast = DEFAULT_CONTRAST,
    plot: PlotFile = None,
) -> None:
    """Show one schedule; for a pattern or a preset, at the given layers and experts.

    Example: `dynamoe-search schedule show pyramid --layers 12 --experts 96`
    """
    from dynamoe_search.report.schedules import bars

    if what in PATTERNS_AND_UNIFORM:
        schedule = pattern_schedule(what, layers, experts, minimum, maximum, contrast, step=step)
        title = f"{what}: {schedule}"
    elif what in PRESETS:
        schedule = preset_schedule(what, layers, experts, minimum, maximum, step)
        title = f"{what}: {schedule}"
    elif what[:1].isalpha():
        raise InvalidInput(
            f"{what!r} is neither a schedule, such as 8-6-4-2, nor a name: choose from"
            f" {', '.join([*PATTERNS_AND_UNIFORM, *PRESETS])}"
        )
    else:
        schedule = Schedule.parse(what)
        title = str(schedule)
    console.print(
        f"[bold]{title}[/bold]  {schedule.depth} layers, {schedule.total} experts,"
        f" {min(schedule)} to {max(schedule)} per layer",
        highlight=False,
    )
    console.print("\n".join(bars(schedule)), highlight=False)
    if plot is not None:
        from dynamoe_search.report.schedules import plot_schedules

        save_plot(plot_schedules({title: schedule}), plot)


@app.command("list")
def schedule_list(
    layers: Layers = 8,
    experts: Experts = 32,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    step: Step = 1,
    contrast: Contrast = DEFAULT_CONTRAST,
    plot: PlotFile = None,
) -> None:
    """Show the six patterns, uniform, and the literature's presets at one budget."""
    from dynamoe_search.report.schedules import schedule_table
    from dynamoe_search.report.terminal import print_table

    bounds = (layers, experts, minimum, maximum)
    schedules = {
        pattern: pattern_schedule(pattern, *bounds, contrast, step=step)
        for pattern in PATTERNS_AND_UNIFORM
    }
    presets = {preset: preset_schedule(preset, *bounds, step) for preset in PRESETS}
    about = dict.fromkeys(schedules, f"a pattern of contrast {contrast:g}") | {
        preset: describe_preset(preset) for preset in PRESETS
    }
    about["uniform"] = "the origin: the same everywhere"
    console.print(f"{layers} layers share {experts} experts", highlight=False)
    print_table(console, schedule_table(schedules | presets, about))
    for preset in ACTIVE_PRESETS:
        rule = describe_preset(preset)
        console.print(f"{preset}, of active experts: {rule}", highlight=False)
    if plot is not None:
        from dynamoe_search.report.schedules import plot_schedules

        titled = {f"{name}\n{schedule}": schedule for name, schedule in schedules.items()}
        save_plot(plot_schedules(titled), plot)


@app.command("enumerate")
def schedule_enumerate(
    layers: Layers = 4,
    experts: Experts = 12,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    step: Step = 1,
    rows: Annotated[int, typer.Option(min=0, help="Show at most this number.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Write all of them to this file.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Write no file of more schedules than this.")
    ] = 1_000_000,
) -> None:
    """Count every schedule of a total, and list them."""
    from dynamoe_search.report.schedules import sparkline

    bounds = (experts, layers, minimum, maximum, step)
    schedules, count = enumerate_schedules(*bounds), count_schedules(*bounds)
    console.print(f"{count:,} schedules of {layers} layers with {experts} experts", highlight=False)
    for schedule in islice(schedules, rows):
        console.print(f"{schedule}  {sparkline(schedule)}", highlight=False)
    if count > rows:
        console.print(f"... and {count - rows:,} more", highlight=False)
    if csv is not None:
        if count > limit:
            raise InvalidInput(
                f"--csv would write {count:,} schedules; for more than {limit:,} give --limit, or"
                " choose fewer layers or experts, a --minimum or a --maximum"
            )

        with writing(csv) as beside, beside.open("w", encoding="utf-8") as file:
            file.write("schedule\n")
            for schedule in enumerate_schedules(*bounds):
                file.write(f"{schedule}\n")
        console.print(f"wrote {escape(str(csv))}")
