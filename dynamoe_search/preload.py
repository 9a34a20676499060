"""What `dynamoe_search.forking` has imported before it forks workers."""

import gc

# Nothing that is imported becomes garbage: a quarter of the time would go into looking for it.
gc.disable()

# What torch imports when an optimizer is made, and optuna when it opens a database.
import alembic.command  # noqa: E402, F401
import optuna.storages._rdb.models  # noqa: E402, F401
import torch._dynamo  # noqa: E402, F401

import dynamoe_search.search.worker  # noqa: E402, F401

gc.freeze()
gc.enable()
