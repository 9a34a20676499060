import json
import os
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynamoe_search.data import DIRECTORY_VARIABLE
from dynamoe_search.data.documents import (
    ENDINGS,
    TextFormat,
    embedded_documents,
    read_documents,
)
from dynamoe_search.errors import InvalidInput
from tests.data.files import PACKINGS, pack, write


def lines_of(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.mark.parametrize("packing", [*PACKINGS, ".zstd"])
@pytest.mark.parametrize("ending", [*ENDINGS["text"], *ENDINGS["jsonl"], ".JSONL", ".rst", ""])
def test_a_name_says_how_a_file_is_read(tmp_path: Path, ending: str, packing: str) -> None:
    is_json = ending.lower() in ENDINGS["jsonl"]
    content = lines_of("a document") if is_json else b"a document"
    packed = pack(content, packing.removesuffix("d"))
    for folder in (tmp_path / "named", tmp_path / "unpacked"):
        folder.mkdir()
    path = write(tmp_path / "named" / f"corpus{ending}{packing}", packed)
    assert list(read_documents(path)) == ["a document"]
    # The content decides whether a file is packed.
    assert list(read_documents(write(tmp_path / "unpacked" / path.name, content))) == ["a document"]


@pytest.mark.parametrize("text_format", ["text", "jsonl", "parquet"])
def test_a_format_that_is_given_is_stronger_than_a_name(
    tmp_path: Path, text_format: TextFormat
) -> None:
    path = tmp_path / "corpus.csv"
    if text_format == "parquet":
        pq.write_table(pa.table({"text": ["a document"]}), path)
    else:
        write(path, lines_of("a document"))
    wanted = lines_of("a document").decode() if text_format == "text" else "a document"
    assert list(read_documents(path, text_format=text_format)) == [wanted]


def test_a_folder_of_packed_shards_is_read_in_a_stable_order(tmp_path: Path) -> None:
    texts = [f"document {number}" for number in range(12)]
    places = ["a", "b/0", "b/1", "c"]
    for place in (2, 0, 3, 1):
        packing = (*PACKINGS, ".gz")[place]
        path = tmp_path / f"{places[place]}.jsonl{packing}"
        path.parent.mkdir(exist_ok=True)
        write(path, pack(lines_of(*texts[3 * place :][:3]), packing))
    assert list(read_documents(tmp_path)) == texts


def test_a_folder_of_several_formats_is_read_when_one_is_chosen(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "about these files")
    write(tmp_path / "0.jsonl", lines_of("first"))
    write(tmp_path / "1.jsonl.gz", pack(lines_of("second"), ".gz"))
    pq.write_table(pa.table({"text": ["a row"]}), tmp_path / "rows.parquet")
    message = r"\(2 jsonl, 1 parquet, 1 text\); choose one of them, as with --format jsonl"
    with pytest.raises(InvalidInput, match=message):
        list(read_documents(tmp_path))
    assert list(read_documents(tmp_path, text_format="jsonl")) == ["first", "second"]
    assert list(read_documents(tmp_path, text_format="parquet")) == ["a row"]
    assert list(read_documents(tmp_path, text_format="text")) == ["about these files"]
    (tmp_path / "rows.parquet").unlink()
    with pytest.raises(InvalidInput, match=r"no \.parquet file below"):
        list(read_documents(tmp_path, text_format="parquet"))


def test_what_is_hidden_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "corpus.txt", "text")
    for hidden in (".git", ".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / hidden).mkdir()
        write(tmp_path / hidden / "other.txt", b"\xff")
    write(tmp_path / "._corpus.txt", b"\xff")
    assert list(read_documents(tmp_path)) == ["text"]


@pytest.mark.parametrize("name", ["corpus.csv", "corpus.TSV.gz"])
def test_tables_are_refused_with_a_way_to_read_them(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "text\none\ntwo\n")
    with pytest.raises(InvalidInput, match=r"is a table; save it as parquet .*--column"):
        list(read_documents(path))


def test_json_in_a_file_of_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "b.txt", lines_of("a document"))
    with pytest.raises(InvalidInput, match=r"b\.txt .* looks like JSON"):
        list(read_documents(tmp_path))


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"x{64}\.\.\. \(5,000 characters\) .* too long") as long:
        list(read_documents(Path("x" * 5000)))
    assert len(str(long.value)) < 200
    with pytest.raises(InvalidInput, match="does not exist"):
        list(read_documents(tmp_path / "nul\0.txt"))


def test_a_folder_is_read_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "c.txt", "third")
    write(tmp_path / "a.MD", "first")
    write(tmp_path / "b" / "inner.txt", "second")
    write(tmp_path / "b" / "empty.txt", "")
    write(tmp_path / "notes.pdf", b"\xff")
    assert list(read_documents(tmp_path)) == ["first", "second", "third"]


def test_missing_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        list(read_documents(tmp_path / "missing.txt"))
    with pytest.raises(InvalidInput, match=r"no \.txt, .*\.jsonl, .*\.parquet file below"):
        list(read_documents(tmp_path))
    with pytest.raises(InvalidInput, match="has no text"):
        list(read_documents(write(tmp_path / "empty.txt", "")))
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tmp_path / "e.parquet")
    (tmp_path / "empty.txt").unlink()
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
