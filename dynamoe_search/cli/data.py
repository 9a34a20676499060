"""Commands on data: ``data list``, ``download`` and ``prepare``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from dynamoe_search.cli.console import DataDirectory, Workers, console, say
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path

if TYPE_CHECKING:
    from dynamoe_search.data.documents import TextFormat

app = typer.Typer(help="Look at data, fetch images, prepare text.", no_args_is_help=True)


class FormatName(StrEnum):
    """How documents are kept in files."""

    TEXT = "text"
    JSONL = "jsonl"
    PARQUET = "parquet"


class TokenizerName(StrEnum):
    """How text becomes tokens."""

    BYTE = "byte"
    BPE = "bpe"


@app.command("list")
def data_list(data_dir: DataDirectory = None) -> None:
    """Show which data sets are there, and where each was looked for."""
    from dynamoe_search.data import list_data

    headers = ("name", "there", "where", "files")
    # Names of files are never cut.
    table = Table(*(Column(header, overflow="fold") for header in headers), box=box.SIMPLE_HEAD)
    for row in list_data(data_dir).itertuples():
        there = "yes" if row.there else "no"
        table.add_row(escape(row.name), there, escape(row.where), escape(row.files))
    console.print(table)


@app.command("download")
def data_download(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    data_dir: DataDirectory = None,
) -> None:
    """Fetch a set of images from its official address, and check it.

    Interrupt it at any moment; the same command goes on. Files that are there already and are right
    are left alone.

    Example: `dynamoe-search data download mnist --data-dir data`
    """
    from dynamoe_search.data import download_images, require_directory

    directory = require_directory(data_dir, f"{name} is put there")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, int] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=total)
            progress.update(tasks[file], completed=done)  # type: ignore[arg-type]

        paths = download_images(name, directory, show)
    for path in paths:
        console.print(escape(str(path)), soft_wrap=True)


@app.command("prepare")
def data_prepare(
    source: Annotated[
        Path,
        typer.Argument(help="A file of text, JSON lines or parquet, or a folder of such files."),
    ],
    target: Annotated[Path, typer.Argument(help="The token file to write: NAME.tokens.")],
    tokenizer: Annotated[
        TokenizerName, typer.Option(help="Bytes, or byte pairs trained on the text.")
    ] = TokenizerName.BYTE,
    vocabulary: Annotated[
        int, typer.Option(min=258, help="The tokens that byte pairs are trained to.")
    ] = 4096,
    column: Annotated[
        str, typer.Option(help="The column of parquet, or field of JSON lines, that has the text.")
    ] = "text",
    text_format: Annotated[
        FormatName | None,
        typer.Option(
            "--format", help="How to read a file, and which of a folder; else its name decides."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the split by document.")] = 0,
    workers: Workers = None,
) -> None:
    """Turn text into a token file, split by document, for a study to name.

    Example: `dynamoe-search data prepare corpus.parquet data/corpus.tokens --tokenizer bpe`
    """
    from dynamoe_search.data import TOKEN_FILE_ENDING, prepare_text
    from dynamoe_search.data.documents import passed_over
    from dynamoe_search.run.mapping import map_in_processes
    from dynamoe_search.run.processes import worker_count

    source, target = user_path(source), user_path(target)
    if target.suffix != TOKEN_FILE_ENDING:
        raise InvalidInput(f"{target} must end in {TOKEN_FILE_ENDING}, so that studies can name it")
    chosen: TextFormat | None = text_format.value if text_format else None
    with (
        console.status("reading") as status,
        map_in_processes(worker_count(workers)) as mapping,
    ):

        def show(documents: int, size: int) -> None:
            status.update(f"{documents:,} documents, {size / 1e6:,.1f} MB of text")

        header = prepare_text(
            source, target, tokenizer.value, vocabulary, column, chosen, seed, show, mapping
        )
    table = Table("split", "documents", "tokens", "bytes", box=box.SIMPLE_HEAD)
    for name, counts in zip(("train", "validation", "test"), header.splits, strict=True):
        table.add_row(name, f"{counts.documents:,}", f"{counts.tokens:,}", f"{counts.bytes:,}")
    console.print(table)
    if others := passed_over(source, chosen):
        first = ", ".join(str(file.relative_to(source)) for file in others[:3])
        say(f"passed over {len(others)} files that are hidden or of another format: {first}")
    console.print(f"wrote {escape(str(target))}", soft_wrap=True)
