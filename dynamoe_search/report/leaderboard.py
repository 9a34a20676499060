"""What a study has found, in sentences."""

from __future__ import annotations

import pandas as pd

from dynamoe_search.decision.leaderboard import differences_by_noise, make_leaderboard


def answer(runs: pd.DataFrame, board: pd.DataFrame | None = None) -> list[str]:
    """What a study has found, in sentences that claim no more than its noise allows.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives them.
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
        margin = float(differences_by_noise(complete, board)[patterns.index[0]])
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
    tied = int(feasible["indistinguishable"].sum()) - 1
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


def _described(row: pd.Series) -> str:
    candidate = f"{row['schedule']} {row['settings']}".rstrip()
    name = f"{row['pattern']} ({candidate})" if row["pattern"] else candidate
    times = "1 block" if row["blocks"] == 1 else f"{row['blocks']} blocks"
    interval = ""
    if pd.notna(row["loss_low"]):
        interval = f", 95 % interval {row['loss_low']:.4f} to {row['loss_high']:.4f}"
    return f"{name}, validation loss {row['loss']:.4f} ({times}{interval})"
