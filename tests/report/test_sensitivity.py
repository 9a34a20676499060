"""Sensitivities in words, tables and a picture."""

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.interop.active_choice import ActiveChoice, choose_active, compare_choice
from dynamoe_search.report.sensitivity import (
    comparison_table,
    plot_sensitivity,
    sensitivity_sentences,
    sensitivity_table,
)


@pytest.fixture
def sensitivity() -> pd.DataFrame:
    difference = {(0, 1): -0.01, (0, 3): 0.2, (1, 1): 0.5, (1, 3): -0.4, (2, 1): -0.002}
    rows = [
        {
            **{"layer": layer, "active": active, "trained": active == 2, "flops": 7 * active},
            **{"documents": 4, "difference": difference.get((layer, active), 0.0)},
            "standard_error": 0.003,
        }
        for layer in range(3)
        for active in range(1, 4)
    ]
    rows[-1] |= {"difference": np.nan, "standard_error": np.nan}
    return pd.DataFrame(rows)


def compared(choice: ActiveChoice, change: float, noise: float = 0.01) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    even = rng.normal(2, 0.5, 20)
    chosen = even + change + rng.normal(0, noise, 20)
    return compare_choice(
        choice, pd.DataFrame({"trained": even - 0.1, "even": even, "chosen": chosen})
    )


@pytest.mark.parametrize(
    ("change", "noise", "beginning"),
    [
        (-0.1, 0.01, "Take the active schedule 1-3-1: at no more FLOPs than the even schedule"),
        (0.1, 0.01, "Keep the even schedule 2-2-2: the loss of 1-3-1, which was chosen, is 0."),
        (0.0, 0.001, "It does not matter: 1-3-1 and the even schedule 2-2-2 differ by less than"),
        (0.0, 0.5, "Undecided: 1-3-1 was chosen, and"),
    ],
)
def test_the_decision_comes_first(
    sensitivity: pd.DataFrame, change: float, noise: float, beginning: str
) -> None:
    choice = choose_active(sensitivity, 2)
    table = compared(choice, change, noise)
    sentences = sensitivity_sentences(choice, table, sensitivity)
    assert sentences[0].startswith(beginning)
    row = table.set_index("name").loc["chosen"]
    assert f"{abs(row['difference']):.4f} nats" in sentences[0]
    assert f"{row['loss']:.4f} nats per token, predicted {row['predicted']:.4f}" in sentences[1]
    assert "chosen on 4 documents, and compared on 20 others" in sentences[2]
    assert "takes 17 % fewer FLOPs" in sentences[3]
    assert sentences[4].startswith("Of 9 numbers of experts 1 have a loss that is not finite")


def test_the_even_schedule_can_be_the_best(sensitivity: pd.DataFrame) -> None:
    few = sensitivity[sensitivity["active"] < 3]
    choice = choose_active(few.assign(difference=0.1 * (few["active"] == 1)), 2)
    sentences = sensitivity_sentences(choice, compared(choice, 0.0), sensitivity)
    assert sentences[0].startswith("Take the even schedule 2-2-2: of all measured schedules")
    assert comparison_table(compared(choice, 0.0)).rows[2][-2:] == ["", "the same"]


def test_the_tables_have_all_that_was_measured(sensitivity: pd.DataFrame) -> None:
    table = sensitivity_table(sensitivity)
    assert [column.header for column in table.columns][2:] == ["k = 1", "k = 2", "k = 3"]
    assert table.rows[0] == ["0", "2", "-0.0100 ± 0.0030", "0", "+0.2000 ± 0.0030"]
    assert table.rows[2][-1] == "not finite"
    rows = comparison_table(compared(choose_active(sensitivity, 2), -0.1)).rows
    assert [row[1] for row in rows] == ["2-2-2", "2-2-2", "1-3-1"]
    assert rows[2][2] == "35"
    assert rows[2][-1] == "better"


def test_the_plot_frames_what_was_chosen(sensitivity: pd.DataFrame) -> None:
    figure = plot_sensitivity(sensitivity, choose_active(sensitivity, 2))
    axes = figure.axes[0]
    frames = [patch.get_xy() for patch in axes.patches]
    places = [(round(x + 0.46), round(y + 0.46)) for x, y in frames]
    assert places == [(0, 0), (1, 2), (2, 0)]  # of 1, 3 and 1 experts
    assert "layer 1 costs most: +0.500 nats\nframed: 1-3-1, chosen" in axes.get_title()
    texts = {(text.get_position()): text.get_text() for text in axes.texts}
    assert texts[1, 2] == "-0.400"
    assert len(texts) == 8  # nothing is written where nothing is known
