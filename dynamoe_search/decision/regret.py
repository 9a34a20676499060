"""How far a search had come after each training run: its leader, and the leader's regret."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.candidates import complete_runs
from dynamoe_search.statistics.two_way import fit_two_way


def search_curve(runs: pd.DataFrame) -> pd.DataFrame:
    """The leader after each training run, and how much worse it is than the best of the study.

    The leader is the candidate that is expected to be best by its runs up to then, among those that
    meet the constraints in more than half of these. How much the runs of one candidate scatter,
    and how much the seeds and the candidates differ, is taken from the whole study. Its regret is
    judged by all its runs, so that early luck does not count. It ends at 0, since the last leader
    is the best known candidate: a better one may never have been trained.

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
        leader is statistically indistinguishable from the best (see `make_leaderboard`).

    Raises
    ------
    InvalidInput
        If no run is complete, or no candidate meets the constraints.
    """
    board = make_leaderboard(runs).set_index("candidate")
    if not board["feasible"].iloc[0]:
        raise InvalidInput("no candidate meets the constraints, so there is no best one")
    leading = leaders_of_the_time(runs)
    curve = board.reindex(pd.Index(leading["candidate"])).reset_index()
    curve["completed"] = curve.index + 1
    curve["regret"] = curve["loss"] - board["loss"].iloc[0]
    curve["indistinguishable"] = curve["indistinguishable"].eq(True)  # False without a leader
    columns = ["candidate", "group", "completed", "regret", "indistinguishable"]
    return curve[[name for name in columns if name in curve]]


def leaders_of_the_time(runs: pd.DataFrame) -> pd.DataFrame:
    """The leader after each training run, and its loss as expected then; see `search_curve`.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.

    Returns
    -------
    DataFrame
        One row per complete run, in the order in which they finished: ``candidate`` and ``loss``;
        missing while no candidate meets the constraints. A run's seeds count at once.

    Raises
    ------
    InvalidInput
        If no run is complete.
    """
    complete = complete_runs(runs).sort_values("finished", kind="stable")
    posterior = fit_two_way(complete["validation_loss"], complete["candidate"], complete["seed"])
    codes, names = pd.factorize(complete["candidate"], sort=True)
    of_seed = np.eye(len(posterior.blocks))[posterior.blocks.get_indexer(complete["seed"])]
    counts = pd.DataFrame(of_seed).groupby(codes).cumsum()
    losses = complete["validation_loss"].groupby(codes).cumsum()
    met = complete["feasible"].astype(float).groupby(codes).cumsum().to_numpy()
    is_feasible = met > counts.sum(axis=1).to_numpy() / 2
    standing = np.where(is_feasible, posterior.expected(counts, losses), np.inf)
    of_candidate = np.full(len(names), np.inf)
    leaders = np.empty(len(complete), dtype=np.int64)
    expected = np.empty(len(complete))
    for number, (code, loss) in enumerate(zip(codes, standing, strict=True)):
        of_candidate[code] = loss
        leaders[number] = of_candidate.argmin()
        expected[number] = of_candidate[leaders[number]]
    leading = pd.DataFrame({"candidate": names[leaders], "loss": expected})
    ends_run = ~complete["run"].duplicated(keep="last").to_numpy()
    return leading[ends_run].mask(leading["loss"] == np.inf).reset_index(drop=True)
