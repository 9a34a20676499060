import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.decision.regret import leaders_of_the_time, search_curve
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.history import plot_history, plot_regret, plot_search, regret_sentences
from tests.report.test_leaderboard import CLEAR, made_up_runs


def in_order(*results: tuple[str, float], patterns: dict[str, str] | None = None) -> pd.DataFrame:
    """Complete runs, one after another."""
    losses: dict[str, list[float]] = {}
    for schedule, loss in results:
        losses.setdefault(schedule, []).append(loss)
    made_up = made_up_runs(losses, patterns or {})
    made_up = made_up[made_up["state"] == "complete"].set_index(["schedule", "seed"])
    seen: dict[str, int] = {}
    keys = []
    for schedule, _ in results:
        keys.append((schedule, seen.setdefault(schedule, 0)))
        seen[schedule] += 1
    table = made_up.loc[keys].reset_index()
    finished = pd.date_range("2026-01-01", periods=len(table), freq="min")
    return table.assign(finished=finished, run=range(len(table)))


def test_the_sentences_and_the_plot() -> None:
    runs = in_order(
        *(("2-2", 2.0), ("2-2", 2.01), ("3-1", 1.0), ("4-1", 0.999), ("3-1", 1.01), ("4-1", 1.0)),
        patterns={"2-2": "uniform"},
    )
    curve = search_curve(runs)
    assert curve["indistinguishable"].tolist() == [False, False, True, True, True, True]
    first, leader, caveat = regret_sentences(curve)
    assert first == (
        "From run 3 of 6 on, the leader was statistically indistinguishable from the last one."
    )
    assert leader == (
        "The last leader, 4-1, led for the first time after run 4, and was in the lead after 3 of 6"
        " runs."
    )
    assert "whether or not a better schedule exists" in caveat
    (axes,) = plot_regret(curve, make_leaderboard(runs)).axes
    assert axes.get_title().replace("\n", " ") == first.removesuffix(".")
    step, named = axes.lines
    assert step.get_ydata().tolist() == pytest.approx(curve["regret"].tolist())
    losses = make_leaderboard(runs).set_index("candidate")["loss"]
    assert named.get_ydata()[0] == pytest.approx(losses["2-2"] - losses["4-1"])
    assert "nats" in axes.get_ylabel()


@pytest.mark.slow
def test_the_plots_show_every_run_and_the_leaders(tmp_path) -> None:
    figure = plot_search(CLEAR)
    history, leaders = figure.axes
    labels = [label.get_text() for label in leaders.get_yticklabels()]
    assert labels == ["3-1  (3x)", "uniform  (3x)", "ascending  (3x)"]
    assert "1 of 2 others" in leaders.get_title(loc="right")
    drawn = np.concatenate([c.get_offsets()[:, 1] for c in history.collections])
    assert sorted(drawn) == sorted(CLEAR["validation_loss"].dropna())
    for name in ("search.png", "search.svg"):
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000


def test_the_step_is_what_is_expected_of_the_leader() -> None:
    runs = in_order(("2-2", 2.0), ("3-1", 1.0), ("3-1", 2.4), ("2-2", 1.0))
    (step,) = plot_history(runs).axes[0].lines
    assert step.get_ydata().tolist() == leaders_of_the_time(runs)["loss"].tolist()
    assert step.get_ydata()[-1] == make_leaderboard(runs)["loss"][0]


def test_a_search_without_a_complete_run_has_no_history() -> None:
    with pytest.raises(InvalidInput, match="no training run of this study is complete"):
        plot_history(CLEAR[CLEAR["state"] != "complete"])
