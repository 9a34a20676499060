from pathlib import Path

import optuna
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.storage import Place, begin_study, names_at, open_study, place_of


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(f"{request.param}:///{tmp_path / 'records'}", "first")


def test_a_study_is_begun_once_and_found_again(place: Place) -> None:
    begin_study(place, ["minimize"]).set_user_attr("x", 1)
    assert begin_study(place, ["minimize"]).user_attrs == {"x": 1}
    assert open_study(place).user_attrs == {"x": 1}
    other = Place(place.url, "second")
    with pytest.raises(InvalidInput, match=r"no results of second yet.* there are: first"):
        open_study(other)
    begin_study(other, ["minimize", "maximize"])
    assert len(open_study(other).directions) == 2
    assert names_at(place) == ["first", "second"]


def test_a_confirmation_is_kept_beside_its_study_and_not_listed(place: Place) -> None:
    begin_study(place, ["minimize"])
    begin_study(place.confirmation, ["minimize"])
    assert names_at(place) == ["first"]
    assert open_study(place.confirmation).study_name == "first/confirmation"


def test_a_foreign_file_is_refused_and_kept(place: Place) -> None:
    assert place.file is not None
    place.file.write_text("not the records of a study\n" * 9)
    with pytest.raises(InvalidInput, match="not the results of a study"):
        open_study(place)
    with pytest.raises(InvalidInput, match="not the results of a study"):
        begin_study(place, ["minimize"])
    assert place.file.read_text() == "not the records of a study\n" * 9


def test_without_results_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
        open_study(place_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["study.db", "mysql://me@here/x", "sqlite://", "", "journal:"])
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"no address of records; give sqlite:///FILE"):
        Place(url, "name")


def test_a_password_is_never_shown() -> None:
    place = Place("postgresql://me:secret@server/studies", "digits")
    assert str(place) == "postgresql://me:***@server/studies"


def test_an_unreachable_server_is_a_clear_error() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(InvalidInput, match="cannot be read and written"):
        open_study(Place("postgresql://me@localhost:1/studies?connect_timeout=2", "digits"))


def test_the_folder_names_a_study_that_is_kept_elsewhere(tmp_path: Path) -> None:
    assert place_of(tmp_path, "journal:////tmp/x").name == tmp_path.name
    assert place_of(tmp_path).file == tmp_path / "study.db"
    assert place_of(tmp_path, name="other").name == "other"


def test_optuna_sees_a_plain_study(place: Place) -> None:
    study = begin_study(place, ["minimize"])
    study.tell(study.ask(), 1.0)
    assert optuna.get_all_study_names(study._storage) == ["first"]
