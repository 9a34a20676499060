"""Write the reference pages from the code: docs/study-file.md and docs/command-line.md.

Run it in the root of the repository: python docs/make_reference.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dynamoe_search.cli.app import app
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import Router

DOCS = Path(__file__).parent
HEADER = ["| key | what it may be | default | |", "| --- | --- | --- | --- |"]
NOTE = "<!-- Made by `python docs/make_reference.py` from the code; change that, not this. -->"


def study_file_page() -> str:
    """Every key of a study file: its section, what it may be, its default, what it does."""
    lines = [
        "# The study file, key by key",
        "",
        NOTE,
        "",
        "A study file is TOML; `README.md` shows a whole one. A mistake in it is answered with its"
        " line and what was expected.",
    ]
    for name, field in StudyFile.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines += section(f"[{name}]", kind)
        elif isinstance(kind, type) and is_dataclass(kind):
            lines += ["", f"## `[{name}]`", "", summary(kind), "", *dataclass_table(kind)]
        elif get_origin(kind) is UnionType:
            lines += ["", f"## `[{name}]`", "", "`name` says which router; each has its own keys."]
            for router in get_args(Router):
                title = f'### `name = "{router.name}"`'
                lines += ["", title, "", summary(router), "", *dataclass_table(router)]
        else:
            lines += ["", f"## `{name}`", "", f"{field.description} (default {shown(field)})."]
    return "\n".join(lines) + "\n"


def section(title: str, model: type[BaseModel]) -> Iterator[str]:
    """A section's table, and those of sections within it."""
    yield from ["", f"## `{title}`", "", summary(model), ""]
    yield from HEADER
    within = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            within.append((f"{title[:-1]}.{name}]", kind))
            continue
        yield f"| `{name}` | {allowed(field)} | {shown(field)} | {field.description} |"
    for inner, kind in within:
        yield from section(inner, kind)


def dataclass_table(kind: type) -> Iterator[str]:
    """The fields of a dataclass, described by its docstring."""
    about, kinds = described(kind), get_type_hints(kind)
    yield from HEADER
    for field in fields(kind):
        if field.name != "name" or "name" in about:
            may_be = in_words(kinds[field.name])
            yield f"| `{field.name}` | {may_be} | {default(field)} | {about[field.name]} |"


def described(kind: type) -> dict[str, str]:
    """What a numpydoc docstring says of each parameter."""
    text = (kind.__doc__ or "").partition("Parameters\n")[2]
    text = re.split(r"\n    [A-Z][a-z]+\n    ---", text)[0]
    found = {}
    for part in re.split(r"\n    (?=\w)", text):
        head, _, body = part.partition("\n")
        for name in head.partition(" : ")[0].split(", "):
            found[name.strip()] = " ".join(body.split())
    return found


def summary(kind: type) -> str:
    """The first paragraphs of a docstring, up to its sections."""
    text = re.split(r"\n\s+(?:Parameters|Examples)\n\s+---", kind.__doc__ or "")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def allowed(field: FieldInfo) -> str:
    """The type of a key, and its bounds, in words."""
    words = [in_words(field.annotation)]
    signs = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    for constraint in field.metadata:
        for name, sign in signs.items():
            if hasattr(constraint, name):
                words.append(f"{sign} {getattr(constraint, name)}")
    return " ".join(words)


def in_words(kind: Any) -> str:
    """The values of a Literal; else the type."""
    return ", ".join(f"`{choice}`" for choice in choices_of(kind)) or readable(kind)


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, however it is wrapped."""
    if get_origin(kind) is not None and str(get_origin(kind)) == "typing.Literal":
        return get_args(kind)
    return next(filter(None, map(choices_of, get_args(kind))), ())


def readable(kind: Any) -> str:
    """A type in words."""
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    if kind in names:
        return names[kind]
    parts = [part for part in get_args(kind) if part not in (type(None), Ellipsis)]
    if get_origin(kind) is tuple:
        if Ellipsis in get_args(kind):
            return f"list of {readable(parts[0])}"
        return f"list of {len(parts)} of {readable(parts[0])}"
    return readable(parts[0]) if parts else str(kind)


def shown(field: FieldInfo) -> str:
    """A default, as TOML has it."""
    if field.is_required():
        return "required"
    return toml(field.default)


def default(field: Field[Any]) -> str:
    """The default of a dataclass's field."""
    return "required" if field.default is MISSING else toml(field.default)


def toml(value: Any) -> str:
    """A value as one writes it in a study file."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(toml(one).strip('`') for one in value)}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"


def command_line_page() -> str:
    """What --help says of every command, and the options of all of them."""
    group = typer.main.get_command(app)
    lines = ["# The command line", "", NOTE, ""]
    lines += ["Two options come before the command, as in `dynamoe-search --debug run STUDY`:", ""]
    lines += parameter_table(group)
    for path, command in sorted(commands("dynamoe-search", group)):
        paragraphs = (command.help or "").split("\n\n")
        help_text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        lines += ["", f"## `{path}`", "", help_text, "", *parameter_table(command)]
    return "\n".join(lines) + "\n"


def parameter_table(command: Any) -> Iterator[str]:
    """The arguments and options of a command, with their defaults."""
    yield from ["| | default | |", "| --- | --- | --- |"]
    for parameter in command.params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        names = ", ".join(parameter.opts + parameter.secondary_opts)
        if parameter.param_type_name == "argument":
            names = parameter.metavar or str(parameter.name).upper()
        text = " ".join((getattr(parameter, "help", None) or "").split())
        yield f"| `{names}` | {shown_default(parameter)} | {text} |"


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """All commands below one, each with what one types."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, one in inner.items():
        yield from commands(f"{path} {name}", one)


def shown_default(parameter: Any) -> str:
    """The default of an option, where it has one that says something."""
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or callable(value):
        return ""
    return f"`{getattr(value, 'value', value)}`"


PAGES = {"study-file.md": study_file_page, "command-line.md": command_line_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
