"""The section on how to have the same again: files, versions, data, commands."""

from __future__ import annotations

import shlex

from rich import box
from rich.table import Table

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.section import Section

_HOUR = 3600


def reproduction(evidence: Evidence) -> Section:
    """The study file, what it ran with, and the commands."""
    return Section(
        _about_the_file(evidence),
        tables=[_versions(evidence)],
        texts={
            "Commands": "\n".join(_commands(evidence)),
            f"Study file, {evidence.path.name}": evidence.path.read_text(encoding="utf-8"),
        },
    )


def _about_the_file(evidence: Evidence) -> list[str]:
    sentences = []
    try:
        same = read_study_file(evidence.path).definition() == evidence.study_file.definition()
    except InvalidInput:
        same = False
    if not same:
        sentences.append(
            "The study file has changed since the study was begun: what is below is the file, and"
            " not what was trained."
        )
    for change in evidence.runs.attrs.get("changes", []):
        sentences.append(
            f"It was changed after {change['after_runs']} runs, which was allowed:"
            f" {'; '.join(change['changes'])}."
        )
    return sentences


def _commands(evidence: Evidence) -> list[str]:
    where = [shlex.quote(str(evidence.path))]
    if evidence.storage is not None:
        where.append(f"--storage {shlex.quote(str(evidence.place))}")
    if evidence.name is not None:
        where.append(f"--name {shlex.quote(evidence.name)}")
    commands = ["run", "report"]
    try:
        _, confirmation = evidence.confirmation
        seeds = " ".join(f"--seeds {count}" for count in confirmation.seeds[-1:])
        commands.insert(1, f"confirm {seeds} --margin {confirmation.margin:g}")
    except InvalidInput:
        pass
    return [f"dynamoe-search {command} {' '.join(where)}" for command in commands]


def _versions(evidence: Evidence) -> Table:
    runs = evidence.runs
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("what")
    table.add_column("value", overflow="fold")
    facts = {"records": [str(evidence.place)], "seed": [str(evidence.study_file.seed)]}
    columns = {"commit": "commit (+: with changes)", "data": "data, SHA-256"}
    columns |= {
        column: column.removeprefix("version_") for column in runs if column.startswith("version_")
    }
    for column, title in columns.items():
        facts[title] = [str(value) for value in runs[column].dropna().unique()]
    hours = runs["training_cpu_seconds"].sum() / _HOUR
    facts["training, CPU time"] = [f"{hours:.2f} hours"]
    last = runs["finished"].dropna()
    facts["records up to"] = [f"{last.max():%Y-%m-%d %H:%M}"] if len(last) else []
    for title, values in facts.items():
        table.add_row(title, ", ".join(values) or "not recorded")
    return table
