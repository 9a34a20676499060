"""Read and write study files. A mistake is shown with its line, key and what was expected."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.plan.study_file import AlsoSection, StudyFile
from dynamoe_search.specification import Balance, Router
from dynamoe_search.training.settings import TrainingSettings

FILE_NAME = "study.toml"


def study_path(study: Path | str) -> Path:
    """The study file that a path means: itself, or ``study.toml`` in a folder."""
    study = Path(study)  # in a notebook it is often a string
    path = study / FILE_NAME if study.is_dir() else study
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist; name a study file or a folder with {FILE_NAME}")
    return path


def read_study_file(path: Path) -> StudyFile:
    """Read and validate a study file.

    Raises
    ------
    InvalidInput
        With every mistake on a line of its own: file, line, key, what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from error
    return _validated(content, text, path)


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
    except TypeError as error:
        raise InvalidInput(
            f"the definition of {path} cannot be written as TOML: {error}"
        ) from error
    study_file = _validated(tomllib.loads(text), text, path)
    if path.exists():
        if read_study_file(path) != study_file:
            raise InvalidInput(
                f"{path} exists and says something else; edit it, or take another folder"
            )
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from error
    return path


def _validated(content: dict[str, Any], text: str, path: Path) -> StudyFile:
    try:
        # By way of JSON, where pydantic is strict about values and lets tables be dataclasses.
        return StudyFile.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        mistakes = [_describe(mistake, text) for mistake in error.errors()]
        raise InvalidInput(
            "\n".join(f"{path}:{line}: {message}" for line, message in mistakes)
        ) from error


def _describe(mistake: Any, text: str) -> tuple[int, str]:
    """The line of a mistake, and a message about it."""
    # A discriminated union puts its tag, which is no key of the file, into the location.
    location = [str(part) for part in mistake["loc"]]
    router = ""
    if location[:1] == ["router"] and len(location) > 1 and mistake["type"] != "union_tag_invalid":
        router = location.pop(1)
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_beside(location, router)
        close = difflib.get_close_matches(location[-1], known, n=1)
        message = f"unknown key; did you mean {close[0]}?" if close else "unknown key"
        message += f" (known here: {', '.join(known)})"
    elif mistake["type"] == "missing":
        message = "is missing"
    elif not isinstance(mistake["input"], dict):
        message += f", got {mistake['input']!r}"
    return _line_of(location, text), f"{'.'.join(location) or 'the file'}: {message}"


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


def _line_of(location: list[str], text: str) -> int:
    """The line on which a key stands, else that of its table, else 1."""
    table: list[str] = []
    table_line = 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == location[: len(table)]:
                table_line = number
        elif key := re.match(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=", line):
            path = table + [part.strip(" \"'") for part in key[1].split(".")]
            if path == location[: len(path)]:
                return number
    return table_line
