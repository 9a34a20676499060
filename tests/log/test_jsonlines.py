"""A file of JSON lines after an interrupted write, and with damage."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.events import Event, Log, Refused
from dynamoe_search.log.jsonlines import JsonLinesLog
from dynamoe_search.log.storage import Storage, open_log


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage("jsonl", "first", tmp_path / "log")


@pytest.fixture
def path(storage: Storage) -> Path:
    return storage.file


@pytest.fixture
def log(storage: Storage) -> Iterator[Log]:
    with open_log(storage, create=True) as log:
        yield log


def numbered(number: int, weight: int = 0) -> Event:
    return Event("started", {"number": number, "weight": "x" * weight}, f"started {number}", 0.5)


def numbers_of(log: Log, since: int = 0) -> list[int]:
    return [event.content["number"] for _, event in log.read(since)]


def again(path: Path) -> Log:
    """The log as a process finds it that has just begun."""
    return JsonLinesLog(path, "first")


def interrupt(path: Path, tail: bytes) -> None:
    with path.open("ab") as file:
        file.write(tail)


LINE = json.dumps({"study": "first", "kind": "x", "content": {}, "key": None, "at": 0.5}).encode()
TAILS = [
    LINE,  # all but the newline
    LINE[:1],
    LINE[:30],
    LINE[:30] + b"\n",
    b"\0" * 5000,
    b"\0" * 5000 + LINE[30:] + b"\n",
    LINE[:30] + b"\0" * 5000,
    b'{"study": "first"}\n',
    b"\xff\xfe\n",
    b"12\n",
    b"\n  \n" + LINE[:30],
]


@pytest.mark.parametrize("tail", TAILS)
def test_an_interrupted_write_costs_that_event_only(path: Path, log: Log, tail: bytes) -> None:
    log.append(numbered(0), numbered(1))
    before = path.read_bytes()
    position = log.read()[-1][0]
    interrupt(path, tail)
    for one in (log, again(path)):
        assert numbers_of(one) == [0, 1]
        assert numbers_of(one, position) == []
    assert path.read_bytes() == before + tail
    # The one that has written all of it, and one that has not read it yet.
    again(path).append(numbered(2))
    interrupt(path, tail)
    log.append(numbered(3))
    assert numbers_of(log) == numbers_of(again(path)) == [0, 1, 2, 3]
    assert numbers_of(log, position) == [2, 3]
    for since, _ in log.read():
        assert numbers_of(again(path), since) == numbers_of(log, since)


@pytest.mark.slow
def test_a_write_of_several_events_is_kept_whole_or_not_at_all(path: Path, log: Log) -> None:
    log.append(numbered(0))
    start = path.stat().st_size
    log.append(*(numbered(number) for number in range(1, 4)))
    whole = path.read_bytes()
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert numbers_of(again(path)) == [0]
        again(path).append(numbered(3), numbered(4))
        assert numbers_of(again(path)) == [0, 3, 4]
    path.write_bytes(whole)
    assert numbers_of(again(path)) == [0, 1, 2, 3]


@pytest.mark.slow
@settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_sequence_of_writes_and_interruptions(path: Path, data: st.DataObject) -> None:
    path.write_bytes(b"")
    log, expected, read, since = again(path), list[int](), list[int](), 0
    for number in range(data.draw(st.integers(1, 8))):
        writer = data.draw(st.sampled_from([log, again(path)]))
        end = max([0, *(position for position, _ in writer.read())])
        written = [100 * number + part for part in range(data.draw(st.integers(1, 3)))]
        writer.append(*map(numbered, written))
        if data.draw(st.booleans()):
            # It was killed before it had written all of it, and is gone.
            whole, log = path.read_bytes(), again(path)
            cut = data.draw(st.integers(end, len(whole) - 1))
            path.write_bytes(whole[:cut] + b"\0" * data.draw(st.integers(0, 9)))
        else:
            expected += written
        events = log.read(since)
        read += [event.content["number"] for _, event in events]
        since = events[-1][0] if events else since
        assert read == expected
    assert numbers_of(again(path)) == expected
    for written in map(numbered, expected):
        with pytest.raises(Refused):
            again(path).append(written)


def test_an_interrupted_line_may_be_long(path: Path, log: Log) -> None:
    log.append(numbered(0))
    log.append(numbered(1, weight=200_000))
    path.write_bytes(path.read_bytes()[:-1])
    again(path).append(numbered(2))
    assert numbers_of(again(path)) == [0, 2]


@pytest.mark.parametrize("tail", [*TAILS[:3], TAILS[4], TAILS[6]])
def test_a_first_line_that_is_unfinished(path: Path, storage: Storage, tail: bytes) -> None:
    path.write_bytes(tail)
    with pytest.raises(InvalidInput, match="holds no results of first yet"):
        open_log(storage, create=False)
    with open_log(storage, create=True) as log:
        log.append(numbered(0))
    assert numbers_of(again(path)) == [0]


@pytest.mark.parametrize("text", ["not a log", "not a log\n", "not a log\n" * 9, '{"a": 1}\n', "7"])
def test_another_file_is_refused_and_kept(path: Path, storage: Storage, text: str) -> None:
    path.write_text(text)
    for create in (False, True):
        with pytest.raises(InvalidInput, match="log is not the log of a study"):
            open_log(storage, create)
    for act in (again(path).read, lambda: again(path).append(numbered(0))):
        with pytest.raises(InvalidInput, match="log is not the log of a study"):
            act()
    assert path.read_text() == text


def test_empty_lines_are_skipped(path: Path, log: Log) -> None:
    log.append(numbered(0), numbered(1))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\n" + first + b"\n \n" + second + b"\n\n")
    assert numbers_of(again(path)) == [0, 1]
    again(path).append(numbered(2))
    with pytest.raises(Refused):
        again(path).append(numbered(1))
    assert numbers_of(again(path)) == [0, 1, 2]


DAMAGE = [b"\0" * 40, b"{", b'{"study": "first"}', b"x" * 9999, b"\xff\xfe", b"[" * 9999]


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_never_an_event_costs_nothing(path: Path, log: Log, damage: bytes) -> None:
    for number in range(5):
        log.append(numbered(number))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], damage, b"\n", *lines[3:]]))
    assert numbers_of(again(path)) == [0, 1, 2, 3, 4]
    again(path).append(numbered(5))
    assert numbers_of(again(path)) == [0, 1, 2, 3, 4, 5]


def damaged_in(log: Log, since: int = 0) -> dict[int, str]:
    """Which of the events that follow are unreadable: their places, and names."""
    found = enumerate(log.read(since))
    return {i: log.name_of(end) for i, (end, event) in found if event.kind == "unreadable"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_in_the_middle_is_named(path: Path, log: Log, damage: bytes) -> None:
    for number in range(5):
        log.append(numbered(number))
    first, second = (log.read()[number][0] for number in (0, 1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], damage, b"\n", *lines[3:]]))
    assert damaged_in(again(path)) == {2: "line 3"}
    assert damaged_in(again(path), second) == {0: "line 3"}
    positions = [position for position, _ in again(path).read()]
    again(path).append(numbered(5))
    assert damaged_in(again(path)) == {2: "line 3"}
    events = again(path).read()
    assert [event.content.get("number") for _, event in events] == [0, 1, None, 3, 4, 5]
    for number, position in enumerate(positions):
        assert again(path).read(position) == events[number + 1 :]
    # Without that line, the others are read as they are.
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert numbers_of(again(path)) == [0, 1, 3, 4]
    again(path).append(numbered(5))
    assert numbers_of(again(path), first) == [1, 3, 4, 5]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(path: Path, place: float, bit: int) -> None:
    path.write_bytes(b"")
    log = again(path)
    for number in range(4):
        log.append(numbered(number, weight=20))
    before = [event for _, event in log.read()]
    whole = bytearray(path.read_bytes())
    end = whole.rindex(b"\n", 0, -1)  # the last line may have been cut short, too
    at = len(b'{"study": "') + int(place * (end - len(b'{"study": "')))
    whole[at] ^= 1 << bit
    path.write_bytes(whole)
    after = [event for _, event in again(path).read()]
    kept = [event for event in after if event.kind != "unreadable"]
    assert all(event in before for event in kept)
    # Or it was the checksum's own name, or a line that became two.
    assert len(kept) < len(after) or kept == before


def test_a_checksum_that_is_wrong_is_noticed_at_the_end_too(path: Path, log: Log) -> None:
    log.append(numbered(0))
    log.append(numbered(11))
    path.write_bytes(path.read_bytes().replace(b"11", b"17"))
    assert damaged_in(again(path)) == {1: "line 2"}
    again(path).append(numbered(2))
    assert damaged_in(again(path)) == {1: "line 2"}
    assert len(again(path).read()) == 3


def test_a_file_that_was_cut_short_is_not_the_log_that_was_read(path: Path, log: Log) -> None:
    log.append(numbered(0))
    log.append(numbered(1))
    (first, _), (second, _) = log.read()
    path.write_bytes(path.read_bytes()[:first])
    with pytest.raises(RunFailed, match="log is not the log that was read before"):
        again(path).read(second)
    with pytest.raises(RunFailed, match="log is not the log that was read before"):
        again(path).read(first - 1)


def test_an_append_has_reached_the_disk(
    path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: on_disk.append(path.read_text()))
    for number in range(3):
        log.append(numbered(number))
        assert len(on_disk) == number + 1
        assert on_disk[-1] == path.read_text()


def test_other_studies_lines_may_come_between_and_be_interrupted(path: Path, log: Log) -> None:
    other = JsonLinesLog(path, "second")
    log.append(numbered(0))
    JsonLinesLog(path, "second").append(numbered(0), numbered(1))
    path.write_bytes(path.read_bytes()[:-1])
    assert numbers_of(other) == []
    log.append(numbered(1))
    assert (numbers_of(log), numbers_of(other)) == ([0, 1], [])
    other.append(numbered(1))
    with pytest.raises(Refused):
        other.append(numbered(1))
    assert (numbers_of(log), numbers_of(other)) == ([0, 1], [1])


def test_a_heartbeat_is_one_small_file(path: Path, log: Log) -> None:
    for beat in range(20):
        log.beat("server-1-0a", beat)
        log.append(numbered(beat))
    (file,) = path.parent.glob(".log.*.heartbeats/*")
    assert file.stat().st_size <= 2
    # Another is just being written.
    file.with_name("server-2-0b").write_text("")
    assert log.heartbeats() == {"server-1-0a": 19}


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    with open_log(Storage("jsonl", "first", folder / "log"), create=True) as log:
        log.append(numbered(0))
        folder.rename(tmp_path / "away")
        for act in (lambda: log.append(numbered(1)), lambda: log.exclusive("run", 0).__enter__()):
            with pytest.raises(FileNotFoundError):
                act()
            assert not folder.exists()
        (tmp_path / "away").rename(folder)
        log.append(numbered(1))
        assert numbers_of(log) == [0, 1]
