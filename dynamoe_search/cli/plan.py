"""The command ``plan``."""

from __future__ import annotations

from typing import Annotated

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    StudyArgument,
    Workers,
    console,
    say,
)


def plan(
    study: StudyArgument,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long the pilot may take.")] = 1.0,
    workers: Workers = None,
    data_dir: DataDirectory = None,
) -> None:
    """Say what a study will be able to decide, and what that takes, before it is run.

    A pilot of about a minute trains some named patterns on one seed block, and does not record
    them. It shows the noise of a comparison and the time of a training run: so the smallest
    difference that the study can show, and the runs and minutes until a decision, by margin. If
    time allows, it tries a proxy of half as many layers and a wider one, too.

    Example: `dynamoe-search plan studies/digits/study.toml`
    """
    from dynamoe_search.plan.reader import read_study_file, study_path

    study_file = read_study_file(study_path(study))

    from dynamoe_search.report.pilot import pilot_sentences, pilot_table
    from dynamoe_search.report.plan import plan_sentences
    from dynamoe_search.report.terminal import print_table
    from dynamoe_search.run.pilot import run_pilot
    from dynamoe_search.run.processes import worker_count
    from dynamoe_search.run.worker import load_study_data

    data = load_study_data(study_file, data_dir)
    with console.status("pilot") as status:
        found = run_pilot(
            study_file,
            data,
            60 * minutes,
            lambda what, fraction: status.update(f"pilot {fraction:.0%}: training {what}"),
        )
    count = worker_count(workers)
    say("\n".join([*plan_sentences(found[0].plan), *pilot_sentences(found, count)]))
    print_table(console, pilot_table(found[0], count))
