"""How a study begins, and goes on with a study file that may have changed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Log, Refused
from dynamoe_search.log.state import State, begun, catch_up, changed
from dynamoe_search.log.storage import Storage
from dynamoe_search.plan.plan import DataShape
from dynamoe_search.plan.study_file import StudyFile

# These decide what a candidate is, and what is equal between candidates. With other values it is
# another study.
_FIXED = (
    *("data.", "model.", "budget.", "router.name", "training.seeds"),
    *("search.objectives", "search.constraints", "search.also."),
    *("search.family", "search.active_family", "search.contrast"),
)


def begin_study(
    log: Log,
    state: State,
    study_file: StudyFile,
    data: str,
    storage: Storage,
    allow_changes: bool = False,
    shape: DataShape | None = None,
) -> None:
    """Begin a study in its log, or go on with it if the study file still fits.

    Parameters
    ----------
    log : Log
    state : State
        Of the study; it is brought up to date with the log.
    study_file : StudyFile
    data : str
        The fingerprint of the data.
    storage : Storage
        Where the log is, for messages.
    allow_changes : bool
        Whether to pool runs from before and after a change.
    shape : DataShape, optional
        Of the data, so that a plan can be made from the log alone.

    Raises
    ------
    InvalidInput
        Where the study file does not fit; the message shows the difference.
    """
    state.refuse_damage(storage)
    if state.study_file is None:
        with suppress(Refused):  # where another command has just begun it
            log.append(begun(study_file, data, shape))
        catch_up(log, state)
    assert state.study_file is not None
    before, now = flat_definition(state.study_file), flat_definition(study_file)
    different = [key for key in before | now if before.get(key) != now.get(key)]
    lines = [f"{key}: was {before.get(key)!r}, is {now.get(key)!r}" for key in different]
    if different:
        _refuse_or_allow(different, lines, storage, allow_changes)
    if state.study_file != study_file:
        log.append(changed(study_file, lines))
        catch_up(log, state)


def _refuse_or_allow(
    different: list[str], lines: list[str], storage: Storage, allowed: bool
) -> None:
    fixed = [key for key in different if key.startswith(_FIXED)]
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
        f"the study file has changed since {storage} was begun:\n  "
        + "\n  ".join(lines)
        + f"\n{mend}. runs, minutes, training_flops, blocks and margin may change"
    )


def flat_definition(study_file: StudyFile) -> dict[str, Any]:
    """What a study file defines, such as ``{"model.depth": 4}``; see `StudyFile.definition`."""
    flat: dict[str, Any] = {}

    def visit(tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    visit(study_file.definition(), "")
    return flat
