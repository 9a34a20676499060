"""The leaderboard: what each candidate's loss is expected to be, how surely, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dynamoe_search.measure.quantities import with_measured
from dynamoe_search.statistics.candidates import complete_runs, describe_candidates
from dynamoe_search.statistics.pareto import make_pareto_table
from dynamoe_search.statistics.two_way import estimate_means, fit_two_way

_EXPECTED = {
    "loss": "validation_loss",
    "accuracy": "validation_accuracy",
    "perplexity": "validation_perplexity",
    "bits_per_byte": "validation_bits_per_byte",
}
_MEANS = ("active_experts", "active_parameters", "flops_per_token")


def rank_candidates(runs: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The candidates of a study by rank; with several objectives, those on the front come first.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.
    objectives : sequence of str
        What the study looks for.

    Returns
    -------
    DataFrame
        As `make_leaderboard` gives it for the loss alone; else as `make_pareto_table` does, with
        what the study measured.

    Raises
    ------
    InvalidInput
        If no run is complete.
    """
    if tuple(objectives) == ("loss",):
        return make_leaderboard(runs)
    return with_measured(make_pareto_table(runs, objectives), runs)


def make_leaderboard(runs: pd.DataFrame) -> pd.DataFrame:
    """Rank the candidates of a study by their expected validation loss.

    The best mean of many is too good: part of it is luck. So candidates are ranked by what their
    mean over all seeds is expected to be, given all runs of the study, by the two-way model of
    `dynamoe_search.statistics.fit_two_way`. It draws the means of candidates together, those of few
    seeds more than those of many, and takes out what a seed does to all candidates.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.

    Returns
    -------
    DataFrame
        One row per candidate, best first; those that miss a constraint come last:

        - ``candidate``, ``rank`` (from 1), ``schedule``, ``active_schedule`` (where it was
          searched), ``settings`` (what was searched beside them), ``pattern`` (its display name, ""
          if it has none), ``group`` (pattern, uniform, preset, dense or searched), ``seeds`` (those
          with a result), ``feasible`` (whether more than half of them meet the constraints);
        - ``loss`` (nats), ``accuracy``, ``perplexity`` and ``bits_per_byte`` (NaN for images), each
          as it is expected to be; of the first two the 95 % interval, ``_low`` and ``_high``, whose
          ends are NaN where nothing was trained twice; it holds for the first row, too, although
          that was picked for being best;
        - ``mean_loss``: the plain mean of the recorded losses;
        - ``total_parameters``; ``active_experts`` (K on the validation split, its mean over
          tokens, layers and seeds), ``active_parameters`` and ``flops_per_token``, measured means;
        - ``indistinguishable``: whether the candidate is statistically indistinguishable from the
          first row (5 % for the whole table, see `differences_by_noise`);
        - what the study measured, by `measured_means`.

    Raises
    ------
    InvalidInput
        If no run is complete.
    """
    complete = complete_runs(runs)
    board = describe_candidates(complete)
    grouped = complete.groupby("candidate", sort=True)
    for name, column in _EXPECTED.items():
        estimates = estimate_means(complete[column], complete["candidate"], complete["seed"])
        board[[name, f"{name}_low", f"{name}_high"]] = estimates
    board["mean_loss"] = grouped["validation_loss"].mean()
    for name in _MEANS:
        board[name] = grouped[name].mean()
    board["total_parameters"] = grouped["total_parameters"].first().astype("int64")
    ends = ["loss_low", "loss_high", "accuracy_low", "accuracy_high"]
    board[ends] = board[ends].clip(lower=0)
    board["accuracy_high"] = board["accuracy_high"].clip(upper=1)
    board = board.sort_values("loss", kind="stable")
    board = board.sort_values("feasible", ascending=False, kind="stable").reset_index()
    is_close = board["loss"] - board["loss"].iloc[0] <= differences_by_noise(complete, board)
    board["indistinguishable"] = is_close & (board["feasible"] == board["feasible"].iloc[0])
    board["rank"] = board.index + 1
    order = [
        *(
            "candidate",
            "rank",
            "schedule",
            "active_schedule",
            "settings",
            "pattern",
            "group",
            "seeds",
            "feasible",
        ),
        *("loss", "loss_low", "loss_high", "mean_loss"),
        *("accuracy", "accuracy_low", "accuracy_high", "perplexity", "bits_per_byte"),
        *("total_parameters", "active_experts", "active_parameters", "flops_per_token"),
        "indistinguishable",
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
    posterior = fit_two_way(complete["validation_loss"], complete["candidate"], complete["seed"])
    places = posterior.candidates.get_indexer(board["candidate"])
    return pd.Series(posterior.margins(places[0])[0, places], index=board.index)
