"""The command ``claims``, which tests the source's claims."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import DataDirectory, Workers, save_plot, say, write_text
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path

if TYPE_CHECKING:
    from dynamoe_search.claims.units import ClaimTable

_PLOT = "effects.png"


def claims(
    folder: Annotated[Path, typer.Argument(help="A folder with a folder for each study.")],
    run: Annotated[
        bool, typer.Option("--run", help="Train what is missing, study by study.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=2, help="With --run: paired seeds of each study.")] = 8,
    only: Annotated[
        str | None, typer.Option(help="With --run: only the study in the folder of this name.")
    ] = None,
    workers: Workers = None,
    data_dir: DataDirectory = None,
) -> None:
    """Judge the source's claims by the tables of their studies.

    Writes README.md, with a verdict for each claim and condition, and a plot of all effects. With
    --run it first trains what is missing: interrupt it at any moment; the same command goes on.
    What verdicts need of each study is kept beside it, in runs.parquet: where that file is, nothing
    has to be trained again.

    Example: `dynamoe-search claims studies/claims --run --data-dir data`
    """
    from dynamoe_search.claims.units import claim_tables

    folder = user_path(folder)
    tables = claim_tables(folder)
    names = sorted({table.folder.name for table in tables})
    if only is not None and (not run or only not in names):
        raise InvalidInput(f"--only goes with --run, and is one of {', '.join(names)}")
    to_run = [table for table in tables if run and only in (None, table.folder.name)]
    to_the_end = all(_train(table, seeds, workers, data_dir) for table in to_run)
    for table in tables:
        if table.unit.about != "routing":
            _export(table)
    _write_page(folder, tables)
    if not to_the_end:
        say("Interrupted; the same command goes on.")
        raise typer.Exit(130)


def _train(table: ClaimTable, seeds: int, workers: int | None, data_dir: Path | None) -> bool:
    """Train what a unit lacks, and keep it; false where that was interrupted."""
    from dynamoe_search.claims.units import is_complete, load_runs, measure_routings
    from dynamoe_search.report.claims import name_of
    from dynamoe_search.run.worker import one_thread
    from dynamoe_search.study import Study

    title = f"{name_of(table.unit)} ({table.folder.name})"
    if is_complete(load_runs(table), seeds):
        say(f"{title}: complete")
        return True
    try:
        if table.unit.about == "routing":
            one_thread()  # as in the workers: such small networks gain nothing by more
            told = f"{title}: gradients with either routing"
            measure_routings(
                table, seeds, data_dir, lambda done: say(f"{told}, {done} of {seeds} seeds")
            )
            return True
        say(f"{title}: the named schedules once, then a confirmation from {seeds} seeds")
        study = Study(table.folder, data_directory=data_dir)
        ending = study.run(workers)
        if ending != "interrupted":
            ending = study.confirm(seeds, workers=workers)
    except KeyboardInterrupt:
        return False
    return ending != "interrupted"


def _export(table: ClaimTable) -> None:
    from dynamoe_search.claims.units import export_runs
    from dynamoe_search.study import Study

    study = Study(table.folder)
    with suppress(InvalidInput):  # where nothing was confirmed here
        export_runs(table, study.training_runs("confirmation"), study.confirmation()[1])


def _write_page(folder: Path, tables: list[ClaimTable]) -> None:
    from dynamoe_search.claims.units import load_runs
    from dynamoe_search.claims.verdicts import judge
    from dynamoe_search.report.claims import claims_page, plot_claims

    loaded = {table.unit: load_runs(table) for table in tables}
    runs = {unit: found for unit, found in loaded.items() if found is not None}
    verdicts = judge(list(loaded), runs)
    figure = plot_claims(verdicts)
    if figure is not None:
        save_plot(figure, folder / _PLOT)
    page = claims_page(
        verdicts,
        list(loaded),
        runs,
        command=f"dynamoe-search claims {shell_word(folder)}",
        plot=_PLOT if figure is not None else None,
    )
    path = folder / "README.md"
    write_text(path, page)
    say(f"wrote {path}")
