"""How far a search had come after each training run: its leader, and the leader's regret."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput


def search_curve(runs: pd.DataFrame) -> pd.DataFrame:
    """The leader after each training run, and how much worse it is than the best of the study.

    The leader is the candidate with the lowest mean of the runs up to then, among those that meet
    the constraints in more than half of these. Its regret is judged by its mean over all runs of
    the study, so that early luck does not count. It ends at 0, since the last leader is the best
    known candidate: a better one may never have been trained.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.

    Returns
    -------
    DataFrame
        One row per complete run, in the order in which they finished: ``candidate``, the leader
        (missing while no candidate meets the constraints), with its ``group``; ``completed``, the
        number of complete runs, from 1; ``regret`` (nats); ``indistinguishable``: whether the
        leader's difference to the best is statistically indistinguishable from noise (see
        `make_leaderboard`).

    Raises
    ------
    InvalidInput
        If no run is complete, or no candidate meets the constraints.
    """
    board = make_leaderboard(runs).set_index("candidate")
    if not board["feasible"].iloc[0]:
        raise InvalidInput("no candidate meets the constraints, so there is no best one")
    complete = runs[runs["state"] == "complete"].sort_values("finished", kind="stable")
    leaders = _leaders(complete)
    curve = board.reindex(pd.Index(leaders, name="candidate")).reset_index()
    curve["completed"] = curve.index + 1
    curve["regret"] = curve["loss"] - board["loss"].iloc[0]
    curve["indistinguishable"] = curve["indistinguishable"].eq(True)  # False without a leader
    columns = ["candidate", "group", "completed", "regret", "indistinguishable"]
    return curve[[name for name in columns if name in curve]]


def _leaders(complete: pd.DataFrame) -> list[str | None]:
    """The leader after each training run; None while no candidate meets the constraints."""
    codes, names = pd.factorize(complete["candidate"])
    runs, losses, met = np.zeros((3, len(names)))
    standing = np.full(len(names), np.inf)  # the mean loss where feasible
    leaders: list[str | None] = []
    for code, loss, feasible in zip(
        codes, complete["validation_loss"], complete["feasible"], strict=True
    ):
        runs[code] += 1
        losses[code] += loss
        met[code] += feasible
        standing[code] = losses[code] / runs[code] if met[code] > runs[code] / 2 else np.inf
        first = int(standing.argmin())
        leaders.append(names[first] if np.isfinite(standing[first]) else None)
    return leaders
