from pathlib import Path

import pytest
from dynamoe_search.log.definition import changes_of, record_study_file, recorded_study_file

from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import check_data
from tests.conftest import edit


@pytest.fixture
def begun(small_study: Path):
    place = place_of(small_study.parent)
    study = begin_study(place, ["minimize"])
    record_study_file(study, read_study_file(small_study), place)
    return study, place


def test_the_file_comes_back_from_the_records(begun, small_study: Path) -> None:
    assert recorded_study_file(*begun) == read_study_file(small_study)


@pytest.mark.parametrize(
    "path", sorted(Path("studies").glob("*/study.toml")), ids=lambda path: path.parent.name
)
def test_the_committed_studies_come_back(path: Path, tmp_path: Path) -> None:
    place = place_of(tmp_path)
    study, study_file = begin_study(place, ["minimize"]), read_study_file(path)
    record_study_file(study, study_file, place)
    assert recorded_study_file(study, place) == study_file


def test_how_long_it_runs_may_change(begun, small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 99\nminutes = 1.5"))
    changed = read_study_file(small_study)
    record_study_file(begun[0], changed, begun[1])
    assert recorded_study_file(*begun) == changed
    assert changes_of(begun[0]) == []


def refuse(begun, study_file: StudyFile, message: str, allow_changes: bool = False) -> None:
    before = recorded_study_file(*begun)
    with pytest.raises(InvalidInput, match=message):
        record_study_file(begun[0], study_file, begun[1], allow_changes)
    assert recorded_study_file(*begun) == before


def test_a_change_is_shown_and_must_be_allowed(begun, small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5"), ('"random"', '"tpe"'))
    changed = read_study_file(small_study)
    refuse(begun, changed, r"training\.epochs: was 2, is 5\n .*sampler: was 'random', is 'tpe'")
    refuse(begun, changed, r"--allow-changes")
    record_study_file(begun[0], changed, begun[1], allow_changes=True)
    assert recorded_study_file(*begun) == changed
    (change,) = changes_of(begun[0])
    assert change["after_trials"] == 0
    assert change["changes"][0] == "training.epochs: was 2, is 5"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hidden = 8", "hidden = 16", r"model\.hidden"),
        ("experts = 12", "experts = 13", r"budget\.experts"),
        ('"top_k"\nk = 1', '"percentile"', r"router\.name"),
        ('"blend"', '"spline"', r"search\.family"),
        ('"blend"', '"blend"\nobjectives = ["active_flops"]', r"search\.objectives"),
        ('"blend"', '"blend"\nalso.k = [1, 2]', r"search\.also\.k"),
        ('name = "digits"', 'name = "digits"\nseed = 1', r"data\.seed"),
    ],
)
def test_another_study_needs_another_name(
    begun, small_study: Path, old: str, new: str, key: str
) -> None:
    edit(small_study, (old, new))
    message = rf"(?s){key}: was .*it is another study.*\(--name\)"
    refuse(begun, read_study_file(small_study), message, allow_changes=True)


def test_records_of_another_version_are_named_as_such(begun) -> None:
    study, place = begun
    study.set_user_attr("format", 1)
    with pytest.raises(InvalidInput, match="another version of dynamoe_search"):
        recorded_study_file(study, place)


def test_other_data_are_refused(begun) -> None:
    study, place = begun
    check_data(study, embedded_digits(seed=0), place)
    check_data(study, embedded_digits(seed=0), place)
    with pytest.raises(InvalidInput, match=r"digits here is not the data .* check --data-dir"):
        check_data(study, embedded_digits(seed=1), place)
