import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from dynamoe_search.report.confirmation import (
    confirmation_sentences,
    confirmation_table,
    plot_confirmation,
)
from dynamoe_search.report.figure import BLUE, GRAY, GREEN, ORANGE, save_figure
from dynamoe_search.statistics.comparison import compare_with_reference
from tests.report.shown import shown

MARGIN = 0.01


def made_up(*rows: tuple[str, str, str, float], **columns: object) -> pd.DataFrame:
    """Candidates by name, schedule, verdict and difference, all else equal unless it is given."""
    table = pd.DataFrame(rows, columns=["name", "candidate", "verdict", "difference"])
    table = table.assign(
        seeds=8,
        missing=0,
        mean=0.5 + table["difference"],
        reference_mean=0.5,
        low=table["difference"] - 0.002,
        high=table["difference"] + 0.003,
        p_difference_holm=np.where(table["verdict"].isin(["worse", "better"]), 0.0004, 0.3),
        p_equivalence_holm=np.where(table["verdict"] == "equivalent", 0.0213, 0.3),
        within_margin=table["verdict"] == "equivalent",
        seeds_to_decide=pd.array([None] * len(table), dtype="Int64"),
    )
    return table.assign(**columns)


def text_of(table: pd.DataFrame, looks: int = 1) -> str:
    return "\n".join(confirmation_sentences(table, "5-3", MARGIN, looks))


def terminal_text(table: pd.DataFrame, width: int = 130) -> str:
    return shown(confirmation_table(table, "5-3", MARGIN), width)


def test_a_difference_is_told_from_the_winners_side() -> None:
    worse = text_of(made_up(("uniform", "4-4", "worse", 0.012)))
    assert (
        "5-3 is better than uniform (4-4) by 0.0120 nats"
        " (95 % 0.0100 to 0.0150; 8 seeds, p < 0.001 after Holm)."
    ) in worse
    better = text_of(made_up(("", "6-2", "better", -0.012), p_difference_holm=0.0314))
    assert (
        "6-2 is better than 5-3 by 0.0120 nats"
        " (95 % 0.0090 to 0.0140; 8 seeds, p = 0.031 after Holm)."
    ) in better
    small = text_of(made_up(("", "6-2", "worse", 0.004), within_margin=True))
    assert "after Holm; less than the margin of 0.0100)." in small


def test_nothing_is_claimed_without_a_verdict() -> None:
    table = made_up(("uniform", "4-4", "undecided", 0.5), ("", "3-5", "equivalent", 0.0))
    text = text_of(table)
    assert "better" not in text
    assert "No candidate is shown to differ from 5-3." in text
    assert "Equivalent to 5-3 within ±0.0100 nats (largest p = 0.021 after Holm): 3-5." in text


def test_groups_are_one_sentence_each() -> None:
    similar = [("", f"{i}-{8 - i}", "equivalent", 0.001 * i) for i in range(1, 6)]
    unknown = [("", f"{i}-{9 - i}", "undecided", 0.01 * i) for i in range(1, 7)]
    wanted = [None] * 5 + [24, 130, 2400, None, 60, 1]
    table = made_up(*similar, *unknown, seeds_to_decide=pd.array(wanted, dtype="Int64"))
    table.loc[9, "seeds"] = 1
    sentences = confirmation_sentences(table, "5-3", MARGIN)
    assert len(sentences) == 5
    assert sentences[2].endswith(": 1-7; 2-6; 3-5; 4-4; 5-3.")
    assert sentences[3] == (
        "Undecided against 5-3: 1-8, 24 seeds; 2-7, 130 seeds; 3-6, 2,400 seeds; 4-5, over 10,000"
        " seeds; 5-4, fewer than 2 pairs; 6-3, 1 seed. That many seeds would decide with a"
        " chance of 80 %, if the true difference and deviation were those observed."
    )


def test_what_is_missing_and_what_was_looked_at_is_said() -> None:
    table = made_up(("wave", "3-5", "worse", 0.1), ("", "4-4", "worse", 0.1), missing=[3, 0])
    text = text_of(table)
    assert "diverged or is not complete: wave (3-5), 3 of 11 seeds. What is said" in text
    assert "at most 5 % of such confirmations" in text
    assert "comparisons: 2" in text
    looked = text_of(table, looks=3)
    assert "raised after a look at the results (3 looks)" in looked
    assert "at most 5 %" not in looked
    assert "Left out" not in text_of(table.assign(missing=0))


def test_a_candidate_that_always_diverged() -> None:
    results = pd.DataFrame(
        {
            "candidate": ["5-3"] * 3 + ["4-4"] * 3,
            "seed": [0, 1, 2] * 2,
            "loss": [0.5, 0.6, 0.4] + [np.inf] * 3,
        }
    )
    table = compare_with_reference(results, "5-3", MARGIN)
    text = text_of(table)
    assert "mean test loss ? nats (0 seeds)" in text
    assert "Undecided against 5-3: 4-4, fewer than 2 pairs." in text
    assert "4-4, 3 of 3 seeds" in text
    assert "nan" not in text + terminal_text(table)
    figure = plot_confirmation(table, "5-3", MARGIN)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "4-4  (0x)"


