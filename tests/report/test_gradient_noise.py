import numpy as np
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.gradient_noise import (
    gradient_sentences,
    noise_course,
    plot_gradient_groups,
    plot_gradient_noise,
)


@pytest.fixture
def gradients() -> pd.DataFrame:
    """Two candidates, two seeds each; of 3-1 the mean gradient is hidden by noise at 50 %."""
    rows = [
        (candidate, seed, fraction, group, trace * (1 + fraction), squared)
        for candidate, trace in (("3-1", 8.0), ("2-2", 2.0))
        for seed, squared in enumerate((0.3, 0.1))
        for fraction in (0.25, 0.5, 1.0)
        for group in ("trunk", "router", "network")
    ]
    names = ["candidate", "seed", "fraction", "group", "trace", "squared_norm"]
    table = pd.DataFrame(rows, columns=names)
    hidden = (table["candidate"] == "3-1") & (table["fraction"] == 0.5)
    table.loc[hidden, "squared_norm"] = -0.1
    return table


NAMES = {"3-1": "best", "2-2": "uniform"}


def test_a_ratio_of_means_over_seeds(gradients: pd.DataFrame) -> None:
    course = noise_course(gradients[gradients["group"] == "network"], "candidate")
    own = course[course["candidate"] == "3-1"]
    assert own["fraction"].tolist() == [0.25, 1.0]
    assert own["noise_scale"].tolist() == pytest.approx([8 * 1.25 / 0.2, 8 * 2 / 0.2])


def test_the_plots(gradients: pd.DataFrame) -> None:
    (axes,) = plot_gradient_noise(gradients, NAMES).axes
    assert [line.get_label() for line in axes.lines] == ["best", "uniform"]
    assert axes.lines[1].get_xdata() == pytest.approx(np.array([25, 50, 100]))
    assert axes.get_title() == (
        "at the end the noise is largest for best (80 samples),\nleast for uniform (20)"
    )
    assert "samples" in axes.get_ylabel()
    (axes,) = plot_gradient_groups(gradients, "2-2").axes
    assert [line.get_label() for line in axes.lines] == ["trunk", "router", "network"]
    with pytest.raises(InvalidInput, match="none of them"):
        plot_gradient_noise(gradients, {"1-3": "ascending"})


def test_the_sentences(gradients: pd.DataFrame) -> None:
    best, _, caveat = gradient_sentences(gradients, NAMES)
    assert best == (
        "best: a noise scale of 50 samples at 25 % of the training and of 80 samples at 100 %"
        " (2 seeds)."
    )
    assert "single points scatter" in caveat


def test_long_titles_stay_within_the_figure(gradients: pd.DataFrame) -> None:
    deep = "-".join(map(str, range(24, 0, -1)))
    figure = plot_gradient_groups(gradients.replace({"candidate": {"2-2": deep}}), deep)
    figure.draw_without_rendering()
    title = figure.axes[0].title.get_window_extent()
    assert 0 <= title.x0 < title.x1 <= figure.bbox.x1
    assert title.y1 <= figure.bbox.y1
