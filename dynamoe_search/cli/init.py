"""The command ``init``: a study of a small proxy of a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamoe_search.cli.console import DataDirectory, Workers, console, say
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path


def init(
    like: Annotated[
        Path, typer.Option("--like", help="The config.json of the model, or the folder of one.")
    ],
    data: Annotated[
        str, typer.Option(help="topics, or a token file that data prepare has written.")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Where study.toml is written; made where it does not exist.")
    ] = Path(),
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long all training runs together may take.")
    ] = 30.0,
    workers: Workers = None,
    data_dir: DataDirectory = None,
) -> None:
    """Write the study of a small proxy of the same kind as a real model.

    It keeps k, the shared experts, the experts per layer, the width of an expert over that of the
    model, the heads of queries for one of keys and values, and dense layers that come first. Its
    depth is that of the model, or a divisor of it. Its width and its training are cut to the time,
    by some training steps that are measured here. Comments in the file say what was scaled by how
    much, and what has no counterpart.

    Example: `dynamoe-search init my-study --like config.json --data corpus.tokens --minutes 30`
    """
    from dynamoe_search.data import TextData, load_data
    from dynamoe_search.interop.reading import read_config
    from dynamoe_search.plan.proxy import CONTEXT, head_of
    from dynamoe_search.plan.reader import FILE_NAME, write_study_text
    from dynamoe_search.report.wording import counted
    from dynamoe_search.run.processes import worker_count
    from dynamoe_search.run.sizing import RUNS, size_proxy

    folder = user_path(folder)
    if (folder / FILE_NAME).exists():
        raise InvalidInput(f"{folder / FILE_NAME} exists; name another folder")
    config = read_config(user_path(like))
    path = user_path(data)
    name = str(path.resolve()) if path.is_file() else data
    text = load_data(name, data_dir, context=CONTEXT)
    if not isinstance(text, TextData):
        raise InvalidInput(f"{data} is images; a proxy of {config.family} needs text")
    count = worker_count(workers)
    with console.status("measuring") as status:
        sized = size_proxy(
            config,
            name,
            text,
            minutes,
            count,
            lambda depth, width: status.update(
                f"measuring a proxy of {counted(depth, 'layer')} of width {width}"
            ),
        )
    predicted = (
        f"Predicted here, with {counted(count, 'worker')}: {sized.seconds:.3g} s for a training run"
        f" of 4 seeds, {sized.minutes(count):.2g} minutes for all {RUNS}."
    )
    sizes = (
        f"A token uses {sized.parameters:,} parameters of the proxy; a seed sees {sized.tokens:,}"
        f" tokens, {sized.tokens / sized.parameters:.2g} for each."
    )
    written = write_study_text(folder, sized.proxy.text([*head_of(config, minutes), predicted]))
    say("\n".join([predicted, sizes, *sized.proxy.missing, f"wrote {written}"]))
    say(f"See what it can decide with: dynamoe-search plan {shell_word(written)}")
