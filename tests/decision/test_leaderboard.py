import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.decision.leaderboard import differences_by_noise, make_leaderboard
from dynamoe_search.errors import InvalidInput

KEYS = ["candidate", "rank", "schedule", "settings", "pattern", "group", "blocks", "feasible"]


def runs_of(losses: dict[str, list[float]], groups: dict[str, str] | None = None) -> pd.DataFrame:
    """Complete training runs in the order given, a minute each, and one that is not complete."""
    groups = groups or {}
    rows = [
        {
            "candidate": candidate,
            "schedule": candidate,
            "settings": "",
            "pattern": "" if candidate not in groups else f"named {candidate}",
            "group": groups.get(candidate, "searched"),
            "block": block,
            "state": "complete",
            "feasible": True,
            "validation_loss": loss,
            "validation_accuracy": 1 - loss / 10,
            "validation_perplexity": np.nan,
            "validation_bits_per_byte": np.nan,
            "total_parameters": 1000.0,
            "active_experts": 1.5 + 0.1 * block,
            "active_parameters": 500.0,
            "flops_per_token": 900.0,
        }
        for candidate, values in losses.items()
        for block, loss in enumerate(values)
    ]
    rows.append({**rows[0], "state": "running", "validation_loss": np.nan})
    table = pd.DataFrame(rows).astype({"block": "Int64"})
    return table.assign(finished=pd.date_range("2026-01-01", periods=len(table), freq="min"))


CLEAR = runs_of(
    {"3-1": [1.00, 1.01, 0.99], "2-2": [1.01, 1.02, 1.00], "1-3": [2.0, 2.01, 1.99]},
    {"1-3": "pattern", "2-2": "uniform"},
)


def test_one_row_per_candidate_best_first() -> None:
    board = make_leaderboard(CLEAR)
    assert board.columns[: len(KEYS)].tolist() == KEYS
    assert board["candidate"].tolist() == ["3-1", "2-2", "1-3"]
    assert board["rank"].tolist() == [1, 2, 3]
    assert board["pattern"].tolist() == ["", "named 2-2", "named 1-3"]
    assert board["group"].tolist() == ["searched", "uniform", "pattern"]
    assert board["blocks"].tolist() == [3, 3, 3]
    assert board["loss"].tolist() == pytest.approx([1.0, 1.01, 2.0])
    assert board["active_experts"].tolist() == pytest.approx([1.6] * 3)
    assert board["indistinguishable"].tolist() == [True, True, False]
    # s = 0.01 with 6 degrees of freedom.
    width = stats.t.ppf(0.975, 6) * 0.01 / 3**0.5
    assert (board["loss_high"] - board["loss"]).tolist() == pytest.approx([width] * 3)


def test_the_margin_to_the_best_is_tukeys() -> None:
    board = make_leaderboard(CLEAR)
    complete = CLEAR[CLEAR["state"] == "complete"]
    samples = [
        complete.loc[complete["candidate"] == candidate, "validation_loss"]
        for candidate in board["candidate"]
    ]
    interval = stats.tukey_hsd(*samples).confidence_interval(0.95)
    expected = (interval.high - interval.low)[0, 1] / 2
    assert differences_by_noise(complete, board)[1] == pytest.approx(expected, rel=1e-6)


def test_runs_without_groups_and_with_measured_quantities() -> None:
    board = make_leaderboard(CLEAR.drop(columns="group").assign(gini=0.25))
    assert "group" not in board
    assert board.columns[-3:].tolist() == ["gini", "gini_low", "gini_high"]
    assert board["gini"].tolist() == [0.25] * 3


def test_candidates_that_miss_a_constraint_come_last() -> None:
    runs = CLEAR.copy()
    runs.loc[(runs["candidate"] == "3-1") & (runs["block"] < 2), "feasible"] = False
    board = make_leaderboard(runs)
    assert board["candidate"].tolist() == ["2-2", "1-3", "3-1"]
    assert board["feasible"].tolist() == [True, True, False]
    assert board["indistinguishable"].tolist() == [True, False, False]


def test_nothing_complete_yet() -> None:
    with pytest.raises(InvalidInput, match="no training run of this study is complete"):
        make_leaderboard(CLEAR[CLEAR["state"] != "complete"])


def test_files_keep_every_column(tmp_path) -> None:
    board = make_leaderboard(CLEAR)
    board.to_parquet(tmp_path / "board.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "board.parquet"), board)
    board.to_csv(tmp_path / "board.csv", index=False)
    read = pd.read_csv(tmp_path / "board.csv", keep_default_na=False)
    assert list(read.columns) == list(board.columns)