@pytest.fixture
def every_verdict() -> pd.DataFrame:
    return made_up(
        ("", "6-2", "better", -0.03),
        ("ascending", "3-5", "equivalent", 0.001),
        ("uniform", "4-4", "worse", 0.004),
        ("dense, equal active parameters", "dense", "undecided", 0.02),
        within_margin=[False, True, True, False],
        seeds_to_decide=pd.array([None, None, None, 24], dtype="Int64"),
    )


def test_the_terminal_shows_every_candidate(every_verdict: pd.DataFrame) -> None:
    text = terminal_text(every_verdict)
    for line in (
        r"5-3 +reference +0\.5000",
        r"6-2 +-0\.0300 +better +0\.4700 +-0\.0320 -0\.0270 +< 0\.001 +8 *\n",
        r"ascending \(3-5\) .* equivalent +0\.5010 .* 0\.300 +8 *\n",
        r"uniform \(4-4\) .* worse ≈",
        r"dense, equal active parameters \(dense\) .* undecided: 24 seeds",
    ):
        assert re.search(line, text), line
    narrow = terminal_text(every_verdict, width=80)
    for whole in ("reference", "better", "equivalent", "worse ≈", "24 seeds", "-0.0300"):
        assert whole in narrow
    assert "dense, equal active parameters (dense)" in narrow
    assert "Left out, as the terminal is narrow: loss, 95 %, p, pairs." in narrow


def test_the_plot_shows_what_is_there(every_verdict: pd.DataFrame, tmp_path) -> None:
    figure = plot_confirmation(every_verdict, "5-3", MARGIN)
    (axes,) = figure.axes
    assert axes.get_title() == (
        "Of 4 candidates: 1 better, 1 worse, 1 equivalent, 1 undecided\ncompared with 5-3"
    )
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [
        "6-2  (8x)",
        "ascending  (8x)",
        "uniform  (8x)",
        "dense, equal active parameters  (8x)",
    ]
    dots = {c.get_label(): c for c in axes.collections if len(c.get_offsets()) == 1}
    for place, (verdict, color) in enumerate(
        (("better", BLUE), ("equivalent", GREEN), ("worse", ORANGE), ("undecided", GRAY))
    ):
        difference = every_verdict["difference"][place]
        assert dots[verdict].get_offsets()[0].tolist() == pytest.approx([difference, place])
        assert same_color(dots[verdict].get_edgecolor()[0], color)
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-MARGIN, 2 * MARGIN))
    ends = np.sort([line.get_segments()[0][:, 0] for line in axes.collections[::2]], axis=0)
    assert ends == pytest.approx(every_verdict[["low", "high"]].to_numpy())
    save_figure(figure, tmp_path / "confirmation.png")
    assert (tmp_path / "confirmation.png").stat().st_size > 10_000


@pytest.fixture
def until_decided() -> pd.DataFrame:
    """Comparisons that stopped at different looks; the last ones are open."""
    table = made_up(
        ("", "6-2", "better", -0.03),
        ("ascending", "3-5", "equivalent", 0.001),
        ("uniform", "4-4", "worse", 0.02),
        ("wave", "5-4", "undecided", 0.007),
        ("", "2-6", "undecided", 0.0001),
        ("", "1-7", "undecided", 0.0),
        within_margin=[False, True, False, False, False, False],
        seeds=[4, 24, 12, 64, 64, 0],
        seeds_to_decide=pd.array([None, None, None, 104, None, None], dtype="Int64"),
    )
    is_open = table["verdict"] == "undecided"
    return table.assign(is_open=is_open, looked_at=[4, 24, 12, 64, 64, 64])


def test_each_comparison_says_with_how_many_seeds_it_was_decided(
    until_decided: pd.DataFrame,
) -> None:
    text = text_of(until_decided, looks=2)
    for sentence in (
        "6-2 is better than 5-3 by 0.0300 nats"
        " (95 % 0.0270 to 0.0320; decided with 4 seeds, p < 0.001 after Holm).",
        "decided with 12 seeds, p",
        "(largest p = 0.021 after Holm): ascending (3-5), 24 seeds.",
        "Open against 5-3: wave (5-4), 64 seeds so far, about 40 more; 2-6, 64 seeds so far,"
        " thousands more; 1-7, 0 seeds so far, too few pairs.",
        "raise --most-seeds, which keeps the error rates",
        "Over all looks, and where noise is about symmetric, at most 5 % of such confirmations",
    ):
        assert sentence in text
    # The most seeds can be raised at any time.
    assert "may be exceeded" not in text
    assert "Undecided" not in text


def test_before_the_first_look_all_is_open(until_decided: pd.DataFrame) -> None:
    nothing = until_decided.iloc[5:].assign(looked_at=0, difference=np.nan, low=np.nan, high=np.nan)
    assert "Open against 5-3: 1-7, no look yet." in text_of(nothing)
    assert re.search(r"1-7 +\? +open: no look yet", terminal_text(nothing))


def test_the_terminal_shows_what_is_open(until_decided: pd.DataFrame) -> None:
    text = terminal_text(until_decided, width=160)
    assert re.search(r"6-2 +-0\.0300 +better .* 4 *\n", text)
    assert re.search(r"wave \(5-4\) .* open: 64 seeds so far, about 40 more .* 64 *\n", text)
    assert "up to the look that decided" in text
    labels = plot_confirmation(until_decided, "5-3", MARGIN).axes[0].get_yticklabels()
    assert labels[0].get_text() == "6-2  (4x)"
