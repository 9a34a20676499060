"""The leaderboard: each candidate's mean, how sure it is, and what it costs."""

from __future__ import annotations

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.quantities import measured_means
from dynamoe_search.statistics.intervals import (
    half_width,
    least_significant_difference,
    pooled_noise,
)


def make_leaderboard(runs: pd.DataFrame) -> pd.DataFrame:
    """Rank the schedules of a study by their mean validation loss.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.

    Returns
    -------
    DataFrame
        A row a candidate, best first, those that miss a constraint after all others: ``candidate``,
        ``rank`` from 1, ``schedule``, ``settings`` (what was searched next to it), ``pattern`` (its name, if it
        is a pattern, uniform or a preset), ``blocks``, ``feasible`` (whether most of
        its blocks meet the constraints), ``loss`` in nats with ``loss_low`` and
        ``loss_high``, ``accuracy`` with ``accuracy_low`` and ``accuracy_high`` (95 % intervals from
        the noise pooled over the study; NaN where nothing was trained twice), ``perplexity`` and
        ``bits_per_byte`` (means; NaN for images), ``total_parameters``, ``active_experts`` (K,
        measured on the validation split, its mean over tokens, layers and blocks),
        ``active_parameters`` and ``flops_per_token`` (measured means), ``tied_with_best``:
        whether the difference to the first row is within what noise does (Tukey and Kramer, 5 % for
        the whole table); and what the study asked to be measured, as `measured_means` gives it.

    Raises
    ------
    InvalidInput
        Where no run is complete.
    """
    complete = runs[runs["state"] == "complete"]
    if complete.empty:
        raise InvalidInput("no training of this study is complete yet")
    board = complete.groupby("candidate", sort=True).agg(
        schedule=("schedule", "first"),
        settings=("settings", "first"),
        pattern=("pattern", "first"),
        blocks=("block", "size"),
        feasible=("feasible", lambda met: met.mean() > 0.5),
        loss=("validation_loss", "mean"),
        accuracy=("validation_accuracy", "mean"),
        perplexity=("validation_perplexity", "mean"),
        bits_per_byte=("validation_bits_per_byte", "mean"),
        total_parameters=("total_parameters", "first"),
        active_experts=("active_experts", "mean"),
        active_parameters=("active_parameters", "mean"),
        flops_per_token=("flops_per_token", "mean"),
    )
    measured = measured_means(runs)
    board = board.join(measured).sort_values("loss", kind="stable").reset_index()
    board = board.sort_values("feasible", ascending=False, kind="stable", ignore_index=True)
    board = board.astype({"total_parameters": "int64"})
    for quantity, column in (("loss", "validation_loss"), ("accuracy", "validation_accuracy")):
        noise = pooled_noise(complete[column], complete["candidate"])
        width = half_width(noise, board["blocks"])
        board[f"{quantity}_low"] = (board[quantity] - width).clip(lower=0)
        board[f"{quantity}_high"] = board[quantity] + width
    board["accuracy_high"] = board["accuracy_high"].clip(upper=1)
    within_noise = board["loss"] - board["loss"].iloc[0] <= differences_by_noise(complete, board)
    board["tied_with_best"] = within_noise & (board["feasible"] == board["feasible"].iloc[0])
    board.insert(1, "rank", range(1, len(board) + 1))
    order = ["candidate", "rank", "schedule", "settings", "pattern", "blocks", "feasible"]
    order += [
        f"{quantity}{end}" for quantity in ("loss", "accuracy") for end in ("", "_low", "_high")
    ]
    order += ["perplexity", "bits_per_byte", "total_parameters", "active_experts"]
    order += ["active_parameters", "flops_per_token", "tied_with_best"]
    return board[[*order, *measured]]


def differences_by_noise(complete: pd.DataFrame, board: pd.DataFrame) -> pd.Series:
    """The difference to the first row that noise alone reaches, for each row of a leaderboard."""
    noise = pooled_noise(complete["validation_loss"], complete["candidate"])
    margins = least_significant_difference(
        noise, board["blocks"].iloc[0], board["blocks"], len(board)
    )
    return pd.Series(margins, index=board.index)
