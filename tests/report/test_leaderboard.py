from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.report.leaderboard import (
    leaderboard_html,
    leaderboard_table,
    noise_sentences,
    what_was_equal,
)
from tests.report.shown import shown


def made_up_runs(losses: dict[str, list[float]], patterns: dict[str, str]) -> pd.DataFrame:
    rows = [
        {
            "candidate": schedule,
            "schedule": schedule,
            "settings": "",
            "feasible": True,
            "pattern": patterns.get(schedule, ""),
            "run": len(losses) * seed + place,
            "block": seed,
            "seed": seed,
            "state": "complete",
            "validation_loss": loss,
            "validation_accuracy": 1 - loss / 10,
            "validation_perplexity": float("nan"),
            "validation_bits_per_byte": float("nan"),
            "active_experts": 1.5,
            "total_parameters": 1000.0,
            "active_parameters": 500.0,
            "flops_per_token": 900.0,
            "finished": pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=len(schedule) + seed),
        }
        for place, (schedule, values) in enumerate(losses.items())
        for seed, loss in enumerate(values)
    ]
    unfinished = {**rows[0], "run": 999, "state": "running", "validation_loss": float("nan")}
    return pd.DataFrame([*rows, unfinished]).astype({"block": "Int64", "seed": "Int64"})


CLEAR = made_up_runs(
    {"3-1": [1.00, 1.02, 0.98], "2-2": [1.02, 1.00, 1.01], "1-3": [2.0, 1.98, 2.01]},
    {"1-3": "ascending", "2-2": "uniform"},
)


@pytest.mark.parametrize(
    ("noise", "found"),
    [
        ("normal", "Nothing speaks against that."),
        ("heavy", "This speaks for heavier tails and unequal noise: a candidate may be called"),
        ("unequal", "and unequal noise: a candidate may be called worse than the best more often"),
    ],
)
def test_the_recorded_noise_is_tested(noise: str, found: str) -> None:
    generator = np.random.default_rng(0)
    losses = generator.normal(1, 0.01, (12, 4))
    if noise == "heavy":
        losses[3, 2] += 0.2
    if noise == "unequal":
        losses[:4] += generator.normal(0, 0.1, (4, 4))
    runs = made_up_runs({f"{n}-1": list(row) for n, row in enumerate(losses, start=1)}, {})
    (sentence,) = noise_sentences(runs)
    assert sentence.startswith("Intervals and comparisons assume noise that is about normal, and")
    assert (
        "In the 48 losses of the 12 candidates with several seeds its excess kurtosis" in sentence
    )
    assert found in sentence
    once = made_up_runs({"3-1": [1.0], "2-2": [2.0]}, {})
    assert "too little was trained twice" in noise_sentences(once)[0]


def test_what_was_not_held_equal_is_said() -> None:
    active = "Active experts per layer, measured: 1.500 to 1.500."
    assert what_was_equal(make_leaderboard(CLEAR)) == [active]
    unequal = CLEAR.copy()
    unequal.loc[unequal["schedule"] == "1-3", "total_parameters"] = 1400.0
    first, second = what_was_equal(make_leaderboard(unequal))
    assert first == active
    assert second.startswith("Candidates have 1,000 to 1,400 parameters")


def test_the_best_and_the_named_schedules_are_in_the_table() -> None:
    table = leaderboard_table(make_leaderboard(CLEAR), rows=1)
    assert [row[2] for row in table.rows] == ["3-1", "2-2", "1-3"]
    assert [row[1] for row in table.rows] == ["≈", "≈", ""]
    board = make_leaderboard(CLEAR)
    width = (board["loss_high"] - board["loss"]).combine(board["loss"] - board["loss_low"], max)
    assert [row[3] for row in table.rows] == [
        f"{loss:.4f} ± {half:.4f}" for loss, half in zip(board["loss"], width, strict=True)
    ]
    mean = [column.header for column in table.columns].index("mean")
    assert [row[mean] for row in table.rows] == ["1.0000", "1.0100", "1.9967"]
    assert table.emphasized == {0}
    once = make_leaderboard(made_up_runs({"3-1": [1.0], "2-2": [2.0]}, {}))
    assert [row[3] for row in leaderboard_table(once).rows] == ["1.0000 ± ?", "2.0000 ± ?"]


def test_schedules_are_whole_however_narrow_the_terminal() -> None:
    deep = "12-11-10-9-8-7-6-5-4-3-2-1"
    runs = made_up_runs({deep: [1.0, 1.1], "12-" * 11 + "12": [2.0, 2.1]}, {deep: "descending"})
    table = leaderboard_table(make_leaderboard(runs))
    for width in (40, 60, 80, 100, 200):
        text = shown(table, width)
        assert all(len(line) <= width for line in text.splitlines())
        assert deep in text
        assert "…" not in text
        headers = [column.header for column in table.columns if column.header]
        first_line = text.splitlines()[1]
        missing = [header for header in headers if header not in first_line.split()]
        assert missing == headers[len(headers) - len(missing) :]
        left_out = f"Left out, as the terminal is narrow: {', '.join(missing)}."
        assert (left_out in " ".join(text.split())) == bool(missing)
    assert "active" in shown(table, 200).splitlines()[1]


def test_notebooks_show_the_same_table() -> None:
    board = make_leaderboard(CLEAR.replace({"pattern": {"uniform": "<b>uniform</b>"}}))
    html = ElementTree.fromstring(f"<div>{leaderboard_html(board, rows=1)}</div>")
    assert [cell.text for cell in html.findall("table/tbody/tr/th")] == ["3-1", "2-2", "1-3"]
    assert {cell.get("scope") for cell in html.findall("table/thead/tr/th")} == {"col"}
    assert "<b>uniform</b>" in [cell.text for cell in html.findall("table/tbody/tr/td")]
    assert html.find("p") is not None
