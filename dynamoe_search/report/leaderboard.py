"""The leaderboard: each schedule's mean, how sure it is, and what it costs."""

from __future__ import annotations

import pandas as pd

from dynamoe_search.analysis import half_width, least_significant_difference, pooled_noise
from dynamoe_search.errors import InvalidInput


def make_leaderboard(trials: pd.DataFrame) -> pd.DataFrame:
    """Rank the schedules of a study by their mean validation loss.

    Parameters
    ----------
    trials : DataFrame
        As `dynamoe_search.search.load_trials` gives it.

    Returns
    -------
    DataFrame
        A row a schedule, best first: ``rank`` from 1, ``schedule``, ``pattern`` (its name, if it is
        a pattern, uniform or a preset), ``replicates``, ``loss`` in nats with ``loss_low`` and
        ``loss_high``, ``accuracy`` with ``accuracy_low`` and ``accuracy_high`` (95 % intervals from
        the noise pooled over the study; NaN where nothing was trained twice), ``perplexity`` and
        ``bits_per_byte`` (means; NaN for images), ``total_parameters``, ``active_experts`` (K,
        measured on the validation split, its mean over tokens, layers and replicates),
        ``active_parameters`` and ``flops_per_token`` (measured means), and ``tied_with_best``:
        whether the difference to the first row is within what noise does (Tukey and Kramer, 5 % for
        the whole table).

    Raises
    ------
    InvalidInput
        Where no trial is complete.
    """
    complete = trials[trials["state"] == "complete"]
    if complete.empty:
        raise InvalidInput("no training of this study is complete yet")
    by_schedule = complete.groupby("schedule", sort=True)
    board = by_schedule.agg(
        pattern=("pattern", "first"),
        replicates=("replicate", "size"),
        loss=("validation_loss", "mean"),
        accuracy=("validation_accuracy", "mean"),
        perplexity=("perplexity", "mean"),
        bits_per_byte=("bits_per_byte", "mean"),
        total_parameters=("total_parameters", "first"),
        active_experts=("active_experts", "mean"),
        active_parameters=("active_parameters", "mean"),
        flops_per_token=("flops_per_token", "mean"),
    )
    board = board.sort_values("loss", kind="stable").reset_index()
    board = board.astype({"total_parameters": "int64"})
    for quantity, column in (("loss", "validation_loss"), ("accuracy", "validation_accuracy")):
        noise = pooled_noise(complete[column], complete["schedule"])
        width = half_width(noise, board["replicates"])
        board[f"{quantity}_low"] = (board[quantity] - width).clip(lower=0)
        board[f"{quantity}_high"] = board[quantity] + width
    board["accuracy_high"] = board["accuracy_high"].clip(upper=1)
    board["tied_with_best"] = board["loss"] - board["loss"].iloc[0] <= _margin(complete, board)
    board.insert(0, "rank", range(1, len(board) + 1))
    order = ["rank", "schedule", "pattern", "replicates"]
    order += [
        f"{quantity}{end}" for quantity in ("loss", "accuracy") for end in ("", "_low", "_high")
    ]
    order += ["perplexity", "bits_per_byte", "total_parameters", "active_experts"]
    return board[[*order, "active_parameters", "flops_per_token", "tied_with_best"]]


def answer(trials: pd.DataFrame) -> list[str]:
    """What a study has found, in sentences that claim no more than its noise allows."""
    board = make_leaderboard(trials)
    complete = trials[trials["state"] == "complete"]
    best = board.iloc[0]
    sentences = [f"Best schedule: {_described(best)}."]
    patterns = board[board["pattern"] != ""]
    if best["pattern"]:
        sentences[0] = f"Best schedule: {best['schedule']}, the named schedule {_described(best)}."
    elif not patterns.empty:
        pattern = patterns.iloc[0]
        margin = float(_margin(complete, board)[patterns.index[0]])
        difference = pattern["loss"] - best["loss"]
        sentences.append(f"Best named schedule: {_described(pattern)}.")
        if margin == float("inf"):
            verdict = "whether that is more than noise is unknown, as nothing was trained twice"
        elif difference <= margin:
            verdict = f"not distinguishable: noise alone reaches {margin:.4f}"
        else:
            verdict = f"more than noise, which reaches {margin:.4f}"
        sentences.append(f"The best schedule is ahead by {difference:.4f}: {verdict}.")
    tied = int(board["tied_with_best"].sum()) - 1
    others = len(board) - 1
    if others:
        sentences.append(
            f"{tied} of the {others} other schedules cannot be told from the best"
            " (95 % for the whole table)."
        )
    return sentences + _what_was_equal(board)


def _what_was_equal(board: pd.DataFrame) -> list[str]:
    active = board["active_experts"]
    sentences = [f"Active experts a layer, measured: {active.min():.3f} to {active.max():.3f}."]
    sizes = board["total_parameters"]
    if sizes.nunique() > 1:
        sentences.append(
            f"Candidates have {sizes.min():,} to {sizes.max():,} parameters: a difference between"
            " them is not the schedule's alone."
        )
    return sentences


def _margin(complete: pd.DataFrame, board: pd.DataFrame) -> pd.Series:
    noise = pooled_noise(complete["validation_loss"], complete["schedule"])
    margins = least_significant_difference(
        noise, board["replicates"].iloc[0], board["replicates"], len(board)
    )
    return pd.Series(margins, index=board.index)


def _described(row: pd.Series) -> str:
    name = f"{row['pattern']} ({row['schedule']})" if row["pattern"] else row["schedule"]
    times = "1 replicate" if row["replicates"] == 1 else f"{row['replicates']} replicates"
    interval = ""
    if pd.notna(row["loss_low"]):
        interval = f", 95 % interval {row['loss_low']:.4f} to {row['loss_high']:.4f}"
    return f"{name}, validation loss {row['loss']:.4f} ({times}{interval})"
