import pandas as pd
import pytest
from dynamoe_search.report.regret import plot_regret, regret_sentences

from dynamoe_search.decision.regret import search_curve
from tests.report.test_leaderboard import made_up_runs


def in_order(*trainings: tuple[str, float], patterns: dict[str, str] | None = None) -> pd.DataFrame:
    """Complete trainings, one after another."""
    losses: dict[str, list[float]] = {}
    for schedule, loss in trainings:
        losses.setdefault(schedule, []).append(loss)
    made_up = made_up_runs(losses, patterns or {})
    made_up = made_up[made_up["state"] == "complete"].set_index(["schedule", "block"])
    seen: dict[str, int] = {}
    keys = []
    for schedule, _ in trainings:
        keys.append((schedule, seen.setdefault(schedule, 0)))
        seen[schedule] += 1
    table = made_up.loc[keys].reset_index()
    return table.assign(finished=pd.date_range("2026-01-01", periods=len(table), freq="min"))


def test_the_sentences_and_the_plot() -> None:
    runs = in_order(
        *(("2-2", 2.0), ("2-2", 2.01), ("3-1", 1.0), ("4-1", 0.999), ("3-1", 1.01), ("4-1", 1.0)),
        patterns={"2-2": "uniform"},
    )
    curve = search_curve(runs)
    assert curve["indistinguishable"].tolist() == [False, False, True, True, True, True]
    first, leader, caveat = regret_sentences(curve)
    assert first == "From training 3 of 6 on, the leader could not be told from the last one."
    assert leader == (
        "The last leader, 4-1, led for the first time after training 4, and was in the lead after 3"
        " of 6 trainings."
    )
    assert "whether or not a better schedule exists" in caveat
    (axes,) = plot_regret(runs).axes
    assert axes.get_title().replace("\n", " ") == first.removesuffix(".")
    step, named = axes.lines
    assert step.get_ydata().tolist() == pytest.approx(curve["regret"].tolist())
    assert named.get_ydata()[0] == pytest.approx(2.005 - 0.9995)
    assert "nats" in axes.get_ylabel()
