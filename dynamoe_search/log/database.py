"""Records in SQLite or PostgreSQL: Optuna's storage, with fewer questions to the database."""

from __future__ import annotations

import json
import weakref
from copy import copy, deepcopy
from functools import partial
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from dynamoe_search.errors import InvalidInput

_SECONDS_TO_WAIT_FOR_A_WRITER = 60
_PAGES_BETWEEN_SYNCS = 16  # a trial writes some 27
_LAST_TABLE = "alembic_version"


def open_database(address: str, make_tables: bool) -> optuna.storages.RDBStorage:
    """Optuna's storage at an address; `KeyError` where its tables are not to be made and miss."""
    url, engine = make_url(address), dict[str, Any]()
    if url.get_backend_name() == "sqlite":
        engine["connect_args"] = {"timeout": _SECONDS_TO_WAIT_FOR_A_WRITER}
        engine["pool_events"] = [(partial(_write_ahead, begin=make_tables), "connect")]
    else:
        require_psycopg()
        url = url.set(drivername="postgresql+psycopg")
        engine["pool_pre_ping"] = True
    whole = url.render_as_string(hide_password=False)
    if not make_tables and not _has_tables(whole, engine):
        raise KeyError(address)
    return _Database(whole, engine_kwargs=engine, skip_table_creation=not make_tables)


def require_psycopg() -> None:
    """`InvalidInput` where the driver of PostgreSQL is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise InvalidInput(
            "PostgreSQL needs its driver; install the extra:"
            " pip install 'dynamoe-search[postgresql]'"
        ) from None


class _Database(optuna.storages.RDBStorage):
    """Optuna's storage, which begins a trial that is given whole with few questions.

    Two of the methods are Optuna's own: should it call others one day, it is slower again.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._begun: FrozenTrial | None = None
        # Closing the last connection has SQLite put all into the one file that people copy.
        weakref.finalize(self, self.engine.dispose)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        trial = super()._create_new_trial(study_id, template_trial)
        self._begun = trial if trial.state == TrialState.RUNNING else None
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial; the one that was just begun, which is asked for at once, from memory."""
        begun, self._begun = self._begun, None
        if begun is not None and begun._trial_id == trial_id:
            return deepcopy(begun)
        return super().get_trial(trial_id)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, template_trial, session)
        bare = copy(template_trial)
        bare.params, bare.user_attrs, bare.system_attrs = {}, {}, {}
        trial = super()._get_prepared_new_trial(study_id, bare, session)
        # Optuna would look up the trial, and what is written of it, before each of these.
        session.add_all(_rows(template_trial, trial))
        return trial


def _rows(trial: FrozenTrial, of: models.TrialModel) -> list[models.BaseModel]:
    """What is kept of a trial beside its line in the list of trials, if it has no result yet."""
    parameters = [
        models.TrialParamModel(
            trial_id=of.trial_id,
            param_name=name,
            param_value=trial.distributions[name].to_internal_repr(value),
            distribution_json=distribution_to_json(trial.distributions[name]),
        )
        for name, value in trial.params.items()
    ]
    attributes = [
        model(trial_id=of.trial_id, key=key, value_json=json.dumps(value))
        for model, kept in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        )
        for key, value in kept.items()
    ]
    return parameters + attributes


def _has_tables(url: str, options: dict[str, Any]) -> bool:
    """Whether Optuna has made all its tables: until then, its storage would make the last ones.

    Whoever only reads must not meddle with a study that is just being begun.
    """
    engine = create_engine(url, **options)
    try:
        with engine.connect() as connection:
            return (
                inspect(connection).has_table(_LAST_TABLE)
                and connection.execute(text(f"SELECT * FROM {_LAST_TABLE}")).first() is not None
            )
    finally:
        engine.dispose()


def _write_ahead(connection: Any, record: object, begin: bool) -> None:
    """Let SQLite append what is written to a log, and wait for the disk twice a trial or so.

    It would otherwise wait several times at each write, of which a trial has a dozen. Whatever
    process is killed, all is kept; where the machine loses its power, all but the last trial is.
    """
    mode = connection.execute("PRAGMA journal_mode" + (" = WAL" if begin else "")).fetchone()
    if mode == ("wal",):
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_BETWEEN_SYNCS}")
