"""Figures have a style of their own, whatever the user has set."""

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from dynamoe_search.plots import plot_importance, plot_schedules, save_figure
from dynamoe_search.report.html.svg import draw
from dynamoe_search.schedules import Schedule
from tests.report.test_importance import made_up

SCHEDULES = {"descending": Schedule((8, 6, 4, 2)), "uniform": Schedule((5, 5, 5, 5))}
# Without LaTeX the first of these makes every text fail.
OF_THE_USER = {"text.usetex": True, "font.family": "No Such Font", "savefig.facecolor": "red"}


def drawn(path: Path) -> bytes:
    save_figure(plot_schedules(SCHEDULES), path)
    return path.read_bytes()


@pytest.mark.parametrize("style", ["dark_background", "ggplot"])
def test_the_settings_of_the_user_change_nothing(tmp_path: Path, style: str) -> None:
    expected = drawn(tmp_path / "a.png")
    svg = draw(plot_schedules(SCHEDULES), "a", "caption").svg
    with mpl.style.context([style, OF_THE_USER]):
        assert drawn(tmp_path / "b.png") == expected
        assert draw(plot_schedules(SCHEDULES), "a", "caption").svg == svg
        assert mpl.rcParams["text.usetex"]  # theirs are as they were


def test_axes_of_the_user_keep_their_style() -> None:
    table = made_up(tilt=0.8)
    with mpl.style.context("dark_background"):
        figure = Figure()
        plot_importance(table, figure.subplots())
        ours = plot_importance(table)
    assert mpl.colors.to_hex(figure.axes[0].xaxis.label.get_color()) == "#ffffff"
    assert mpl.colors.to_hex(ours.axes[0].xaxis.label.get_color()) != "#ffffff"
