"""The command ``sensitivity``: which layers of a trained model need their active experts."""

from __future__ import annotations

import json as json_format
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamoe_search.cli.console import (
    Device,
    PlotFile,
    complaints,
    console,
    say,
    write_table,
    write_text,
)
from dynamoe_search.cli.export import FormatName
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path, writing
from dynamoe_search.schedules import Schedule

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.interop.active_choice import ActiveChoice
    from dynamoe_search.interop.held_out import HeldOut


class NumberTypeName(StrEnum):
    """The types of weights."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def sensitivity(
    model: Annotated[
        Path,
        typer.Argument(
            help="A folder with config.json and safetensors, as transformers saves it.",
            metavar="MODEL_FOLDER",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Text that the model was not trained on: a token file of its own tokens, whose"
            " validation split measures and whose test split compares; or text, which the"
            " folder's tokenizer.json encodes: of its first documents, half measures."
        ),
    ],
    active_budget: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="The mean active experts per layer, whose FLOPs are the budget; those that the"
            " model has without it.",
        ),
    ] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            help="The active experts to measure, with commas; up to twice the layer's own without."
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option(min=2, help="The most documents to measure, and to compare.")
    ] = 100,
    tokens: Annotated[int, typer.Option(min=2, help="The most tokens of a document.")] = 2048,
    context: Annotated[int, typer.Option(min=1, help="Tokens that the model sees at once.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Windows of the context at once.")] = 8,
    margin: Annotated[
        float, typer.Option(min=0.0, help="The difference of losses in nats that does not matter.")
    ] = 0.01,
    losses: Annotated[
        Path | None,
        typer.Option(
            help="Keep the losses of all documents in this CSV file; where it is there already, the"
            " command goes on from it."
        ),
    ] = None,
    device: Device = "cpu",
    dtype: Annotated[
        NumberTypeName, typer.Option(help="The type of the weights; auto is that of the files.")
    ] = NumberTypeName.AUTO,
    csv: Annotated[
        Path | None, typer.Option(help="Write the sensitivities to this CSV file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON, and nothing else.")
    ] = False,
    plot: PlotFile = None,
    form: Annotated[
        FormatName | None,
        typer.Option("--format", help="With --out: who reads it; docs/export.md describes each."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the model's experts, active as chosen, to this file."),
    ] = None,
) -> None:
    """Say which layers of a trained model need their active experts, and which schedule to use.

    Layer by layer it measures how the loss changes with the number of active experts. The exact
    optimum of the sum of these differences, within the FLOPs of an even active schedule, is then
    measured as a whole, beside the even one, on documents that it was not chosen by. The model is
    read from this machine, its code is not run, and nothing is trained or changed.

    Example: `dynamoe-search sensitivity OLMoE-1B-7B --data heldout.txt --active-budget 4
    --losses losses.csv --plot sensitivity.png`
    """
    from dynamoe_search.interop.active_choice import choose_active, compare_choice
    from dynamoe_search.interop.pretrained import load_pretrained
    from dynamoe_search.interop.sensitivity import measure_sensitivity, schedule_losses
    from dynamoe_search.report import sensitivity as report
    from dynamoe_search.report.figure import save_figure
    from dynamoe_search.report.terminal import print_table

    if (form is None) != (out is None):
        raise InvalidInput("--format and --out belong together; give both, or none")
    folder = user_path(model)
    wanted = _counts(counts)
    with complaints.status("reading the text") as status:
        parts = _documents(folder, user_path(data), context, documents, tokens)
        status.update("loading the model")
        loaded = load_pretrained(folder, device, dtype.value)

        def measuring(done: int, total: int) -> None:
            status.update(f"measured {done} of {total}")

        def comparing(done: int, total: int) -> None:
            status.update(f"compared {done} of {total}")

        table = measure_sensitivity(
            loaded, parts, wanted, path=losses, batch=batch, on_progress=measuring
        )
        own = table.loc[table["trained"], "active"]
        choice = choose_active(table, own.mean() if active_budget is None else active_budget)
        compared = compare_choice(
            choice,
            schedule_losses(loaded, parts, choice.schedules, batch=batch, on_progress=comparing),
            margin,
        )
    sentences = report.sensitivity_sentences(choice, compared, table)
    if json:
        record = _record(choice, compared, table, sentences)
        typer.echo(json_format.dumps(record, indent=2, allow_nan=False))
    else:
        say("\n".join(sentences))
        print_table(console, report.comparison_table(compared))
        print_table(console, report.sensitivity_table(table))
    if csv is not None:
        write_table(table, csv, "csv")
    if plot is not None:
        figure = report.plot_sensitivity(table, choice)
        with writing(plot) as beside:
            save_figure(figure, beside)
    if form is not None and out is not None:
        _export(folder, choice, form, out, quiet=json)


def _export(folder: Path, choice: ActiveChoice, form: FormatName, out: Path, quiet: bool) -> None:
    """Write the model's own experts with the chosen active ones, as a trainer reads them."""
    from dynamoe_search.interop.export import export_schedule
    from dynamoe_search.interop.reading import read_config
    from dynamoe_search.report.export import export_sentences

    config = read_config(folder / "config.json")
    experts = Schedule(tuple(config.layers[place].experts for place in choice.layers))
    found = export_schedule(experts, config, form.value, choice.chosen)
    write_text(out, found.text)
    if not quiet:
        say("\n".join([*export_sentences(found, config), f"wrote {out}"]))


def _counts(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise InvalidInput(f"--counts is {text!r}; give whole numbers of at least 1, as in 1,2,4")
    return counts


def _documents(folder: Path, data: Path, context: int, documents: int, tokens: int) -> HeldOut:
    """Held-out documents of a token file, or of text."""
    from dynamoe_search.data import open_text
    from dynamoe_search.data.token_file import is_token_file
    from dynamoe_search.interop.held_out import held_out_documents, split_documents
    from dynamoe_search.interop.pretrained import read_text_of

    if is_token_file(data):
        return held_out_documents(open_text(data, context), documents, tokens)
    beginning = islice(read_text_of(folder, data), 2 * documents)
    return split_documents(beginning, context, tokens=tokens)


def _record(
    choice: ActiveChoice, compared: pd.DataFrame, table: pd.DataFrame, sentences: list[str]
) -> dict[str, Any]:
    """All of it for JSON, which has no NaN."""

    def records(one: pd.DataFrame) -> list[dict[str, Any]]:
        return list(one.astype(object).where(one.notna(), None).to_dict("records"))

    return {
        "layers": list(choice.layers),
        "active": {name: list(schedule) for name, schedule in choice.schedules.items()},
        "schedules": records(compared),
        "sensitivity": records(table),
        "sentences": sentences,
    }
