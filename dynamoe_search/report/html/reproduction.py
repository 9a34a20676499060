"""The section on how to get the same again: files, versions, data, commands."""

from __future__ import annotations

from pathlib import Path

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.sections import Section
from dynamoe_search.report.html.steps import command, confirmation_words, where
from dynamoe_search.report.table import Column, Table, texts
from dynamoe_search.untrusted import read_text


def reproduction(evidence: Evidence) -> Section:
    """The study file, what it ran with, and the commands."""
    path = evidence.study.path
    if path is None:
        missing = "The study file is not on this machine, and so no command is shown."
        return Section([missing], tables=[_versions(evidence)])
    return Section(
        [*_about_the_file(evidence, path), *where(evidence)],
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


def _commands(evidence: Evidence) -> list[str]:
    words = ["run", confirmation_words(evidence), "report"]
    return [command(evidence, one) for one in words if one]


def _versions(evidence: Evidence) -> Table:
    runs = evidence.runs
    facts = {"log": [evidence.log], "seed": [str(evidence.file.seed)]}
    columns = {"commit": "commit (+: with changes)", "data": "data, SHA-256"}
    columns |= {name: name.removeprefix("version_") for name in runs if name.startswith("version_")}
    for column, title in columns.items():
        facts[title] = [str(value) for value in runs[column].dropna().unique()]
    facts["log up to"] = [evidence.known] if evidence.known else []
    rows = [(title, ", ".join(values) or "not recorded") for title, values in facts.items()]
    return Table([Column("what", is_name=True), *texts("value")], rows)
