import io

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.leaderboard import (
    differences_by_noise,
    make_leaderboard,
    rank_candidates,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import studentized_range
from dynamoe_search.statistics.shrinkage import paired_means
from dynamoe_search.statistics.two_way import estimate_means

KEYS = ["candidate", "rank", "schedule", "settings", "pattern", "group", "seeds", "feasible"]


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
            "seed": seed,
            "state": "complete",
            "feasible": True,
            "validation_loss": loss,
            "validation_accuracy": 1 - loss / 10,
            "validation_perplexity": np.nan,
            "validation_bits_per_byte": np.nan,
            "total_parameters": 1000.0,
            "active_experts": 1.5 + 0.1 * seed,
            "active_parameters": 500.0,
            "flops_per_token": 900.0,
        }
        for candidate, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    rows.append({**rows[0], "state": "running", "validation_loss": np.nan})
    table = pd.DataFrame(rows).astype({"seed": "Int64"})
    return table.assign(finished=pd.date_range("2026-01-01", periods=len(table), freq="min"))


CLEAR = runs_of(
    {"3-1": [1.00, 1.02, 0.98], "2-2": [1.02, 1.00, 1.01], "1-3": [2.0, 1.98, 2.01]},
    {"1-3": "pattern", "2-2": "uniform"},
)


def test_one_row_per_candidate_best_first() -> None:
    board = make_leaderboard(CLEAR)
    assert board.columns[: len(KEYS)].tolist() == KEYS
    assert board["candidate"].tolist() == ["3-1", "2-2", "1-3"]
    assert board["rank"].tolist() == [1, 2, 3]
    assert board["pattern"].tolist() == ["", "named 2-2", "named 1-3"]
    assert board["group"].tolist() == ["searched", "uniform", "pattern"]
    assert board["seeds"].tolist() == [3, 3, 3]
    assert board["mean_loss"].tolist() == pytest.approx([1.0, 1.01, 1.99667], abs=1e-5)
    complete = CLEAR[CLEAR["state"] == "complete"]
    estimates = estimate_means(
        complete["validation_loss"], complete["candidate"], complete["seed"]
    ).loc[board["candidate"]]
    loss = ["loss", "loss_low", "loss_high"]
    assert (board[loss].to_numpy() == estimates.to_numpy()).all()
    assert board["accuracy"].tolist() == pytest.approx((1 - board["loss"] / 10).tolist())
    low = (1 - board["loss_high"] / 10).tolist()
    assert board["accuracy_low"].tolist() == pytest.approx(low, abs=1e-6)
    assert board["active_experts"].tolist() == pytest.approx([1.6] * 3)
    assert board["indistinguishable"].tolist() == [True, True, False]


def test_the_margin_to_the_best_is_tukeys_without_the_effects_of_seeds() -> None:
    board = make_leaderboard(CLEAR)
    complete = CLEAR[CLEAR["state"] == "complete"]
    losses = complete.pivot(index="candidate", columns="seed", values="validation_loss")
    # Candidates differ so much here that hardly anything is drawn together.
    expected = studentized_range(3, 4) * paired_means(losses).error
    margins = differences_by_noise(complete, board)
    assert margins[0] == 0
    assert margins[1] == pytest.approx(expected, rel=0.05)


def test_a_lucky_candidate_of_one_seed_is_not_the_best() -> None:
    steady = {f"{n}-1": [1.0 + 0.05 * (-1) ** (n + seed) for seed in range(4)] for n in range(9)}
    lucky = make_leaderboard(runs_of({**steady, "3-1": [0.90, 0.94, 0.92, 0.93], "1-9": [0.91]}))
    assert lucky["candidate"].tolist()[:2] == ["3-1", "1-9"]
    assert lucky["mean_loss"].idxmin() == 1
    assert lucky["loss"][1] > 0.93


def test_bits_per_byte_rank_as_the_loss() -> None:
    runs = CLEAR.assign(validation_bits_per_byte=CLEAR["validation_loss"] / 3)
    board = make_leaderboard(runs)
    assert board["bits_per_byte"].tolist() == pytest.approx((board["loss"] / 3).tolist())


def test_with_several_objectives_candidates_are_ranked_by_their_front() -> None:
    pd.testing.assert_frame_equal(rank_candidates(CLEAR, ("loss",)), make_leaderboard(CLEAR))
    runs = CLEAR.assign(flops_per_token=CLEAR["candidate"].map({"3-1": 9, "2-2": 9, "1-3": 5}))
    both = rank_candidates(runs.assign(gini=0.25), ("loss", "active_flops"))
    assert both["candidate"].tolist() == ["3-1", "1-3", "2-2"]
    assert both["on_front"].tolist() == [True, True, False]
    assert "gini" in both


def test_runs_without_groups_and_with_measured_quantities() -> None:
    board = make_leaderboard(CLEAR.drop(columns="group").assign(gini=0.25))
    assert "group" not in board
    assert board.columns[-3:].tolist() == ["gini", "gini_low", "gini_high"]
    assert board["gini"].tolist() == [0.25] * 3


def test_candidates_that_miss_a_constraint_come_last() -> None:
    runs = CLEAR.copy()
    runs.loc[(runs["candidate"] == "3-1") & (runs["seed"] < 2), "feasible"] = False
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


@pytest.mark.parametrize("backend", ["pyarrow", "numpy_nullable"])
def test_runs_may_come_in_any_types_of_pandas(backend: str) -> None:
    runs = runs_of({"3-1": [0.5, 0.6, 0.4], "2-2": [0.45, 0.5]}, {"2-2": "uniform"})
    file = io.BytesIO(runs.to_parquet())
    given = pd.read_parquet(file, dtype_backend=backend)  # type: ignore[call-overload]
    assert given["validation_perplexity"].isna().all()
    found, expected = make_leaderboard(given), make_leaderboard(runs)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert found["perplexity"].dtype == expected["perplexity"].dtype == float
    assert found["indistinguishable"].dtype == bool
