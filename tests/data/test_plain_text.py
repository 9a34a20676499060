import re
import tarfile
import tempfile
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.data import plain_text as module
from dynamoe_search.data.plain_text import read_plain_text
from dynamoe_search.errors import InvalidInput
from tests.data.files import PACKINGS, pack, write

LINES = st.sampled_from(
    ["word", "é", "\n", "\r\n", "\r", " \n", "\n\n", "\u2028", "\ufeff", "x" * 40]
)


@given(pieces=st.lists(LINES, min_size=1, max_size=80), tail=st.text())
def test_plain_text_is_split_and_nothing_is_lost(pieces: list[str], tail: str) -> None:
    text = "".join(pieces) + tail
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.multiple(module, SHORTEST=10, _LONGEST=30),
    ):
        documents = list(read_plain_text(write(Path(folder) / "book", text), sure=True))
    assert "".join(documents) == text
    for document in documents[:-1]:
        lines = re.split("\r\n|\r|\n", document)
        assert len(document) >= 30 or (len(document) >= 10 and not lines[-2].strip())
    assert max(map(len, documents)) < 2 * 30


def test_documents_end_at_blank_lines(tmp_path: Path) -> None:
    paragraph = "A line of a paragraph.\n" * 50 + " \n"
    documents = list(read_plain_text(write(tmp_path / "book.txt", paragraph * 20)))
    assert len(documents) == 5
    assert set(documents) == {paragraph * 4}


def test_lines_stay_whole_without_blank_lines(tmp_path: Path) -> None:
    line = "A sentence on every line, and no blank line anywhere.\n"
    documents = list(read_plain_text(write(tmp_path / "lines.txt", line * 5000)))
    assert len(documents) > 3
    assert all(document.endswith(line) for document in documents)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_line_without_end_is_read_in_bounded_memory(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "long.txt", pack(b"x" * 2**24, packing))
    tracemalloc.start()
    try:
        characters = sum(map(len, read_plain_text(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters == 2**24
    assert peak < 2**20


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    good = "a line\n" * 20_000
    for name, end in (("latin", "é\n".encode("latin-1") * 99), ("cut", "é".encode()[:1])):
        path = write(tmp_path / f"{name}.txt", good.encode() + end)
        with pytest.raises(InvalidInput, match=r"is not UTF-8 .* after character 1\d\d,\d\d\d"):
            list(read_plain_text(path))


JSON = [
    '{"text": "a document"}\n{"text": "another"}\n',
    ' \n{\n  "text": "spread over lines"\n}\n',
    '\ufeff{"text": "after a mark"}',
    '[\n  {"text": "an array"}\n]',
    '["a", "b"]',
    "{}\n",
]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", JSON)
def test_what_looks_like_json_is_refused_unless_it_is_surely_text(
    tmp_path: Path, content: str, packing: str
) -> None:
    path = write(tmp_path / "corpus.txt", pack(content.encode(), packing))
    with pytest.raises(
        InvalidInput, match=r"corpus\.txt .* looks like JSON; .*jsonl.*--format text"
    ):
        list(read_plain_text(path))
    assert list(read_plain_text(path, sure=True)) == [content]


@pytest.mark.parametrize(
    "content",
    [
        "[link](https://example.org) begins a page\n",
        "[1] A note, and {braces}.\n",
        "{\\bf bold} in a source of TeX\n",
        "{ x | x > 0 } is a set\n",
        'He said {"text": 1} in the middle.\n',
        "",
    ],
)
def test_brackets_alone_are_no_json(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "corpus.txt", content)
    assert "".join(read_plain_text(path)) == content


def test_archives_and_utf16_are_no_text(tmp_path: Path) -> None:
    archive = tmp_path / "corpus.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(write(tmp_path / "inner.txt", "text in an archive"), "inner.txt")
    wide = write(tmp_path / "wide.txt", "text".encode("utf-16-le"))
    for path in (archive, wide):
        with pytest.raises(InvalidInput, match=f"{path} .* has NUL characters.*unpack it"):
            list(read_plain_text(path))
    assert list(read_plain_text(wide, sure=True)) == ["t\0e\0x\0t\0"]
