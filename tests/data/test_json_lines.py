import json
import tempfile
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.data import json_lines as module
from dynamoe_search.data.json_lines import read_json_lines
from dynamoe_search.errors import InvalidInput
from tests.data.files import PACKINGS, pack, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    texts=st.lists(st.none() | TEXTS, max_size=20),
    packing=st.sampled_from(PACKINGS),
    as_ascii=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_texts_come_back(
    texts: list[str | None], packing: str, as_ascii: bool, end: str, mark: str
) -> None:
    records = [{"id": number, "body": text} for number, text in enumerate(texts)]
    lines = end.join(json.dumps(record, ensure_ascii=as_ascii) for record in records)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "corpus", pack((mark + lines).encode(), packing))
        assert list(read_json_lines(path, "body")) == [text for text in texts if text]


def test_other_fields_may_hold_anything(tmp_path: Path) -> None:
    number = "9" * 5000
    line = f'{{"id": {number}, "rate": 1e999, "meta": {{"text": "inner"}}, "text": "outer"}}'
    assert list(read_json_lines(write(tmp_path / "corpus", line), "text")) == ["outer"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', r"is not JSON \(Unterminated string .* at character 10\); .*one object"),
        ("[", r"is not JSON .*\(jq -c"),
        ('["text"]', "is a list, not an object; JSON lines have one object per line"),
        ('"text"', "is text, not an object"),
        ("null", "is null, not an object"),
        ("7", "is a number, not an object"),
        ("9" * 5000, "is a number, not an object"),
        (b'{"text": "\xff"}', "is not UTF-8 .* at byte 11"),
        ('{"text": "x"}'.encode("utf-16"), "is not UTF-8"),
        ("[" * 100_000, "is JSON that is nested too deep"),
        ('{"body": "x", "id": 1}', "has no field 'text', but body, id; name .* --column"),
        ("{}", "has no field 'text', but none"),
        ('{"text": ["a"]}', "the field 'text' of line 3 .* is a list, not text; .*--column"),
        ('{"text": 7}', "is a number, not text"),
        ('{"text": true}', "is true or false, not text"),
        (r'{"text": "a\ud800b"}', r"character 1 of a document is the lone surrogate U\+D800"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str | bytes, message: str) -> None:
    content = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "corpus.jsonl", b'{"text": "good"}\n\n' + content)
    documents = read_json_lines(path, "text")
    assert next(documents) == "good"
    with pytest.raises(InvalidInput, match=message) as failure:
        next(documents)
    assert f"line 3 of {path}" in str(failure.value)
    assert len(str(failure.value)) < 600


def test_thousands_of_fields_are_not_all_listed(tmp_path: Path) -> None:
    record = {f"{number}" * 100: 1 for number in range(5_000)}
    path = write(tmp_path / "corpus.jsonl", json.dumps(record))
    with pytest.raises(InvalidInput, match="and 4,988 more") as failure:
        list(read_json_lines(path, "text"))
    assert len(str(failure.value)) < 3000


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_line_without_end_is_refused_at_its_limit(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "corpus.jsonl", pack(b'{"text": "' + b"x" * 2**24, packing))
    tracemalloc.start()
    try:
        with patch.object(module, "_LONGEST_LINE", 2**16):
            documents = read_json_lines(path, "text")
            with pytest.raises(InvalidInput, match=r"line 1 .* longer than 65,536 bytes; split"):
                next(documents)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_line_at_the_limit_is_read(tmp_path: Path) -> None:
    line = '{"text": "just fits"}\n'
    path = write(tmp_path / "corpus.jsonl", line * 3)
    with patch.object(module, "_LONGEST_LINE", len(line)):
        assert list(read_json_lines(path, "text")) == ["just fits"] * 3


@pytest.mark.parametrize("packing", PACKINGS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, packing: str) -> None:
    line = json.dumps({"text": "some words " * 100}).encode() + b"\n"
    path = write(tmp_path / "corpus.jsonl", pack(line * 5_000, packing))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_json_lines(path, "text"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert peak < 2**20


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(read_json_lines(tmp_path / "missing.jsonl", "text"))
