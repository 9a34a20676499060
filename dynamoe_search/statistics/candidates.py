"""The candidates of a study, from its training runs: what each is, and which are feasible."""

from __future__ import annotations

import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_extension_array_dtype,
    is_float_dtype,
    is_numeric_dtype,
)

from dynamoe_search.errors import InvalidInput

_DESCRIPTION = ("schedule", "active_schedule", "settings", "pattern", "group")


def complete_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The complete training runs, their numbers in types of numpy, where missing ones are NaN.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`, in whatever types of pandas.

    Raises
    ------
    InvalidInput
        If there are none.
    """
    complete = runs[runs["state"] == "complete"]
    if complete.empty:
        raise InvalidInput("no training run of this study is complete yet")
    others = [name for name, column in complete.items() if is_extension_array_dtype(column.dtype)]
    return complete.assign(**{str(name): _of_numpy(complete[name]) for name in others})


def _of_numpy(column: pd.Series) -> pd.Series:
    """A column of numbers or truth values as numpy has it; any other as it is."""
    if is_float_dtype(column.dtype) or column.isna().all():
        return column.astype("float64")
    if is_numeric_dtype(column.dtype) and not column.isna().any():
        return column.astype("bool" if is_bool_dtype(column.dtype) else "int64")
    return column


def describe_candidates(complete: pd.DataFrame) -> pd.DataFrame:
    """What each candidate is, with how many seeds, and whether it meets the constraints.

    A candidate is feasible if more than half of its seeds meet all constraints, so that more
    seeds do not make it harder.

    Parameters
    ----------
    complete : DataFrame
        Complete training runs.

    Returns
    -------
    DataFrame
        One row per candidate, its index, sorted: ``schedule``, ``active_schedule``, ``settings``,
        ``pattern`` and ``group`` where the runs have them; ``seeds``, the number of seeds with a
        result; ``feasible``.

    Examples
    --------
    >>> runs = pd.DataFrame({
    ...     "candidate": ["3-1", "3-1", "2-2"], "schedule": ["3-1", "3-1", "2-2"],
    ...     "seed": [0, 1, 0], "feasible": [True, False, True]})
    >>> describe_candidates(runs).reset_index().values.tolist()
    [['2-2', '2-2', 1, True], ['3-1', '3-1', 2, False]]
    """
    grouped = complete.groupby("candidate", sort=True)
    table = grouped[[name for name in _DESCRIPTION if name in complete]].first()
    table["seeds"] = grouped.size()
    table["feasible"] = (grouped["feasible"].mean() > 0.5).astype(bool)
    return table
