"""What a study was begun with, and whether its file still says so."""

from __future__ import annotations

import json
from typing import Any

import optuna
from pydantic import ValidationError

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.storage import Place, nothing_yet
from dynamoe_search.plan.study_file import StudyFile

_FILE = "study_file"
_CHANGES = "changes"
_FORMAT = 2  # of the records; raise it where older ones cannot be read any more
# What a candidate is, and what is equal between them: with other values it is another study.
_FIXED = (
    *("data.", "model.", "budget.", "router.name"),
    *("search.objectives", "search.constraints", "search.also."),
    *("search.family", "search.contrast"),
)


def record_study_file(
    study: optuna.Study, study_file: StudyFile, place: Place, allow_changes: bool = False
) -> None:
    """Keep the study file with the records, where it fits what they were begun with.

    Raises
    ------
    InvalidInput
        Where it does not; the message shows the difference.
    """
    attributes = study.user_attrs
    if _FILE in attributes or study.get_trials(deepcopy=False):
        begun = recorded_study_file(study, place)
        before, now = _flat(begun), _flat(study_file)
        changed = [key for key in before | now if before.get(key) != now.get(key)]
        if changed:
            lines = [f"{key}: was {before.get(key)!r}, is {now.get(key)!r}" for key in changed]
            _refuse_or_allow(changed, lines, place, allow_changes)
            trials = len(study.get_trials(deepcopy=False))
            change = {"after_trials": trials, "changes": lines}
            study.set_user_attr(_CHANGES, [*attributes.get(_CHANGES, []), change])
        if begun == study_file:
            return
    else:
        study.set_user_attr("format", _FORMAT)
    study.set_user_attr(_FILE, study_file.model_dump(mode="json", exclude_unset=True))


def recorded_study_file(study: optuna.Study, place: Place) -> StudyFile:
    """The study file as the records have it.

    Raises
    ------
    InvalidInput
        Where the records are of another version, or whoever began them has not come so far.
    """
    attributes = study.user_attrs
    if _FILE not in attributes and not study.get_trials(deepcopy=False):
        raise InvalidInput(nothing_yet(place))
    try:
        if attributes.get("format") == _FORMAT:
            return StudyFile.model_validate_json(json.dumps(attributes[_FILE]))
    except (KeyError, ValidationError):
        pass
    raise InvalidInput(
        f"{place}: the records of {study.study_name} were made by another version of"
        " dynamoe_search, or another program; use that, or begin anew with another --name"
    )


def changes_of(study: optuna.Study) -> list[dict[str, Any]]:
    """The changes of the study file that were allowed: after how many trials, and which."""
    return list(study.user_attrs.get(_CHANGES, []))


def check_data(study: optuna.Study, data: ImageData | TextData, place: Place) -> None:
    """Keep the fingerprint of the data with the records, or see that it is the same.

    Raises
    ------
    InvalidInput
        Where it is not.
    """
    begun_with = study.user_attrs.get("data")
    if begun_with is None:
        study.set_user_attr("data", data.fingerprint)
    elif begun_with != data.fingerprint:
        raise InvalidInput(
            f"data.name: {data.name} here is not the data that {place} was begun with (fingerprint"
            f" {data.fingerprint}, was {begun_with}); check --data-dir"
        )


def _refuse_or_allow(changed: list[str], lines: list[str], place: Place, allowed: bool) -> None:
    fixed = [key for key in changed if key.startswith(_FIXED)]
    if allowed and not fixed:
        return
    if fixed:
        mend = (
            f"with another {fixed[0]} it is another study: undo the change, or begin it under"
            " another name (--name)"
        )
    else:
        mend = (
            "undo the change; or go on with it (--allow-changes), and results from before and"
            " after are pooled; or begin another study (--name)"
        )
    raise InvalidInput(
        f"the study file has changed since {place} was begun:\n  "
        + "\n  ".join(lines)
        + f"\n{mend}. trials, minutes, training_flops and replicates may change"
    )


def _flat(study_file: StudyFile) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def visit(tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    visit(study_file.definition(), "")
    return flat
