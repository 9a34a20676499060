from dataclasses import replace
from pathlib import Path

import pytest

from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.state import State, begun, catch_up
from dynamoe_search.log.storage import Storage, storage_of
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import check_data
from tests.conftest import edit
from tests.search.driver import MemoryLog

DATA = "the fingerprint"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_of(tmp_path)


def begin(
    log: MemoryLog, study_file: StudyFile, storage: Storage, allow_changes: bool = False
) -> State:
    """Begin a study or go on with it, and read it again from the beginning."""
    begin_study(log, State(), study_file, DATA, storage, allow_changes)
    state = State()
    catch_up(log, state)
    return state


def test_the_file_comes_back_from_the_log(small_study: Path, storage: Storage) -> None:
    log = MemoryLog()
    state = begin(log, read_study_file(small_study), storage)
    assert state.study_file == read_study_file(small_study)
    assert state.data == DATA
    assert begin(log, read_study_file(small_study), storage).position == 1


@pytest.mark.parametrize(
    "path", sorted(Path("studies").glob("*/study.toml")), ids=lambda path: path.parent.name
)
def test_the_committed_studies_come_back(path: Path, storage: Storage) -> None:
    study_file = read_study_file(path)
    assert begin(MemoryLog(), study_file, storage).study_file == study_file


def test_of_two_that_begin_at_once_one_begins(small_study: Path, storage: Storage) -> None:
    class Raced(MemoryLog):
        def append(self, *events: object) -> None:
            if not self.events:  # another command is faster
                super().append(begun(read_study_file(small_study), DATA))
            super().append(*events)

    log = Raced()
    assert begin(log, read_study_file(small_study), storage).position == 1
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match="another study"):
        begin(Raced(log.events), read_study_file(small_study), storage)


def test_how_long_it_runs_may_change(small_study: Path, storage: Storage) -> None:
    log = MemoryLog()
    begin(log, read_study_file(small_study), storage)
    edit(small_study, ("runs = 14", "runs = 99\nminutes = 1.5"), ("blocks = 2", "blocks = 3"))
    changed = read_study_file(small_study)
    state = begin(log, changed, storage)
    assert state.study_file == changed
    assert state.changes == []


def refuse(
    log: MemoryLog,
    study_file: StudyFile,
    storage: Storage,
    message: str,
    allow_changes: bool = False,
) -> None:
    before = list(log.events)
    with pytest.raises(InvalidInput, match=message):
        begin(log, study_file, storage, allow_changes)
    assert log.events == before


def test_a_change_is_shown_and_must_be_allowed(small_study: Path, storage: Storage) -> None:
    log = MemoryLog()
    begin(log, read_study_file(small_study), storage)
    edit(small_study, ("epochs = 2", "epochs = 5"), ('"random"', '"tpe"'))
    changed = read_study_file(small_study)
    message = r"training\.epochs: was 2, is 5\n .*sampler: was 'random', is 'tpe'"
    refuse(log, changed, storage, message)
    refuse(log, changed, storage, r"--allow-changes")
    state = begin(log, changed, storage, allow_changes=True)
    assert state.study_file == changed
    (change,) = state.changes
    assert change["after_runs"] == 0
    assert change["changes"][0] == "training.epochs: was 2, is 5"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hidden = 8", "hidden = 16", r"model\.hidden"),
        ("experts = 12", "experts = 13", r"budget\.experts"),
        ("experts = 12", "experts = 12\nstep = 3", r"budget\.step"),
        ('"top_k"\nk = 1', '"percentile"', r"router\.name"),
        ('"blend"', '"spline"', r"search\.family"),
        ('"blend"', '"blend"\nobjectives = ["active_flops"]', r"search\.objectives"),
        ('"blend"', '"blend"\nalso.k = [1, 2]', r"search\.also\.k"),
        ('name = "digits"', 'name = "digits"\nseed = 1', r"data\.seed"),
        # Blocks of another size would give a candidate one seed in two of them.
        ("seeds = 1", "seeds = 2", r"training\.seeds"),
    ],
)
def test_another_study_needs_another_name(
    small_study: Path, storage: Storage, old: str, new: str, key: str
) -> None:
    log = MemoryLog()
    begin(log, read_study_file(small_study), storage)
    edit(small_study, (old, new))
    message = rf"(?s){key}: was .*it is another study.*\(--name\)"
    refuse(log, read_study_file(small_study), storage, message, allow_changes=True)


def test_a_log_of_another_version_is_named_as_such(small_study: Path, storage: Storage) -> None:
    event = begun(read_study_file(small_study), DATA)
    log = MemoryLog([replace(event, content=event.content | {"format": 1})])
    state = State()
    catch_up(log, state)
    with pytest.raises(InvalidInput, match="another version of dynamoe_search"):
        state.refuse_damage(storage)


def test_other_data_are_refused(storage: Storage) -> None:
    data = embedded_digits(seed=0)
    check_data(State(data=data.fingerprint), data, storage)
    with pytest.raises(InvalidInput, match=r"digits here is not the data .* check --data-dir"):
        check_data(State(data=data.fingerprint), embedded_digits(seed=1), storage)
