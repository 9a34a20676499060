"""Read and write study files. A mistake is shown with its line, key and what was expected."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path, writing
from dynamoe_search.plan.search_section import AlsoSection
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import Balance, Router
from dynamoe_search.training.settings import TrainingSettings
from dynamoe_search.untrusted import excess_of, read_text, shown

FILE_NAME = "study.toml"
_MOST_MISTAKES = 20  # in a message
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
# What tomllib needs long for, or gives up on without a line: far longer than anything in a study.
_TOO_LONG = {
    "a key of more than 8 parts": rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{8}}",
    "a number of more than 400 digits": r"(?<![\w-])[0-9][0-9_]{400}",
}


def study_path(study: Path | str) -> Path:
    """The study file that a path means: itself, or ``study.toml`` in a folder."""
    study = user_path(study)
    try:
        path = study / FILE_NAME if study.is_dir() else study
        exists = path.is_file()
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise InvalidInput(f"{shown(str(study))} cannot be read: {error.strerror}") from error
    if not exists:
        raise InvalidInput(f"{path} does not exist; name a study file or a folder with {FILE_NAME}")
    return path


def read_study_file(path: Path) -> StudyFile:
    """Read and validate a study file.

    Raises
    ------
    InvalidInput
        With every mistake on a line of its own: file, line, key, what was expected.
    """
    return _parse(read_text(path), path)


def write_study_file(folder: Path, definition: Mapping[str, Any]) -> Path:
    """Write the study file of a folder.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    definition : mapping
        What the study file says: keys and sections, as in TOML.

    Raises
    ------
    InvalidInput
        For a mistake in the definition, or where the folder has a different study file.
    """
    path = folder / FILE_NAME
    try:
        text = tomli_w.dumps(definition)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the definition of {path} cannot be written as TOML: {shown(str(error))}"
        ) from error
    return write_study_text(folder, text)


def write_study_text(folder: Path, text: str) -> Path:
    """Write the study file of a folder from its text; as `write_study_file`."""
    path = folder / FILE_NAME
    study_file = _parse(text, path)
    if path.exists():
        if read_study_file(path) != study_file:
            raise InvalidInput(
                f"{path} exists and says something else; edit it, or take another folder"
            )
        return path
    with writing(path, make_folder=True) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def _parse(text: str, path: Path) -> StudyFile:
    for what, pattern in _TOO_LONG.items():
        if found := re.search(pattern, text):
            line = text.count("\n", 0, found.start()) + 1
            raise InvalidInput(f"{path}:{line}: {what}")
    try:
        content = tomllib.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path} is not valid TOML: {shown(str(error))}") from error
    except RecursionError:
        raise InvalidInput(f"{path}: lists or tables are nested too deep") from None
    if excess := excess_of(content):
        keys, problem = excess
        raise InvalidInput(f"{path}:{_line_of(keys, text)}: {shown('.'.join(keys))}: {problem}")
    try:
        # By way of JSON, where pydantic is strict about values and lets tables be dataclasses.
        return StudyFile.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        lines = [
            f"{path}:{_describe(one, text)}"
            for one in error.errors(include_url=False)[:_MOST_MISTAKES]
        ]
        if error.error_count() > _MOST_MISTAKES:
            lines.append(f"{path}: and {error.error_count() - _MOST_MISTAKES:,} more mistakes")
        raise InvalidInput("\n".join(lines)) from error


def _describe(mistake: Any, text: str) -> str:
    """The line of a mistake, its key, and a message about it."""
    # A discriminated union puts its tag, which is no key of the file, into the location.
    location = [str(part) for part in mistake["loc"]]
    router = ""
    if location[:1] == ["router"] and len(location) > 1 and mistake["type"] != "union_tag_invalid":
        router = location.pop(1)
    message = shown(mistake["msg"].removeprefix("Value error, "))
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_beside(location, router)
        close = difflib.get_close_matches(shown(location[-1]), known, n=1)
        message = f"unknown key; did you mean {close[0]}?" if close else "unknown key"
        message += f" (known here: {', '.join(known)})"
    elif mistake["type"] == "missing":
        message = "is missing"
    elif not isinstance(mistake["input"], dict):
        message += f", got {reprlib.repr(mistake['input'])}"
    return f"{_line_of(location, text)}: {shown('.'.join(location)) or 'the file'}: {message}"


def _keys_beside(location: list[str], router: str) -> list[str]:
    """The keys that can stand where the last part of a location does."""
    if len(location) == 1:
        return list(StudyFile.model_fields)
    if location[:2] == ["search", "also"] and len(location) > 2:
        return list(AlsoSection.model_fields)
    if location[0] == "router":
        return next(list(r.__dataclass_fields__) for r in get_args(Router) if r.name == router)
    if location[0] == "balance":
        return list(Balance.__dataclass_fields__)
    if location[0] == "training":
        return list(TrainingSettings.__dataclass_fields__)
    section = StudyFile.model_fields[location[0]].annotation
    return list(getattr(section, "model_fields", {}))


def _line_of(keys: Sequence[str], text: str) -> int:
    """The line on which a key stands, else that of its table, else 1."""
    keys = list(keys)
    table: list[str] = []
    table_line = 1
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("["):
            table = _parts(line.strip("[").partition("]")[0])
            if table == keys[: len(table)]:
                table_line = number
        elif "=" in line:
            path = table + _parts(line.partition("=")[0])
            if path == keys[: len(path)]:
                return number
    return table_line


def _parts(key: str) -> list[str]:
    return [part.strip(" \t\"'") for part in key.split(".")]
