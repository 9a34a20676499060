from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynamoe_search.data.parquet import read_parquet
from dynamoe_search.errors import InvalidInput


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
        pa.dictionary(pa.uint32(), pa.string()),
    ],
    ids=str,
)
def test_rows_are_documents(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [
        None if k % 7 == 0 else "" if k % 7 == 1 else f"document {k % 99} é" for k in range(500)
    ]
    body = pa.array(rows).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(rows)
    table = pa.table({"body": body.cast(kind), "id": range(500), "body.length": range(500)})
    pq.write_table(table, tmp_path / "corpus.parquet", row_group_size=150)
    documents = list(read_parquet(tmp_path / "corpus.parquet", "body"))
    assert documents == [row for row in rows if row]


def test_categories_of_data_frames_are_text(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    rows = ["one", None, "two", "one"]
    pd.DataFrame({"text": pd.Categorical(rows)}).to_parquet(path)
    assert pa.types.is_dictionary(pq.read_schema(path).field("text").type)
    assert list(read_parquet(path, "text")) == ["one", "two", "one"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a", "list"]]),
        pa.array([b"bytes"]),
        pa.array([{"a": "struct"}]),
        pa.array([1]).dictionary_encode(),
        pa.array([b"bytes"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_other_types_are_refused(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"text": column, "body": ["text"]}), path)
    with pytest.raises(
        InvalidInput, match=r"has the type .*, not text; .* body \(string\); .*--col"
    ):
        list(read_parquet(path, "text"))


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    rows = [f"{k:07}" * 600 for k in range(8000)]
    pq.write_table(pa.table({"text": rows}), path, compression="none", use_dictionary=False)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in read_parquet(path, "text")) - before
    assert path.stat().st_size > 32_000_000 > 4 * peak


def test_wrong_columns_are_refused_and_the_columns_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"body": ["text"], "id": [1]}), path)
    with pytest.raises(InvalidInput, match=r"'text' of .* is missing; .* body \(string\), id \("):
        list(read_parquet(path, "text"))
    with pytest.raises(InvalidInput, match=r"'id' of .* has the type int64, not text; .* body"):
        list(read_parquet(path, "id"))


@pytest.mark.parametrize("damage", ["cut", "change", "foreign"])
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
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
        list(read_parquet(path, "text"))
    assert str(path) in str(failure.value)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    bytes_column = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bytes_column}), path)
    with pytest.raises(InvalidInput, match=r"'text' of .* is not UTF-8"):
        list(read_parquet(path, "text"))


def test_a_small_file_that_states_much_text_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    rows = pa.array(["x" * 2**22] * 3)
    pq.write_table(pa.table({"text": rows}), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 10_000
    assert sum(map(len, read_parquet(path, "text"))) == 3 * 2**22
    monkeypatch.setattr("dynamoe_search.data.parquet._LARGEST_MEAN", 2**22 - 1)
    before = pa.total_allocated_bytes()
    with pytest.raises(InvalidInput, match=r"group 0 of .* states 12,58\d,\d{3} bytes .* 3 rows"):
        next(read_parquet(path, "text"))
    assert pa.total_allocated_bytes() == before


def test_thousands_of_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"{k}" * 300: [1] for k in range(10, 60)}), path)
    with pytest.raises(InvalidInput, match="and 38 more") as failure:
        list(read_parquet(path, "text"))
    assert len(str(failure.value)) < 2000
