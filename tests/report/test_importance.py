import numpy as np
import pandas as pd
import pytest

from dynamoe_search.report.importance import (
    importance_sentences,
    plot_importance,
    summarize_importance,
)
from dynamoe_search.search.importance import CHANCE


def made_up(tilt: float, repetitions: int = 20) -> pd.DataFrame:
    """tilt has that importance, give or take; chance and peak share the rest."""
    generator = np.random.default_rng(0)
    rows = []
    for evaluator in ("fanova", "ped_anova"):
        for repetition in range(repetitions):
            own = tilt + 0.01 * generator.standard_normal()
            peak = (1 - own) * generator.uniform(0.3, 0.7)
            for name, value in (("tilt", own), ("peak", peak), (CHANCE, 1 - own - peak)):
                rows.append((evaluator, repetition, name, value))
    table = pd.DataFrame(rows, columns=["evaluator", "repetition", "parameter", "importance"])
    return table.assign(candidates=50)


def test_the_summary_compares_with_chance_draw_by_draw() -> None:
    table = made_up(tilt=0.8)
    summary = summarize_importance(table)
    assert summary["parameter"].iloc[0] == "tilt"
    own = summary.set_index(["evaluator", "parameter"])
    part = table[(table["evaluator"] == "fanova") & (table["parameter"] == "peak")]
    values = part.set_index("repetition")["importance"]
    chance = table[(table["evaluator"] == "fanova") & (table["parameter"] == CHANCE)]
    chance = chance.set_index("repetition")["importance"]
    assert own.loc[("fanova", "peak"), "mean"] == pytest.approx(values.mean())
    assert own.loc[("fanova", "peak"), "low"] == pytest.approx(values.quantile(0.025))
    assert own.loc[("fanova", "peak"), "above_chance"] == (values > chance).mean()
    assert own["is_sure"].groupby("parameter").all().to_dict() == {
        "tilt": True,
        "peak": False,
        CHANCE: False,
    }


def test_no_more_is_claimed_than_beyond_chance() -> None:
    whole, best, how, caveat = importance_sentences(made_up(tilt=0.8))
    assert whole.startswith("What the loss depends on, over the whole space (fANOVA): more than")
    assert "tilt (80 %, " in whole
    assert "peak" not in whole + best
    assert "From 50 candidates, drawn again 20 times" in how
    assert "not which way" in caveat
    whole, *_ = importance_sentences(made_up(tilt=0.3))
    assert "no parameter is shown to matter more than chance" in whole


def test_the_plot() -> None:
    (axes,) = plot_importance(made_up(tilt=0.8)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["tilt", "peak", CHANCE]
    assert axes.get_title() == "The loss depends, beyond chance, on tilt"
    dots = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets())])
    assert sorted(dots[:, 0])[-1] == pytest.approx(0.8, abs=0.01)
    nothing = plot_importance(made_up(tilt=0.3)).axes[0].get_title()
    assert nothing == "No parameter is shown to matter more than chance"
