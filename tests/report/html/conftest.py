"""A study with all that a search for a low loss can have, and its report."""

from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.report.html.page import make_report
from dynamoe_search.study import Study
from tests.conftest import SMALL_STUDY
from tests.report import made_up


@pytest.fixture(scope="session")
def rich_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rich") / "study.toml"
    path.write_text(SMALL_STUDY.replace("runs = 14", "runs = 40"))
    made_up.search(path, measured=True)
    made_up.confirm(path)
    return path


class WithLadder(Study):
    """A study that has a ladder, which takes long to train."""

    def ladder(self) -> pd.DataFrame:
        return made_up.ladder()


@pytest.fixture(scope="session")
def rich(rich_study: Path) -> str:
    return make_report(WithLadder(rich_study))
