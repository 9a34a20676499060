"""Names of studies, which name folders, are checked before anything is trained or written."""

from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.report import made_up
from tests.test_study import DEFINITION


@pytest.mark.parametrize("name", ["../evil", "a/b", "/tmp/evil", "", ".."])
def test_a_name_that_no_folder_should_have_makes_none(small_study: Path, name: str) -> None:
    before = set(small_study.parent.iterdir())
    with pytest.raises(InvalidInput, match="cannot be the name of a study"):
        Study(small_study, name=name)
    with pytest.raises(InvalidInput, match="cannot be the name of a study"):
        Study.create(small_study.parent / "new", DEFINITION, name=name)
    with pytest.raises(InvalidInput, match="cannot be the name of a study"):
        Study.at(f"sqlite:///{small_study.parent / 'study.db'}", name)
    assert set(small_study.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["study.toml", "study.db", "notes"])
def test_a_name_that_a_file_has_is_refused_before_anything_is_trained(
    small_study: Path, name: str
) -> None:
    (small_study.parent / "notes").touch()
    before = {path: path.read_bytes() for path in small_study.parent.iterdir()}
    study = Study(small_study, name=name)
    for train in (study.run, study.confirm):
        with pytest.raises(InvalidInput, match=f"{name} is a file, and tables .* with --name"):
            train(workers=1, progress=False)
    assert {path: path.read_bytes() for path in small_study.parent.iterdir()} == before


def test_each_study_file_of_a_folder_has_a_log_of_its_own(small_study: Path) -> None:
    other = small_study.with_name("b.toml")
    other.write_text(small_study.read_text())
    made_up.begin(small_study)
    study = Study(other)
    assert (study.title, study.folder) == ("b", small_study.parent / "b")
    with pytest.raises(InvalidInput, match="holds no results of b yet"):
        study.training_runs()
    assert Study(other, name="c").title == "c"


def test_a_worker_that_keeps_networks_needs_a_folder_for_them(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("runs = 14", "runs = 14\nkeep_models = true"))
    made_up.begin(small_study, name="digits")
    (small_study.parent / "digits").touch()
    monkeypatch.chdir(small_study.parent)
    with pytest.raises(InvalidInput, match="digits is a file, and tables"):
        Study.at(f"sqlite:///{small_study.parent / 'study.db'}").work(workers=1, progress=False)
