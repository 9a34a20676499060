from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.representation import plot_rank_shares, plot_representation
from tests.report.test_utilization import cells, is_drawn, texts


def ranks(*values: float, width: int = 8) -> pd.DataFrame:
    return pd.DataFrame(
        {"layer": range(1, len(values) + 1), "width": width, "effective_rank": values}
    )


def likeness(*rows: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": layer, "other": other, "cka": value}
            for layer, row in enumerate(rows, start=1)
            for other, value in enumerate(row, start=1)
        ]
    )


@pytest.mark.slow
def test_representations_are_drawn_as_they_are(tmp_path: Path) -> None:
    rows = [[1, 0.8, -0.1], [0.8, 1, 0.7], [-0.1, 0.7, 1]]
    figure = plot_representation(ranks(5.5, 6.5, 3.0), likeness(*rows))
    variety, likeness_map = figure.axes[:2]
    assert variety.lines[0].get_ydata().tolist() == [5.5, 6.5, 3.0]
    assert variety.get_title() == (
        "The most varied tokens enter layer 2, of effective rank 6.5,\n"
        "the least varied layer 3, of 3.0"
    )
    assert texts(variety) == ["width d = 8"]
    assert cells(likeness_map).tolist() == rows
    assert likeness_map.collections[0].get_clim() == (-0.1, 1)
    assert texts(likeness_map)[:3] == ["1.00", "0.80", "-0.10"]
    assert likeness_map.get_title() == (
        "Tokens of the first and the last layer have a CKA of -0.10,\n"
        "those of two neighbors at least 0.70"
    )
    assert likeness_map.yaxis_inverted()
    assert is_drawn(figure, tmp_path)


def test_representations_of_one_layer_and_of_tokens_all_alike(tmp_path: Path) -> None:
    figure = plot_representation(ranks(5.5), likeness([1]))
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "Effective rank",
        "CKA of the tokens of two layers",
    ]
    unknown = plot_representation(ranks(np.nan, 2.0), likeness([np.nan, np.nan], [np.nan, 1]))
    assert texts(unknown.axes[1]) == ["?", "?", "?", "1.00"]
    assert is_drawn(unknown, tmp_path)


def test_rank_shares_have_a_line_per_candidate_that_was_measured() -> None:
    table = pd.DataFrame(
        [
            {"candidate": candidate, "seed": seed, "layer": layer, "rank_share": share / layer}
            for candidate, share in (("3-1", 0.8), ("2-2", 0.6))
            for seed in (0, 1)
            for layer in (1, 2)
        ]
    )
    names = {"3-1": "best", "1-3": "ascending", "2-2": "uniform"}
    (axes,) = plot_rank_shares(table, names).axes
    assert [line.get_label() for line in axes.lines] == ["best", "uniform"]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([0.8, 0.4])
    assert axes.get_title() == (
        "best: tokens fill 80% of the directions at the first layer,\n40% at the last"
    )
    with pytest.raises(InvalidInput, match="none of them"):
        plot_rank_shares(table, {"1-3": "ascending"})
