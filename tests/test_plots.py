"""The plot library: what it lists is what it has, and what its page shows is what works."""

import importlib.util
import inspect
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dynamoe_search import plots
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.decision.regret import search_curve
from dynamoe_search.study import Study
from tests.conftest import SMALL_STUDY
from tests.report import made_up

DOCS = Path(__file__).parents[1] / "docs"
FUNCTIONS = [name for name in plots.__all__ if name.startswith("plot_")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALL_STUDY.replace("runs = 14", "runs = 40"))
    made_up.search(path, measured=True)
    return path


def test_the_docstring_lists_them_all() -> None:
    assert sorted(re.findall(r"`(plot_\w+)`", plots.__doc__ or "")) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_parameter_is_documented(name: str) -> None:
    """In the docstring of the function, or in that of its module; ``axes`` in the library's."""
    function = getattr(plots, name)
    listed = (inspect.getdoc(function) or "").partition("Parameters")[2].partition("Returns")[0]
    module = inspect.getmodule(function).__doc__ or ""
    assert "``axes``" in (plots.__doc__ or "")
    for parameter in set(inspect.signature(function).parameters) - {"axes"}:
        in_function = re.search(rf"^([\w, ]+, )?{parameter}\b", listed, re.MULTILINE)
        assert in_function or f"``{parameter}``" in module, parameter


@pytest.mark.parametrize("name", ["plot_history", "plot_regret", "plot_agreement", "plot_curves"])
def test_panels_of_a_figure_of_ones_own(name: str, study: Path) -> None:
    runs = Study(study).training_runs()
    tables = (search_curve(runs), make_leaderboard(runs)) if name == "plot_regret" else (runs,)
    figure = Figure()
    left, right = np.ravel(figure.subplots(1, 2))
    assert getattr(plots, name)(*tables, axes=right) is figure
    assert right.get_title()
    assert right.get_xlabel()
    assert not right.spines["top"].get_visible()
    assert not left.get_title()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow", None])
def test_tables_from_files_give_the_same_plots(study: Path, backend: str | None) -> None:
    runs = Study(study).training_runs().drop(columns="curve")

    def read_again(table: pd.DataFrame) -> pd.DataFrame:
        options = {} if backend is None else {"dtype_backend": backend}
        return pd.read_csv(io.StringIO(table.to_csv(index=False)), **options)

    for plot, tables in (
        (plots.plot_leaders, [make_leaderboard(runs)]),
        (plots.plot_history, [runs]),
        (plots.plot_search, [runs]),
        (plots.plot_regret, [search_curve(runs), make_leaderboard(runs)]),
    ):
        texts = [
            sorted(text.get_text() for text in figure.findobj(Text))
            for figure in (plot(*tables), plot(*map(read_again, tables)))
        ]
        assert texts[0] == texts[1], plot


@pytest.mark.slow
def test_the_page_shows_each_and_its_code_runs(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "plots.md").read_text(encoding="utf-8")
    assert set(re.findall(r"plots\.(plot_\w+)\(", page)) == set(FUNCTIONS)
    specification = importlib.util.spec_from_file_location("make_plots", DOCS / "make_plots.py")
    assert specification is not None
    assert specification.loader is not None
    make_plots = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_plots)
    monkeypatch.chdir(DOCS.parent)
    drawn = dict(make_plots.figures(page.replace("docs/plots", str(study))))
    pictures = re.findall(r"\]\(plots/(\w+)\.png\)", page)
    assert list(drawn) == pictures
    for name in pictures:
        assert 1_000 < (DOCS / "plots" / f"{name}.png").stat().st_size < 60_000
