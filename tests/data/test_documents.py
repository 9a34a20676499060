import os
import re
import tempfile
import tracemalloc
from pathlib import Path
from pydoc_data.topics import topics
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.data import DIRECTORY_VARIABLE
from dynamoe_search.data import documents as module
from dynamoe_search.data.documents import embedded_documents, read_documents
from dynamoe_search.errors import InvalidInput

LINES = st.sampled_from(
    ["word", "é", "\n", "\r\n", "\r", " \n", "\n\n", "\u2028", "\ufeff", "x" * 40]
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(pieces=st.lists(LINES, min_size=1, max_size=80), tail=st.text())
def test_plain_text_is_split_and_nothing_is_lost(pieces: list[str], tail: str) -> None:
    text = "".join(pieces) + tail
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.multiple(module, _SHORTEST=10, _LONGEST=30),
    ):
        documents = list(read_documents(write(Path(folder) / "book", text)))
    assert "".join(documents) == text
    for document in documents[:-1]:
        lines = re.split("\r\n|\r|\n", document)
        assert len(document) >= 30 or (len(document) >= 10 and not lines[-2].strip())
    assert max(map(len, documents)) < 2 * 30


def test_documents_end_at_blank_lines(tmp_path: Path) -> None:
    paragraph = "A line of a paragraph.\n" * 50 + " \n"
    documents = list(read_documents(write(tmp_path / "book.txt", paragraph * 20)))
    assert len(documents) == 5
    assert set(documents) == {paragraph * 4}


def test_lines_stay_whole_without_blank_lines(tmp_path: Path) -> None:
    line = "A sentence on every line, and no blank line anywhere.\n"
    documents = list(read_documents(write(tmp_path / "lines.txt", line * 5000)))
    assert len(documents) > 3
    assert all(document.endswith(line) for document in documents)


def test_a_line_without_end_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", b"x" * 2**24)
    tracemalloc.start()
    try:
        characters = sum(map(len, read_documents(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters == 2**24
    assert peak < 2**20


def test_a_folder_is_read_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "c.txt", "third")
    write(tmp_path / "a.MD", "first")
    pq.write_table(pa.table({"text": ["second"]}), tmp_path / "b" / "rows.parquet")
    write(tmp_path / "b" / "empty.txt", "")
    write(tmp_path / "notes.pdf", b"\xff")
    assert list(read_documents(tmp_path)) == ["first", "second", "third"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_parquet_rows_are_documents(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [None if k % 7 == 0 else "" if k % 7 == 1 else f"document {k} é" for k in range(500)]
    table = pa.table({"body": pa.array(rows, kind), "id": range(500), "body.length": range(500)})
    pq.write_table(table, tmp_path / "corpus.parquet", row_group_size=150)
    documents = list(read_documents(tmp_path / "corpus.parquet", column="body"))
    assert documents == [row for row in rows if row]


def test_parquet_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    rows = [f"{k:07}" * 600 for k in range(8000)]
    pq.write_table(pa.table({"text": rows}), path, compression="none", use_dictionary=False)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in read_documents(path)) - before
    assert path.stat().st_size > 32_000_000 > 4 * peak


def test_wrong_columns_are_refused_and_the_columns_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"body": ["text"], "id": [1]}), path)
    with pytest.raises(InvalidInput, match=r"'text' of .* is missing; .* body \(string\), id \("):
        list(read_documents(path))
    with pytest.raises(InvalidInput, match=r"'id' of .* has the type int64, not text; .* body"):
        list(read_documents(path, column="id"))


@pytest.mark.parametrize("damage", ["cut", "change", "foreign"])
def test_damaged_parquet_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "corpus.parquet"
    rows = [f"{k:07}" * 100 for k in range(500)]
    pq.write_table(
        pa.table({"text": rows}),
        path,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-100]
    if damage == "change":
        content[len(content) // 2] ^= 1
    if damage == "foreign":
        content = bytearray(b"plain text")
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="cannot be read as parquet") as failure:
        list(read_documents(path))
    assert str(path) in str(failure.value)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    good = "a line\n" * 20_000
    for name, end in (("latin", "é\n".encode("latin-1") * 99), ("cut", "é".encode()[:1])):
        path = write(tmp_path / f"{name}.txt", good.encode() + end)
        with pytest.raises(InvalidInput, match=r"is not UTF-8 .* after character 1\d\d,\d\d\d"):
            list(read_documents(path))
    bytes_column = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bytes_column}), tmp_path / "rows.parquet")
    with pytest.raises(InvalidInput, match=r"'text' of .* is not UTF-8"):
        list(read_documents(tmp_path / "rows.parquet"))


def test_missing_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        list(read_documents(tmp_path / "missing.txt"))
    with pytest.raises(InvalidInput, match=r"no \.txt, \.md, \.parquet file below"):
        list(read_documents(tmp_path))
    with pytest.raises(InvalidInput, match="has no text"):
        list(read_documents(write(tmp_path / "empty.txt", "")))
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tmp_path / "e.parquet")
    with pytest.raises(InvalidInput, match="has no text"):
        list(read_documents(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_forbidden_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.txt", "text")
    path.chmod(0)
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(read_documents(path))


def test_embedded_documents_keep_every_paragraph_once() -> None:
    documents = embedded_documents()
    paragraphs = [text for document in documents for text in document.split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))
    wanted = {text for topic in topics.values() for text in topic.strip("\n").split("\n\n")}
    assert set(paragraphs) == wanted
    assert sum(map(len, documents)) > 300_000
    # In the order of their names.
    firsts = [topics[name].splitlines()[0] for name in sorted(topics)]
    positions = [firsts.index(document.splitlines()[0]) for document in documents[:5]]
    assert positions == sorted(positions)


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
def test_the_real_files() -> None:
    folder = Path(os.environ[DIRECTORY_VARIABLE]) / "text"
    plays = folder / "tinyshakespeare.txt"
    documents = list(read_documents(plays))
    assert "".join(documents).encode() == plays.read_bytes()
    assert len(documents) > 200
    rows = list(read_documents(folder / "wikitext-2" / "test.parquet"))
    pieces = list(read_documents(folder / "wikitext-2" / "test.txt"))
    assert "".join("".join(pieces).split()) == "".join("".join(rows).split())
