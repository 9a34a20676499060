"""The commands ``export`` and ``import``: schedules for real models, there and back."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Name,
    Storage,
    complaints,
    open_study,
    say,
    write_text,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path
from dynamoe_search.schedules import Schedule

if TYPE_CHECKING:
    from dynamoe_search.study import Study

# What each of them is, and cannot have, is in dynamoe_search.interop.formats.table.


class FormatName(StrEnum):
    """How a schedule is written."""

    HF = "hf"
    PUZZLETRON = "puzzletron"
    NEMOTRON = "nemotron"
    MEGATRON_DEEPSPEED = "megatron-deepspeed"
    DEEPSPEED = "deepspeed"
    OLMO_CORE = "olmo-core"
    TORCHTITAN = "torchtitan"
    MOLA = "mola"
    LTP_MEGATRON = "ltp-megatron"
    MEGATRON = "megatron"


FormatOption = Annotated[
    FormatName, typer.Option("--format", help="Who reads it; docs/export.md describes each.")
]


def export(
    like: Annotated[
        Path, typer.Option("--like", help="The config.json of the model that gets the schedule.")
    ],
    form: FormatOption,
    study: Annotated[
        Path | None,
        typer.Argument(
            help="A study file, or the folder of a study.toml, whose decision is exported.",
            metavar="[STUDY]",
            show_default=False,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Export this in place of a study's decision: experts per layer, such as 8-6-4-2."
        ),
    ] = None,
    active: Annotated[
        str | None, typer.Option(help="With --schedule: active experts per layer.")
    ] = None,
    expert_parallel: Annotated[
        int,
        typer.Option(min=1, help="The expert-parallel degree: every layer has a multiple of it."),
    ] = 1,
    minimum: Annotated[int, typer.Option(min=1, help="The fewest experts of a layer.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; without it, standard output.")
    ] = None,
    storage: Storage = None,
    name: Name = None,
    data_dir: DataDirectory = None,
) -> None:
    """Write a schedule as a trainer or a model library reads it, at the size of a real model.

    The decision of a study, or any schedule, is a profile: it is spread over the layers with
    experts of the model, whose total stays. A schedule of the model's own size is taken as it is.
    What the target cannot have is refused, with the layer.

    Example: `dynamoe-search export my-study --like config.json --format hf --out new-config.json`
    """
    from dynamoe_search.interop.export import export_schedule
    from dynamoe_search.interop.reading import read_config
    from dynamoe_search.report.export import export_sentences

    if (study is None) == (schedule is None):
        raise InvalidInput("give a study, or --schedule, and not both")
    if active is not None and schedule is None:
        raise InvalidInput("--active belongs to --schedule; a study has its own active schedule")
    config = read_config(user_path(like))
    sentences: list[str] = []
    if study is not None:
        chosen, used, sentences = _decision(open_study(study, storage, name, data_dir))
    else:
        assert schedule is not None
        chosen = Schedule.parse(schedule)
        used = None if active is None else Schedule.parse(active)
    found = export_schedule(chosen, config, form.value, used, expert_parallel, minimum)
    sentences += export_sentences(found, config)
    if out is None:
        complaints.print("\n".join(sentences), highlight=False, markup=False, soft_wrap=True)
        sys.stdout.write(found.text)
        return
    write_text(out, found.text)
    say("\n".join([*sentences, f"wrote {out}"]))


def import_(
    file: Annotated[Path, typer.Argument(help="A file that another program wrote or reads.")],
    form: FormatOption,
) -> None:
    """Read experts per layer from a config, arguments or code of others; nothing of it is run.

    Example: `dynamoe-search import config.json --format hf`
    """
    from dynamoe_search.interop.export import import_schedule
    from dynamoe_search.report.export import schedule_sentences
    from dynamoe_search.untrusted import read_text, shown

    schedule, active = import_schedule(read_text(user_path(file)), form.value, shown(str(file)))
    say("\n".join(schedule_sentences(schedule, active)))


def _decision(study: Study) -> tuple[Schedule, Schedule | None, list[str]]:
    """What a study says to take, and sentences about it."""
    from dynamoe_search.plan.candidate import Candidate, parse_candidate

    decision = study.decision()
    candidate = parse_candidate(decision.candidate)
    if not isinstance(candidate, Candidate):
        raise InvalidInput(
            f"the study's decision, {candidate}, is dense; there is nothing to export"
        )
    sentences = list(decision.sentences)
    if candidate.settings:
        sentences.append(
            f"The schedule of {candidate} is exported; {candidate.settings_text} is of the proxy,"
            " and is not."
        )
    return candidate.schedule, candidate.active, sentences
