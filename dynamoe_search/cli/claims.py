"""The command ``claims``, which tests claims of the source and of others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import DataDirectory, save_plot, say, write_text
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.claims.source import Unit
    from dynamoe_search.claims.units import ClaimTable

_PLOT = "effects.png"


def claims(
    folder: Annotated[Path, typer.Argument(help="A folder with a folder for each study.")],
    run: Annotated[bool, typer.Option("--run", help="Train what open questions need.")] = False,
    most_seeds: Annotated[
        int, typer.Option(min=4, max=1000, help="With --run: the most paired seeds of a question.")
    ] = 200,
    only: Annotated[
        list[str] | None,
        typer.Option(help="With --run: only the study in this folder; can be repeated."),
    ] = None,
    data_dir: DataDirectory = None,
) -> None:
    """Judge claims of the source and of others by the tables of their studies.

    Writes README.md, with a verdict for each claim and condition, and a plot of all effects. With
    --run it first trains, four seeds at a time, until each question is decided or has the most
    seeds; the next question is always the one that is likely decided soonest. Interrupt it at any
    moment: the same command goes on. Error rates hold over all looks, however many seeds follow.
    What verdicts need is kept beside each study, in runs.parquet. On several cores, give each its
    own command, with --only.

    Example: `dynamoe-search claims studies/claims --run --data-dir data`
    """
    from dynamoe_search.claims.units import claim_tables

    folder = user_path(folder)
    tables = claim_tables(folder)
    names = sorted({table.folder.name for table in tables})
    wanted = names if only is None else only
    if not set(wanted) <= set(names) or (only is not None and not run):
        raise InvalidInput(f"--only goes with --run, and is one of {', '.join(names)}")
    try:
        if run:
            _train(tables, wanted, most_seeds, data_dir)
    except KeyboardInterrupt:
        _write_page(folder, tables)
        say("Interrupted; the same command goes on.")
        raise typer.Exit(130) from None
    _write_page(folder, tables)


def _train(
    tables: list[ClaimTable], wanted: list[str], most_seeds: int, data_dir: Path | None
) -> None:
    """Train until no question of the wanted studies is open."""
    from dynamoe_search.claims.training import Trainer, next_step
    from dynamoe_search.claims.verdicts import judge
    from dynamoe_search.report.claims import name_of
    from dynamoe_search.run.worker import one_thread

    one_thread()  # such small networks gain nothing by more
    trainers = {
        table.unit: Trainer(table, data_dir) for table in tables if table.folder.name in wanted
    }
    of_trainers = [trainer.table for trainer in trainers.values()]
    while True:
        runs = _load(tables)
        verdicts = judge([table.unit for table in tables], runs)
        step = next_step(verdicts, of_trainers, runs, most_seeds)
        if step is None:
            return
        unit = step.table.unit
        left = verdicts.loc[verdicts["family"] != "secondary", "verdict"].isin(
            ["undecided", "not run yet"]
        )
        told = f"{name_of(unit)}, from seed {step.place + 1}; {left.sum()} questions are open"
        trainers[unit].train(step, partial(_tell, told))


def _tell(told: str, names: str) -> None:
    say(f"{told}: {names}")


def _load(tables: list[ClaimTable]) -> dict[Unit, pd.DataFrame]:
    """The training runs of the units that were begun."""
    from dynamoe_search.claims.units import load_runs

    loaded = {table.unit: load_runs(table) for table in tables}
    return {unit: found for unit, found in loaded.items() if found is not None}


def _write_page(folder: Path, tables: list[ClaimTable]) -> None:
    from dynamoe_search.claims.verdicts import judge
    from dynamoe_search.report.claims import claims_page, plot_claims

    units, runs = [table.unit for table in tables], _load(tables)
    verdicts = judge(units, runs)
    figure = plot_claims(verdicts)
    if figure is not None:
        save_plot(figure, folder / _PLOT)
    page = claims_page(
        verdicts,
        units,
        runs,
        command=f"dynamoe-search claims {shell_word(folder)}",
        plot=_PLOT if figure is not None else None,
    )
    path = folder / "README.md"
    write_text(path, page)
    say(f"wrote {path}")
