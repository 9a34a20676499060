"""What `dynamoe_search.run.processes` has imported before it forks workers."""

# ruff: noqa: E402, F401

import gc

# Nothing that is imported becomes garbage: a quarter of the time would go into looking for it.
gc.disable()

# What optuna imports when it opens a database.
import alembic.command
import alembic.config
import alembic.migration
import optuna.storages._rdb.models

import dynamoe_search.run.worker

gc.freeze()
gc.enable()
