from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import Storage
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from tests.conftest import edit
from tests.search.driver import MemoryLog, Process, plan_of

STORAGE = Storage("sqlite", "study", Path("/study.db"))


def state_of(log: MemoryLog) -> State:
    state = State()
    catch_up(log, state)  # type: ignore[arg-type]
    return state


def go_on(log: MemoryLog, study_file: StudyFile, allow_changes: bool = False) -> None:
    begin_study(log, state_of(log), study_file, "fingerprint", STORAGE, allow_changes)


@pytest.fixture
def begun(small_study: Path) -> MemoryLog:
    log = MemoryLog()
    go_on(log, read_study_file(small_study))
    return log


def test_the_file_comes_back_from_the_log(begun: MemoryLog, small_study: Path) -> None:
    state = state_of(begun)
    assert state.study_file == read_study_file(small_study)
    assert state.data == "fingerprint"


@pytest.mark.parametrize(
    "path", sorted(Path("studies").glob("*/study.toml")), ids=lambda path: path.parent.name
)
def test_the_committed_studies_come_back(path: Path) -> None:
    log, study_file = MemoryLog(), read_study_file(path)
    go_on(log, study_file)
    assert state_of(log).study_file == study_file


def test_the_same_file_is_not_written_again(begun: MemoryLog, small_study: Path) -> None:
    go_on(begun, read_study_file(small_study))
    assert [event.kind for event in begun.events] == ["begun"]


def test_how_long_it_runs_may_change(begun: MemoryLog, small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 99\nminutes = 1.5"), ("blocks = 2", "blocks = 4"))
    changed = read_study_file(small_study)
    go_on(begun, changed)
    state = state_of(begun)
    assert state.study_file == changed
    assert state.data == "fingerprint"
    assert state.changes == []


def refuse(
    log: MemoryLog, study_file: StudyFile, message: str, allow_changes: bool = False
) -> None:
    before = list(log.events)
    with pytest.raises(InvalidInput, match=message):
        go_on(log, study_file, allow_changes)
    assert log.events == before


def test_a_change_is_shown_and_must_be_allowed(begun: MemoryLog, small_study: Path) -> None:
    process = Process(begun, plan_of(small_study))
    process.start()
    process.start()
    edit(small_study, ("epochs = 2", "epochs = 5"), ('"random"', '"tpe"'))
    changed = read_study_file(small_study)
    refuse(begun, changed, r"training\.epochs: was 2, is 5\n .*sampler: was 'random', is 'tpe'")
    refuse(begun, changed, r"--allow-changes")
    go_on(begun, changed, allow_changes=True)
    state = state_of(begun)
    assert state.study_file == changed
    (change,) = state.changes
    assert change["after_runs"] == 2
    assert change["changes"][0] == "training.epochs: was 2, is 5"
    # It was allowed once and for all.
    go_on(begun, changed)
    assert len(state_of(begun).changes) == 1


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hidden = 8", "hidden = 16", r"model\.hidden"),
        ("experts = 12", "experts = 13", r"budget\.experts"),
        ('"top_k"\nk = 1', '"percentile"', r"router\.name"),
        ('"blend"', '"spline"', r"search\.family"),
        ('"blend"', '"blend"\ncontrast = 0.1', r"search\.contrast"),
        ('"blend"', '"blend"\nobjectives = ["active_flops"]', r"search\.objectives"),
        (
            '"blend"',
            '"blend"\nconstraints = ["active_experts <= 2"]',
            r"search\.constraints",
        ),
        ('"blend"', '"blend"\nalso.k = [1, 2]', r"search\.also\.k"),
        ('name = "digits"', 'name = "digits"\nseed = 1', r"data\.seed"),
    ],
)
def test_another_study_needs_another_name(
    begun: MemoryLog, small_study: Path, old: str, new: str, key: str
) -> None:
    edit(small_study, (old, new))
    message = rf"(?s)since /study\.db was begun.*{key}: was .*it is another study.*\(--name\)"
    refuse(begun, read_study_file(small_study), message, allow_changes=True)


def test_two_commands_that_begin_at_once_begin_one_study(small_study: Path) -> None:
    log = MemoryLog()
    one, other = State(), State()
    study_file = read_study_file(small_study)
    begin_study(log, one, study_file, "fingerprint", STORAGE)
    begin_study(log, other, study_file, "fingerprint", STORAGE)
    assert [event.kind for event in log.events] == ["begun"]
    assert other == one
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match="it is another study"):
        begin_study(log, State(), read_study_file(small_study), "fingerprint", STORAGE)


def test_a_study_of_another_version_is_named_as_such(begun: MemoryLog) -> None:
    begun.events[0].content["format"] = 1
    with pytest.raises(InvalidInput, match=r"event 1 .* another version of dynamoe_search"):
        state_of(begun)
