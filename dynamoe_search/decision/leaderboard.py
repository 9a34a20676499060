"""The leaderboard: each candidate's mean loss with its interval, and what the candidate costs."""

from __future__ import annotations

import pandas as pd

from dynamoe_search.measure.quantities import with_measured
from dynamoe_search.statistics.candidates import complete_runs, describe_candidates
from dynamoe_search.statistics.intervals import (
    half_width,
    least_significant_difference,
    pooled_noise,
)

_MEANS = {
    "loss": "validation_loss",
    "accuracy": "validation_accuracy",
    "perplexity": "validation_perplexity",
    "bits_per_byte": "validation_bits_per_byte",
    "active_experts": "active_experts",
    "active_parameters": "active_parameters",
    "flops_per_token": "flops_per_token",
}


def make_leaderboard(runs: pd.DataFrame) -> pd.DataFrame:
    """Rank the candidates of a study by their mean validation loss.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.

    Returns
    -------
    DataFrame
        One row per candidate, best first; those that miss a constraint come last:

        - ``candidate``, ``rank`` (from 1), ``schedule``, ``settings`` (what was searched beside the
          schedule), ``pattern`` (its display name, "" if it has none), ``group`` (pattern, uniform,
          preset, dense or searched), ``blocks`` (the complete seed blocks), ``feasible`` (whether
          more than half of them meet the constraints);
        - ``loss`` (nats) with ``loss_low`` and ``loss_high``, ``accuracy`` with ``accuracy_low``
          and ``accuracy_high``: means with 95 % intervals, from the noise pooled over the study;
          the ends are NaN where nothing was trained twice;
        - ``perplexity`` and ``bits_per_byte``, means; NaN for images;
        - ``total_parameters``; ``active_experts`` (K on the validation split, its mean over
          tokens, layers and blocks), ``active_parameters`` and ``flops_per_token``, measured means;
        - ``indistinguishable``: whether the difference to the first row is statistically
          indistinguishable from noise (Tukey and Kramer, 5 % for the whole table);
        - what the study measured, by `measured_means`.

    Raises
    ------
    InvalidInput
        If no run is complete.
    """
    complete = complete_runs(runs)
    board = describe_candidates(complete)
    grouped = complete.groupby("candidate", sort=True)
    for name, column in _MEANS.items():
        board[name] = grouped[column].mean()
    board["total_parameters"] = grouped["total_parameters"].first().astype("int64")
    board = board.sort_values("loss", kind="stable")
    board = board.sort_values("feasible", ascending=False, kind="stable").reset_index()
    for name in ("loss", "accuracy"):
        noise = pooled_noise(complete[_MEANS[name]], complete["candidate"])
        width = half_width(noise, board["blocks"])
        board[f"{name}_low"] = (board[name] - width).clip(lower=0)
        board[f"{name}_high"] = board[name] + width
    board["accuracy_high"] = board["accuracy_high"].clip(upper=1)
    is_close = board["loss"] - board["loss"].iloc[0] <= differences_by_noise(complete, board)
    board["indistinguishable"] = is_close & (board["feasible"] == board["feasible"].iloc[0])
    board["rank"] = board.index + 1
    order = [
        *("candidate", "rank", "schedule", "settings", "pattern", "group", "blocks", "feasible"),
        *("loss", "loss_low", "loss_high", "accuracy", "accuracy_low", "accuracy_high"),
        *("perplexity", "bits_per_byte", "total_parameters", "active_experts"),
        *("active_parameters", "flops_per_token", "indistinguishable"),
    ]
    return with_measured(board[[name for name in order if name in board]], complete)


def differences_by_noise(complete: pd.DataFrame, board: pd.DataFrame) -> pd.Series:
    """The least difference to the first row of a leaderboard that is significant, for each row.

    Parameters
    ----------
    complete : DataFrame
        The complete training runs.
    board : DataFrame
        Their leaderboard.
    """
    noise = pooled_noise(complete["validation_loss"], complete["candidate"])
    margins = least_significant_difference(
        noise, board["blocks"].iloc[0], board["blocks"], len(board)
    )
    return pd.Series(margins, index=board.index)
