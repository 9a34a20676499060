from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.utilization import plot_load, plot_utilization

CROSS = "\N{MULTIPLICATION SIGN}"


def loads(*layers: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": layer, "expert": expert, "share": load / sum(of_layer)}
            for layer, of_layer in enumerate(layers, start=1)
            for expert, load in enumerate(of_layer, start=1)
        ]
    )


def history(*points: tuple[float, list[float], int]) -> pd.DataFrame:
    """The fraction, the evenness of each layer, and the dead experts of the first."""
    return pd.DataFrame(
        [
            {
                "fraction": fraction,
                "layer": layer,
                "experts": 6 - layer,
                "normalized_entropy": evenness,
                "maximum_violation": 1 - evenness,
                "dead_experts": dead if layer == 1 else 0,
                "mean_active": 1.5,
                "router_entropy": 0.7,
                "mutual_information": 0.5,
                "chance_information": 0.1 * layer,
            }
            for fraction, evennesses, dead in points
            for layer, evenness in enumerate(evennesses, start=1)
        ]
    )


def cells(axes: Axes) -> np.ndarray:
    return axes.collections[0].get_array().filled(np.nan)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def is_drawn(figure: Figure, folder: Path) -> bool:
    save_figure(figure, folder / "plot.png")
    return (folder / "plot.png").stat().st_size > 5_000


def test_the_load_has_a_cell_an_expert_and_none_beyond(tmp_path: Path) -> None:
    figure = plot_load(loads([1, 6, 0, 3], [5, 5], [1]))
    axes = figure.axes[0]
    np.testing.assert_allclose(
        cells(axes), [[2.4, 1.2, 0.4, 0], [1, 1, np.nan, np.nan], [1, np.nan, np.nan, np.nan]]
    )
    assert texts(axes) == ["60", "30", "10", CROSS, "50", "50", "100"]
    assert axes.get_title("left") == (
        "1 of the 7 experts is dead; layer 1 is the least even: its entropy is 0.65 ln N"
    )
    (right,) = axes.child_axes
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == ["2.5 of 4", "2.0 of 2", "1.0 of 1"]
    assert is_drawn(figure, tmp_path)


def test_the_load_of_many_experts_marks_only_the_dead() -> None:
    axes = plot_load(loads([1.0] * 38 + [0, 0], [1, 400])).axes[0]
    assert [text for text in texts(axes) if text] == [CROSS, CROSS]
    assert axes.get_title("left").startswith("2 of the 42 experts are dead; layer 2 is")
    assert "number" not in axes.get_xlabel()
    small = plot_load(loads([1, 400])).axes[0]
    assert texts(small) == ["100", "<1"]


def test_an_even_load_is_said_to_be_even() -> None:
    axes = plot_load(loads([2, 2], [1])).axes[0]
    assert axes.get_title("left") == ("None of the 3 experts is dead; all layers are used evenly")


@pytest.mark.slow
def test_a_history_has_a_line_a_layer_in_each_panel(tmp_path: Path) -> None:
    figure = plot_utilization(history((0.5, [0.9, 0.7], 0), (1.0, [0.7, 0.6], 2)))
    assert len(figure.axes) == 6
    evenness, *_, information = figure.axes
    assert evenness.lines[1].get_xydata().tolist() == [[50, 0.7], [100, 0.6]]
    assert information.lines[1].get_ydata().tolist() == pytest.approx([0.3, 0.3])
    assert figure.get_suptitle() == (
        "The load entropy goes from 0.80 to 0.65 of ln N (mean over layers);"
        " 2 experts are dead at the end"
    )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "layer 1 (N = 5)",
        "layer 2 (N = 4)",
    ]
    assert is_drawn(figure, tmp_path)


@pytest.mark.parametrize(("dead", "said"), [(0, "no expert is dead"), (1, "1 expert is dead")])
def test_a_history_of_one_moment(dead: int, said: str) -> None:
    title = plot_utilization(history((1.0, [0.9], dead))).get_suptitle()
    assert title == f"The load entropy stays at 0.90 of ln N (mean over layers); {said} at the end"
