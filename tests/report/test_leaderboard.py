import numpy as np
import pandas as pd
from dynamoe_search.report.plots import plot_schedules, plot_search, save_figure

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.report.leaderboard import answer
from dynamoe_search.report.terminal import bars, leaderboard_table, sparkline
from dynamoe_search.schedules import Schedule


def made_up_runs(losses: dict[str, list[float]], patterns: dict[str, str]) -> pd.DataFrame:
    rows = [
        {
            "candidate": schedule,
            "schedule": schedule,
            "settings": "",
            "feasible": True,
            "pattern": patterns.get(schedule, ""),
            "block": block,
            "state": "complete",
            "validation_loss": loss,
            "validation_accuracy": 1 - loss / 10,
            "validation_perplexity": float("nan"),
            "validation_bits_per_byte": float("nan"),
            "active_experts": 1.5,
            "total_parameters": 1000.0,
            "active_parameters": 500.0,
            "flops_per_token": 900.0,
            "finished": pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=len(schedule) + block),
        }
        for schedule, values in losses.items()
        for block, loss in enumerate(values)
    ]
    unfinished = {**rows[0], "state": "running", "validation_loss": float("nan")}
    return pd.DataFrame([*rows, unfinished]).astype({"block": "Int64"})


CLEAR = made_up_runs(
    {"3-1": [1.00, 1.01, 0.99], "2-2": [1.01, 1.02, 1.00], "1-3": [2.0, 2.01, 1.99]},
    {"1-3": "ascending", "2-2": "uniform"},
)


def test_sentences_claim_no_more_than_the_noise_allows() -> None:
    text = "\n".join(answer(CLEAR))
    assert "Best schedule: 3-1, validation loss 1.0000 (3 blocks" in text
    assert "Best named schedule: uniform (2-2)" in text
    assert "ahead by 0.0100: not distinguishable" in text
    assert "1 of the 2 other schedules cannot be told from the best" in text

    clearly = made_up_runs({"3-1": [1.0, 1.01], "2-2": [2.0, 2.01]}, {"2-2": "uniform"})
    assert "more than noise" in "\n".join(answer(clearly))

    once = made_up_runs({"3-1": [1.0], "2-2": [2.0]}, {"2-2": "uniform"})
    text = "\n".join(answer(once))
    assert "unknown, as nothing was trained twice" in text
    assert "interval" not in text
    assert "1 of the 1 other schedules cannot be told" in text

    pattern = made_up_runs({"3-1": [1.0], "2-2": [2.0]}, {"3-1": "descending"})
    assert "Best schedule: 3-1, the named schedule descending" in answer(pattern)[0]


def test_what_was_not_held_equal_is_said() -> None:
    assert "Active experts a layer, measured: 1.500 to 1.500." in answer(CLEAR)
    assert not any("not the schedule's alone" in sentence for sentence in answer(CLEAR))
    unmatched = CLEAR.copy()
    unmatched.loc[unmatched["schedule"] == "1-3", "total_parameters"] = 1400.0
    assert answer(unmatched)[-1].startswith("Candidates have 1,000 to 1,400 parameters")


def test_the_plots_show_what_is_there(tmp_path) -> None:
    figure = plot_search(CLEAR)
    history, leaders = figure.axes
    labels = [label.get_text() for label in leaders.get_yticklabels()]
    assert labels == ["3-1  (3x)", "uniform  (3x)", "ascending  (3x)"]
    assert "1 of 2 other schedules" in leaders.get_title(loc="right")
    drawn = np.concatenate([c.get_offsets()[:, 1] for c in history.collections])
    assert sorted(drawn) == sorted(CLEAR["validation_loss"].dropna())
    for name in ("search.png", "search.svg"):
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000

    figure = plot_schedules({"one": Schedule((4, 2)), "two": Schedule((1, 5))})
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[4, 2], [1, 5]]


def test_terminal_forms() -> None:
    assert sparkline(Schedule((8, 1))) == "█▁"
    assert len(bars(Schedule((3, 2, 1)), height=5)) == 6
    table = leaderboard_table(make_leaderboard(CLEAR), rows=1)
    # The best, and the named schedules however far down.
    assert table.row_count == 3
