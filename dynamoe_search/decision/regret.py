"""How far a search had come after each training run: who led, and by how much worse it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput


def search_curve(runs: pd.DataFrame) -> pd.DataFrame:
    """Who led after each training, and how much worse it is than the best, by all that is known.

    The leader of a moment is the candidate of the lowest mean of the trainings up to then, among
    those that meet the constraints in most of these. It is judged by its mean of all trainings of
    the study, so that its luck of the moment is not credited to it. Regret so far ends at 0, since
    the last leader is the best that is known: a better one may never have been trained.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.

    Returns
    -------
    DataFrame
        A row a complete training, in the order in which they ended: ``training`` (from 1),
        ``leader`` (missing while no candidate meets the constraints), ``regret`` (in nats), and
        ``tied``: whether the leader's difference to the best is within what noise does (Tukey and
        Kramer, see `make_leaderboard`).

    Raises
    ------
    InvalidInput
        Where no training is complete, or none meets the constraints.
    """
    board = make_leaderboard(runs)
    board = board.set_index("candidate")
    if not board["feasible"].iloc[0]:
        raise InvalidInput("no candidate meets the constraints, so that none is best")
    complete = runs[runs["state"] == "complete"].sort_values("finished", kind="stable")
    leaders = _leaders(complete)
    known = board.reindex(leaders)
    return pd.DataFrame(
        {
            "training": np.arange(1, len(complete) + 1),
            "leader": leaders,
            "regret": known["loss"].to_numpy() - board["loss"].iloc[0],
            "tied": known["tied_with_best"].eq(True).to_numpy(),
        }
    )


def _leaders(complete: pd.DataFrame) -> list[str | None]:
    """The candidate in the lead after each training; None while none meets the constraints."""
    seen: dict[str, list[tuple[float, bool]]] = {}
    leading: list[str | None] = []
    for candidate, loss, feasible in zip(
        complete["candidate"], complete["validation_loss"], complete["feasible"], strict=True
    ):
        seen.setdefault(candidate, []).append((loss, feasible))
        means = {
            name: np.mean([loss for loss, _ in trainings])
            for name, trainings in seen.items()
            if np.mean([met for _, met in trainings]) > 0.5
        }
        leading.append(min(means, key=lambda name: means[name]) if means else None)
    return leading
