"""Where a study is kept: Optuna's tables in one SQLite file in the study's folder."""

from __future__ import annotations

import fcntl
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sqlalchemy.exc import SQLAlchemyError

from dynamoe_search.errors import InvalidInput, RunFailed

DATABASE = "study.db"
_SECONDS_TO_WAIT_FOR_A_WRITER = 60
_NAME = "dynamoe_search"


def open_study(folder: Path, definition: dict[str, Any] | None = None) -> optuna.Study:
    """The Optuna study of a folder.

    Parameters
    ----------
    folder : Path
        The study's folder.
    definition : dict, optional
        What the study file says that may not change. With it, the study is begun where it does not
        exist; without, it must exist.

    Raises
    ------
    InvalidInput
        Where there is no study yet, the file in its place is not one, or it was begun from another
        definition.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / DATABASE
    nothing_yet = f"{folder} holds no results yet; begin with: dynamoe-search run {folder}"
    if definition is None and not path.exists():
        raise InvalidInput(nothing_yet)
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{path}",
            engine_kwargs={"connect_args": {"timeout": _SECONDS_TO_WAIT_FOR_A_WRITER}},
            # Whoever only reads must not meddle with a study that is just being begun.
            skip_table_creation=definition is None,
        )
        if definition is None:
            return optuna.load_study(study_name=_NAME, storage=storage)
        study = optuna.create_study(
            study_name=_NAME, storage=storage, direction="minimize", load_if_exists=True
        )
    except KeyError:
        raise InvalidInput(nothing_yet) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        raise InvalidInput(
            f"{path} is not the results of a study, or cannot be written:"
            f" {str(error).splitlines()[0]}"
        ) from error
    _check_definition(study, definition, path)
    return study


def _check_definition(study: optuna.Study, definition: dict[str, Any], path: Path) -> None:
    begun = study.user_attrs.get("definition")
    if begun is None:
        study.set_user_attr("definition", definition)
        return
    # Through JSON, as the storage does, so that tuples compare as lists.
    before, now = _flat(begun), _flat(json.loads(json.dumps(definition)))
    changes = [
        f"{key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changes:
        raise InvalidInput(
            f"the study file has changed since {path} was begun:\n  "
            + "\n  ".join(changes)
            + "\nundo the change, or copy the study file to a folder of its own; trials, minutes,"
            " training_flops and replicates may change"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def set_sampler(study: optuna.Study, name: str, seed: int, asked: int) -> None:
    """Give a study the sampler of that name for its next trial.

    TPE, random and GP keep no state but their random numbers, so these are drawn anew from the
    study's seed and the number of trials asked so far: an interrupted study then goes on exactly as
    it would have. QMC and CMA-ES keep their state in the storage and need one seed throughout.
    """
    drawn = int(np.random.SeedSequence([seed, asked]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                study.sampler = optuna.samplers.TPESampler(seed=drawn, multivariate=True)
            case "random":
                study.sampler = optuna.samplers.RandomSampler(seed=drawn)
            case "gp":
                study.sampler = optuna.samplers.GPSampler(seed=drawn)
            case "qmc":
                study.sampler = optuna.samplers.QMCSampler(seed=seed, scramble=True)
            case "cmaes":
                study.sampler = optuna.samplers.CmaEsSampler(seed=seed)
            case _:
                raise InvalidInput(f"unknown sampler {name!r}")


@contextmanager
def locked(path: Path, shared: bool = False, seconds: float | None = None) -> Iterator[None]:
    """Hold a lock on a file; the system releases it however the process ends.

    Parameters
    ----------
    path : Path
        The lock file, made where it does not exist.
    shared : bool
        Whether others may hold it in the same way at once.
    seconds : float, optional
        How long to wait for it; for ever where it is None.

    Raises
    ------
    RunFailed
        Where it was not to be had in time.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a") as file:
        if seconds is None:
            fcntl.flock(file, mode)
        else:
            _lock_within(seconds, file.fileno(), mode, path)
        yield


def _lock_within(seconds: float, file: int, mode: int, path: Path) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunFailed(
                    f"another command is working on this study (it holds {path})"
                ) from None
            time.sleep(0.05)
        else:
            return
