"""What the tests of the commands share."""

from pathlib import Path

import pytest

from tests.conftest import SMALL_STUDY
from tests.report import made_up


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORAGE", "DATA", "DEBUG"):
        monkeypatch.delenv(f"DYNAMOE_{name}", raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study whose results are made up: descending schedules are best."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "study.toml").write_text(SMALL_STUDY)
    made_up.search(folder / "study.toml", measured=True)
    return folder
