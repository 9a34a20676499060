"""The leaderboard: each schedule's mean, how sure it is, and what it costs."""

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
        As `dynamoe_search.run.results.load_runs` gives it.

    Returns
    -------
    DataFrame
        A row a candidate, best first, those that miss a constraint after all others: ``rank`` from
        1, ``schedule``, ``settings`` (what was searched next to it), ``pattern`` (its name, if it
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
    board = board.join(measured).sort_values("loss", kind="stable").reset_index(drop=True)
    board = board.sort_values("feasible", ascending=False, kind="stable", ignore_index=True)
    board = board.astype({"total_parameters": "int64"})
    for quantity, column in (("loss", "validation_loss"), ("accuracy", "validation_accuracy")):
        noise = pooled_noise(complete[column], complete["candidate"])
        width = half_width(noise, board["blocks"])
        board[f"{quantity}_low"] = (board[quantity] - width).clip(lower=0)
        board[f"{quantity}_high"] = board[quantity] + width
    board["accuracy_high"] = board["accuracy_high"].clip(upper=1)
    within_noise = board["loss"] - board["loss"].iloc[0] <= _margin(complete, board)
    board["tied_with_best"] = within_noise & (board["feasible"] == board["feasible"].iloc[0])
    board.insert(0, "rank", range(1, len(board) + 1))
    order = ["rank", "schedule", "settings", "pattern", "blocks", "feasible"]
    order += [
        f"{quantity}{end}" for quantity in ("loss", "accuracy") for end in ("", "_low", "_high")
    ]
    order += ["perplexity", "bits_per_byte", "total_parameters", "active_experts"]
    order += ["active_parameters", "flops_per_token", "tied_with_best"]
    return board[[*order, *measured]]


def answer(runs: pd.DataFrame, board: pd.DataFrame | None = None) -> list[str]:
    """What a study has found, in sentences that claim no more than its noise allows.

    Parameters
    ----------
    runs : DataFrame
        As `dynamoe_search.run.results.load_runs` gives them.
    board : DataFrame, optional
        What `make_leaderboard` makes of them; made here where it is None.
    """
    if board is None:
        board = make_leaderboard(runs)
    complete = runs[runs["state"] == "complete"]
    best = board.iloc[0]
    sentences = [f"Best schedule: {_described(best)}."]
    if not best["feasible"]:
        return ["No candidate meets the constraints.", *sentences, *_what_was_equal(board)]
    feasible = board[board["feasible"]]
    patterns = feasible[feasible["pattern"] != ""]
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
    if len(feasible) < len(board):
        sentences.append(
            f"{len(board) - len(feasible)} of {len(board)} candidates miss a constraint."
        )
    tied = int(feasible["tied_with_best"].sum()) - 1
    others = len(feasible) - 1
    if others:
        sentences.append(
            f"{tied} of the {others} other schedules cannot be told from the best"
            " (95 % for the whole table)."
        )
    return sentences + _what_was_equal(board) + _what_was_changed(runs)


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


def _what_was_changed(runs: pd.DataFrame) -> list[str]:
    return [
        f"The study file was changed after {change['after_runs']} runs"
        f" ({'; '.join(change['changes'])}): results from before and after are pooled."
        for change in runs.attrs.get("changes", [])
    ]


def _margin(complete: pd.DataFrame, board: pd.DataFrame) -> pd.Series:
    noise = pooled_noise(complete["validation_loss"], complete["candidate"])
    margins = least_significant_difference(
        noise, board["blocks"].iloc[0], board["blocks"], len(board)
    )
    return pd.Series(margins, index=board.index)


def _described(row: pd.Series) -> str:
    candidate = f"{row['schedule']} {row['settings']}".rstrip()
    name = f"{row['pattern']} ({candidate})" if row["pattern"] else candidate
    times = "1 block" if row["blocks"] == 1 else f"{row['blocks']} blocks"
    interval = ""
    if pd.notna(row["loss_low"]):
        interval = f", 95 % interval {row['loss_low']:.4f} to {row['loss_high']:.4f}"
    return f"{name}, validation loss {row['loss']:.4f} ({times}{interval})"
