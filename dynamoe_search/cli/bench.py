"""The command ``bench``, which makes a tabular benchmark of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamoe_search.cli.console import Name, Storage, StudyArgument, open_study, say, write_text
from dynamoe_search.files import shell_word, user_path


def bench(
    study: StudyArgument,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where tables are; those that come with the package without it."),
    ] = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Make a tabular benchmark of a study that has trained every schedule, or active schedule.

    Writes the table with its checksum, for `dynamoe_search.bench.load`, and a data card, README.md,
    beside the study file. Nothing is trained.

    Example: `dynamoe-search run studies/schedule-bench && dynamoe-search bench
    studies/schedule-bench`
    """
    from dynamoe_search.bench import TABLES, write_bench
    from dynamoe_search.bench.tabulation import tabulate
    from dynamoe_search.report.bench_card import bench_card

    opened = open_study(study, storage, name)
    runs, study_file = opened.training_runs(), opened.file
    table = tabulate(runs, study_file, opened.changes, str(opened.storage))
    path = write_bench(table, user_path(folder or TABLES))
    say(f"wrote {path} ({path.stat().st_size:,} bytes)")
    card = opened.folder / "README.md"
    write_text(card, bench_card(table, f"dynamoe-search bench {shell_word(study)}"))
    say(f"wrote {card}")
