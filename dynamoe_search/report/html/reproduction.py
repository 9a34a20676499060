"""The section on how to get the same again: files, versions, data, commands."""

from __future__ import annotations

from pathlib import Path

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.sections import Section
from dynamoe_search.report.table import Column, Table, texts
from dynamoe_search.untrusted import read_text

_HOUR = 3600


def reproduction(evidence: Evidence) -> Section:
    """The study file, what it ran with, and the commands."""
    path = evidence.study.path
    if path is None:
        missing = "The study file is not on this machine, and so no command is shown."
        return Section([missing, *evidence.changes], tables=[_versions(evidence)])
    return Section(
        [*_about_the_file(evidence, path), *_about_the_server(evidence), *evidence.changes],
        tables=[_versions(evidence)],
        texts={
            "Commands": "\n".join(_commands(evidence)),
            f"Study file, {path.name}": read_text(path),
        },
    )


def _about_the_file(evidence: Evidence, path: Path) -> list[str]:
    try:
        if read_study_file(path).definition() == evidence.file.definition():
            return []
    except InvalidInput:
        pass
    return [
        "The study file has changed since the study was begun: the text below is the file as it is"
        " now, and not what was trained."
    ]


def _about_the_server(evidence: Evidence) -> list[str]:
    if evidence.study.storage.server is None:
        return []
    return [
        "The address of the log is shown without user and password: add them to it, or set PGUSER"
        " and PGPASSWORD."
    ]


def _commands(evidence: Evidence) -> list[str]:
    commands = ["run", "report"]
    try:
        _, confirmation = evidence.confirmation
        asked = "--until decided --most-seeds" if confirmation.until == "decided" else "--seeds"
        seeds, margin = confirmation.seeds[-1], confirmation.margin
        commands.insert(1, f"confirm {asked} {seeds} --margin {margin:g}")
    except InvalidInput:
        pass
    return [f"dynamoe-search {command} {evidence.study.arguments}" for command in commands]


def _versions(evidence: Evidence) -> Table:
    runs = evidence.runs
    facts = {"log": [str(evidence.study.storage)], "seed": [str(evidence.file.seed)]}
    columns = {"commit": "commit (+: with changes)", "data": "data, SHA-256"}
    columns |= {name: name.removeprefix("version_") for name in runs if name.startswith("version_")}
    for column, title in columns.items():
        facts[title] = [str(value) for value in runs[column].dropna().unique()]
    hours = runs["training_cpu_seconds"].sum() / _HOUR
    facts["training, CPU time"] = [f"{hours:.2f} hours"]
    finished = runs["finished"].dropna()
    facts["log up to"] = [f"{finished.max():%Y-%m-%d %H:%M}"] if len(finished) else []
    rows = [(title, ", ".join(values) or "not recorded") for title, values in facts.items()]
    return Table([Column("what", is_name=True), *texts("value")], rows)
