import gzip
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynamoe_search.data import DIRECTORY_VARIABLE
from dynamoe_search.data.documents import embedded_documents, read_documents
from dynamoe_search.data.prepare import prepare_text
from dynamoe_search.data.split import SPLITS, Split, choose_split
from dynamoe_search.data.token_file import open_token_file, write_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer, train_byte_pairs
from dynamoe_search.errors import InvalidInput
from dynamoe_search.run.mapping import map_in_processes
from tests.data.files import texts


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"body": embedded_documents()}), path)
    return path


def test_preparing_with_bytes(corpus: Path) -> None:
    target = corpus.with_name("corpus.tokens")
    header = prepare_text(corpus, target, column="body", seed=2)
    assert header.tokenizer == ByteTokenizer()
    assert sum(counts.documents for counts in header.splits) == len(embedded_documents())
    assert open_token_file(target).header == header


def test_byte_pairs_are_learned_from_the_training_split_only(corpus: Path) -> None:
    target = corpus.with_name("corpus.tokens")
    header = prepare_text(corpus, target, "bpe", vocabulary=400, column="body")
    training = [text for text in embedded_documents() if Split(seed=0).place(text) == 0]
    assert header.tokenizer == train_byte_pairs(training, 400)
    assert header.train.tokens < 0.7 * header.train.bytes
    assert texts(open_token_file(target))["train"] == training


def test_only_token_files_are_overwritten(corpus: Path) -> None:
    target = corpus.with_name("thesis.txt")
    for precious in (target, corpus, corpus.parent):
        target.write_text("years of work")
        with pytest.raises(InvalidInput, match="exists and is not a token file"):
            prepare_text(corpus, precious, column="body")
        assert target.read_text() == "years of work"
    write_token_file(target, embedded_documents(), ByteTokenizer(), Split(seed=9))
    target.write_bytes(target.read_bytes()[:-1])  # also a damaged one
    prepare_text(corpus, target, column="body")
    assert open_token_file(target).header.seed == 0


@pytest.mark.slow
def test_any_number_of_processes_makes_the_same_file(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamoe_search.data.encoder._BATCH", 20_000)
    told: list[tuple[int, int]] = []

    def written(workers: int) -> bytes:
        target = corpus.with_name("corpus.tokens")
        with map_in_processes(workers) as mapping:
            prepare_text(
                corpus,
                target,
                "bpe",
                vocabulary=300,
                column="body",
                on_progress=lambda *done: told.append(done),
                mapping=mapping,
            )
        return target.read_bytes()

    assert written(1) == written(2)
    half = len(told) // 2
    assert told[:half] == told[half:]
    assert told[-1][0] == len(embedded_documents())


@pytest.mark.slow
def test_an_interruption_ends_the_processes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def documents() -> Iterator[str]:
        yield from embedded_documents()
        assert multiprocessing.active_children()
        raise KeyboardInterrupt

    monkeypatch.setattr("dynamoe_search.data.encoder._BATCH", 20_000)
    with pytest.raises(KeyboardInterrupt), map_in_processes(2) as mapping:
        write_token_file(
            tmp_path / "corpus.tokens", documents(), ByteTokenizer(), Split(0), mapping=mapping
        )
    assert not multiprocessing.active_children()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_what_cannot_be_prepared_leaves_nothing(corpus: Path, name: str) -> None:
    target = corpus.with_name("corpus.tokens")
    with pytest.raises(InvalidInput, match=r"columns are body \(string\)"):
        prepare_text(corpus, target, name)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="does not exist"):
        prepare_text(corpus.with_name("missing.txt"), target, name)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="unknown tokenizer 'gpt2'; choose from byte, bpe"):
        prepare_text(corpus, target, "gpt2", column="body")  # type: ignore[arg-type]
    assert list(corpus.parent.iterdir()) == [corpus]


@pytest.mark.parametrize("count", [3, 15])
@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_a_few_documents_fill_every_part(tmp_path: Path, count: int, name: str) -> None:
    documents = embedded_documents()[:count]
    source, target = tmp_path / "corpus.jsonl.gz", tmp_path / "corpus.tokens"
    lines = "\n".join(json.dumps({"body": text}) for text in [*documents, *documents])
    source.write_bytes(gzip.compress(lines.encode()))
    for seed in range(3):
        header = prepare_text(source, target, name, 300, column="body", seed=seed)  # type: ignore[arg-type]
        found = texts(open_token_file(target))
        split = choose_split(documents, seed)
        for place, part in enumerate(SPLITS):
            wanted = [text for text in documents if split.place(text) == place]
            assert wanted
            assert found[part] == wanted * 2
        if name == "bpe":
            assert header.tokenizer == train_byte_pairs(found["train"], 300)


def test_too_few_documents_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a short text")
    with pytest.raises(InvalidInput, match=r"need three different documents, .* has 1; give"):
        prepare_text(tmp_path / "one.txt", tmp_path / "corpus.tokens")
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]


def test_names_of_any_length_get_a_sentence(corpus: Path) -> None:
    longest = corpus.with_name("x" * 248 + ".tokens")
    prepare_text(corpus, longest, column="body")
    assert open_token_file(longest).header.train.documents > 1
    for name in ("x" * 249 + ".tokens", "x" * 5000):
        with pytest.raises(InvalidInput, match="cannot be a file or folder: File name too long"):
            prepare_text(corpus, corpus.with_name(name), column="body")


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
@pytest.mark.parametrize("name", ["byte", "bpe"])
@pytest.mark.parametrize(
    "source", ["tinyshakespeare.txt", "wikitext-2/test.txt", "wikitext-2/test.parquet"]
)
def test_the_real_files(tmp_path: Path, source: str, name: str) -> None:
    path = Path(os.environ[DIRECTORY_VARIABLE]) / "text" / source
    header = prepare_text(path, tmp_path / "corpus.tokens", name)  # type: ignore[arg-type]
    found = texts(open_token_file(tmp_path / "corpus.tokens"))
    assert Counter(chain(*found.values())) == Counter(read_documents(path))
    assert header.tokenizer.vocabulary == {"byte": 257, "bpe": 4096}[name]
