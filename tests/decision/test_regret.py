import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.decision.regret import leaders_of_the_time, search_curve
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.two_way import fit_two_way
from tests.decision.test_leaderboard import runs_of

ORDER = (("2-2", 1.5), ("3-1", 0.9), ("3-1", 1.7), ("4-1", 1.0), ("4-1", 1.02), ("2-2", 1.48))


def in_order(*losses: tuple[str, float], groups: dict[str, str] | None = None) -> pd.DataFrame:
    """Complete runs of these candidates and losses, one after another."""
    tables = [runs_of({candidate: [loss]}, groups).iloc[:1] for candidate, loss in losses]
    table = pd.concat(tables, ignore_index=True)
    table["seed"] = table.groupby("candidate").cumcount()
    finished = pd.date_range("2026-01-01", periods=len(table), freq="min")
    return table.assign(finished=finished, run=range(len(table)))


def test_leaders_of_the_time_are_judged_by_all_runs() -> None:
    curve = search_curve(in_order(*ORDER, groups={"2-2": "uniform"}))
    assert curve.columns[0] == "candidate"
    assert curve["completed"].tolist() == [1, 2, 3, 4, 5, 6]
    # 3-1 led by luck: its mean over all runs is 1.3, that of 4-1 is 1.01, of 2-2 1.49. The rest of
    # their differences is expected to be noise.
    assert curve["candidate"].tolist() == ["2-2", "3-1", "3-1", "4-1", "4-1", "4-1"]
    assert curve["group"].tolist() == ["uniform"] + ["searched"] * 5
    losses = make_leaderboard(in_order(*ORDER)).set_index("candidate")["loss"]
    regrets = losses.loc[curve["candidate"]] - losses.min()
    assert curve["regret"].tolist() == pytest.approx(regrets.tolist())
    assert 0 < regrets["3-1"].max() < regrets["2-2"].max() < 0.48


def test_leaders_are_those_that_were_expected_to_be_best() -> None:
    """A run at a time, with what is known in the end of seeds and noise."""
    generator = np.random.default_rng(1)
    truths = generator.normal(0, 0.3, size=6)
    drawn = generator.integers(6, size=40)
    losses = 3 + truths[drawn] + generator.normal(size=40)
    runs = in_order(*((f"{n + 1}-1", loss) for n, loss in zip(drawn, losses, strict=True)))
    runs["feasible"] = generator.random(40) < 0.7
    runs.loc[:2, "feasible"] = False
    posterior = fit_two_way(runs["validation_loss"], runs["candidate"], runs["seed"])
    leading, curve = leaders_of_the_time(runs), search_curve(runs)
    assert len(set(leading["candidate"].dropna())) > 2
    for end in range(1, 41):
        expected = {}
        for name, own in runs[:end].groupby("candidate"):
            if own["feasible"].mean() > 0.5:
                counts = [[(own["seed"] == seed).sum() for seed in posterior.blocks]]
                (expected[name],) = posterior.expected(counts, [own["validation_loss"].sum()])
        leader, loss = leading.iloc[end - 1]
        assert curve["candidate"].iloc[end - 1] == leader or pd.isna(leader)
        if expected:
            assert leader == min(expected, key=expected.__getitem__)
            assert loss == pytest.approx(min(expected.values()))
        else:
            assert pd.isna(leader)
            assert pd.isna(loss)
    assert (
        leading.iloc[-1].tolist() == make_leaderboard(runs).loc[0, ["candidate", "loss"]].tolist()
    )


def test_the_seeds_of_a_run_count_at_once() -> None:
    """After each run the leader is that of its last seed, whatever was between its seeds."""
    runs = in_order(*ORDER)
    of_runs = [0, 1, 1, 2, 2, 3]
    ends = runs["finished"].groupby(of_runs).transform("max")
    blocks = runs.assign(run=of_runs, finished=ends)
    after_each, alone = leaders_of_the_time(blocks), leaders_of_the_time(runs)
    expected = alone.iloc[[0, 2, 4, 5]].reset_index(drop=True)
    pd.testing.assert_frame_equal(after_each, expected)
    curve = search_curve(blocks)
    assert curve["completed"].tolist() == [1, 2, 3, 4]
    assert curve["candidate"].tolist() == expected["candidate"].tolist()
    assert curve["regret"].tolist() == search_curve(runs)["regret"][[0, 2, 4, 5]].tolist()


def test_the_order_is_that_of_time() -> None:
    runs = in_order(*ORDER)
    shuffled = runs.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(search_curve(shuffled), search_curve(runs))


@pytest.mark.slow
def test_of_thousands_of_runs() -> None:
    """It took minutes when each shorter study was ranked anew."""
    generator = np.random.default_rng(1)
    numbers = generator.integers(1, 3000, size=5000)
    runs = in_order(("2-2", 1.0)).loc[[0] * 5000].reset_index(drop=True)
    runs["candidate"] = runs["schedule"] = [f"{number}-1" for number in numbers]
    runs["seed"] = runs.groupby("candidate").cumcount()
    runs["validation_loss"] = 1 + generator.normal(0, 0.1, size=5000)
    runs["finished"] = pd.date_range("2026-01-01", periods=5000, freq="min")
    runs["run"] = range(5000)
    curve = search_curve(runs)
    assert curve["completed"].tolist() == list(range(1, 5001))
    assert curve["regret"].iloc[-1] == 0


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
