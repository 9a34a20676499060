import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.regret import search_curve
from dynamoe_search.errors import InvalidInput
from tests.decision.test_leaderboard import runs_of

ORDER = (("2-2", 1.5), ("3-1", 0.9), ("3-1", 1.7), ("4-1", 1.0), ("4-1", 1.02), ("2-2", 1.48))


def in_order(*losses: tuple[str, float], groups: dict[str, str] | None = None) -> pd.DataFrame:
    """Complete runs of these candidates and losses, one after another."""
    tables = [runs_of({candidate: [loss]}, groups).iloc[:1] for candidate, loss in losses]
    table = pd.concat(tables, ignore_index=True)
    table["block"] = table.groupby("candidate").cumcount()
    return table.assign(finished=pd.date_range("2026-01-01", periods=len(table), freq="min"))


def test_leaders_of_the_time_are_judged_by_all_runs() -> None:
    curve = search_curve(in_order(*ORDER, groups={"2-2": "uniform"}))
    assert curve.columns[0] == "candidate"
    assert curve["completed"].tolist() == [1, 2, 3, 4, 5, 6]
    # 3-1 led by luck: its mean over all runs is 1.3, that of 4-1 is 1.01, of 2-2 1.49.
    assert curve["candidate"].tolist() == ["2-2", "3-1", "3-1", "4-1", "4-1", "4-1"]
    assert curve["group"].tolist() == ["uniform"] + ["searched"] * 5
    assert curve["regret"].tolist() == pytest.approx([0.48, 0.29, 0.29, 0, 0, 0])


def test_leaders_are_those_of_every_shorter_study() -> None:
    generator = np.random.default_rng(0)
    runs = in_order(
        *((f"{1 + generator.integers(5)}-1", 1 + generator.normal()) for _ in range(40))
    )
    runs["feasible"] = generator.random(40) < 0.7
    runs.loc[:2, "feasible"] = False
    curve = search_curve(runs)
    for end in range(1, 41):
        so_far = runs[:end].groupby("candidate")[["validation_loss", "feasible"]].mean()
        feasible = so_far.loc[so_far["feasible"] > 0.5, "validation_loss"]
        leader = curve["candidate"].iloc[end - 1]
        if feasible.empty:
            assert leader is None or np.isnan(leader)
        else:
            assert leader == feasible.idxmin()


def test_the_order_is_that_of_time() -> None:
    runs = in_order(*ORDER)
    shuffled = runs.sample(frac=1, random_state=1)
    assert search_curve(shuffled).equals(search_curve(runs))


def test_indistinguishable_leaders() -> None:
    runs = in_order(
        *(("2-2", 2.0), ("2-2", 2.01), ("3-1", 1.0), ("4-1", 0.999), ("3-1", 1.01), ("4-1", 1.0))
    )
    found = search_curve(runs)["indistinguishable"]
    assert found.tolist() == [False, False, True, True, True, True]


def test_infeasible_candidates_do_not_lead() -> None:
    runs = in_order(*ORDER)
    runs.loc[runs["schedule"] == "4-1", "feasible"] = False
    assert search_curve(runs)["candidate"].iloc[-1] == "3-1"
    runs.loc[runs.index[0], "feasible"] = False
    first = search_curve(runs).iloc[0]
    assert pd.isna(first["candidate"])
    assert np.isnan(first["regret"])
    assert not first["indistinguishable"]
    with pytest.raises(InvalidInput, match="no candidate meets the constraints"):
        search_curve(runs.assign(feasible=False))


def test_nothing_complete() -> None:
    with pytest.raises(InvalidInput, match="no training run of this study is complete"):
        search_curve(in_order(*ORDER).assign(state="running"))
