from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from dynamoe_search.decision.landscape import Landscape, fit_landscape
from dynamoe_search.report.landscape import landscape_sentences, plot_landscape
from tests.decision.test_landscape import SCHEDULES, runs_of, smooth


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    runs, _ = smooth(noise=0.003)
    runs.loc[runs["candidate"] == runs["candidate"].iloc[0], "pattern"] = "descending"
    return fit_landscape(runs, SCHEDULES)


def test_axes_are_described(landscape: Landscape) -> None:
    right, up, rest, trust, noise, lowest, named = landscape_sentences(landscape)
    for sentence, way, share in zip(
        (right, up), ("To the right, the first", "Upwards"), landscape.shares, strict=True
    ):
        assert sentence.startswith(way)
        assert f"{100 * share:.0f} %" in sentence
    assert "is not on the map" in rest
    assert f"{100 * landscape.predictive_r2:.0f} % of the variance" in trust
    assert "120 degrees of freedom" in noise
    candidates = landscape.candidates.set_index("candidate")
    assert candidates["fitted"].idxmin() in lowest
    assert named.startswith("Of the named schedules, at descending (")


def test_a_surface_that_predicts_nothing_is_not_read(landscape: Landscape) -> None:
    losses = np.resize([[1.0, 1.2], [1.1, 0.9], [1.05, 1.0]], (57, 2))
    nothing = fit_landscape(runs_of(SCHEDULES[::8], losses), SCHEDULES)
    nothing = replace(nothing, predictive_r2=-0.1)
    text = "\n".join(landscape_sentences(nothing))
    assert "no valley or hill of it can be trusted" in text
    assert "lowest" not in text
    (axes, _) = plot_landscape(nothing).axes
    assert "predicts no better than the mean" in axes.get_title()


@pytest.mark.parametrize("uncertainty", [False, True])
def test_the_map_shows_all_candidates(landscape: Landscape, uncertainty: bool) -> None:
    figure = plot_landscape(landscape, uncertainty)
    axes, bar = figure.axes
    candidates = landscape.candidates
    dots = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets()) > 1])
    dots = np.concatenate([dots, axes.collections[-1].get_offsets()])
    places = candidates[["x", "y"]].to_numpy()
    assert len(np.unique(np.round(dots, 9), axis=0)) == len(np.unique(np.round(places, 9), axis=0))
    assert "descending" in [text.get_text() for text in axes.texts]
    assert "nats" in bar.get_ylabel()
    assert "experts late ← → early" in axes.get_xlabel()
    figure.draw_without_rendering()


def test_it_can_be_drawn_on_given_axes(landscape: Landscape) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_landscape(landscape, axes=right) is figure
    assert right.get_title()
    assert not left.get_title()
