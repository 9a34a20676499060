import hashlib
import json
import signal
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.data.registry import list_data
from dynamoe_search.data.split import SPLITS, Split
from dynamoe_search.data.token_file import TokenFile, open_token_file, write_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer, Tokenizer, train_byte_pairs
from dynamoe_search.errors import InvalidInput
from tests.data.files import texts

DOCUMENTS = [f"document {number}, " * (number % 5 + 1) for number in range(60)]
PAIRS = train_byte_pairs(DOCUMENTS, vocabulary=270)
SPLIT = Split(seed=0)
BOTH = pytest.mark.parametrize("tokenizer", [ByteTokenizer(), PAIRS], ids=["byte", "bpe"])


@pytest.mark.slow
@BOTH
@given(extra=st.lists(st.text(), max_size=20), seed=st.integers(0, 3))
def test_documents_come_back_each_in_its_split(
    tokenizer: Tokenizer, extra: list[str], seed: int
) -> None:
    documents = DOCUMENTS + extra
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.tokens"
        split = Split(seed)
        header = write_token_file(path, documents, tokenizer, split)
        file = open_token_file(path)
        found = texts(file)
    assert file.header == header
    assert header.tokenizer == tokenizer
    for place, (name, counts) in enumerate(zip(SPLITS, header.splits, strict=True)):
        wanted = [document for document in documents if split.place(document) == place]
        assert found[name] == wanted
        assert counts.documents == len(wanted)
        assert counts.tokens == len(getattr(file, name))
        assert counts.bytes == len("".join(wanted).encode())


def test_equal_documents_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "corpus.tokens"
    write_token_file(path, DOCUMENTS + DOCUMENTS[::-1], ByteTokenizer(), SPLIT)
    found = texts(open_token_file(path))
    assert all(set(Counter(found[split]).values()) == {2} for split in SPLITS)
    assert sum(len(set(found[split])) for split in SPLITS) == len(set(DOCUMENTS))


def test_the_same_text_gives_the_same_file(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    header = write_token_file(first, DOCUMENTS, ByteTokenizer(), SPLIT)
    assert write_token_file(again, iter(DOCUMENTS), ByteTokenizer(), SPLIT) == header
    assert first.read_bytes() == again.read_bytes()
    fingerprints = {
        header.fingerprint,
        write_token_file(other, DOCUMENTS, ByteTokenizer(), Split(seed=1)).fingerprint,
        write_token_file(other, DOCUMENTS, PAIRS, SPLIT).fingerprint,
        write_token_file(other, DOCUMENTS[:-1], ByteTokenizer(), SPLIT).fingerprint,
    }
    assert len(fingerprints) == 4


def test_equal_tokens_otherwise_read_or_split_are_not_the_same(tmp_path: Path) -> None:
    header = write_token_file(tmp_path / "corpus.tokens", DOCUMENTS, PAIRS, SPLIT)
    train, test = (
        counts.model_copy(update={"tokens": counts.tokens + moved})
        for counts, moved in ((header.train, -1), (header.test, 1))
    )
    fingerprints = {
        header.fingerprint,
        header.model_copy(update={"tokenizer": ByteTokenizer()}).fingerprint,
        header.model_copy(update={"train": train, "test": test}).fingerprint,
    }
    assert len(fingerprints) == 3


def test_tokens_are_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "corpus.tokens"
    header = write_token_file(path, DOCUMENTS, ByteTokenizer(), SPLIT)
    file = open_token_file(path)
    mapped = file.train
    while not isinstance(mapped, np.memmap):
        assert isinstance(mapped.base, np.ndarray), "a copy, not a map"
        mapped = mapped.base
    assert not file.test.flags.writeable
    size = 2 * sum(counts.tokens for counts in header.splits)
    assert (path.stat().st_size - size) % 64 == 0
    assert path.read_bytes()[-size : -size + 2 * len(file.train)] == file.train.tobytes()


def test_progress_is_reported_after_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamoe_search.data.encoder._BATCH", 1)
    told: list[tuple[int, int]] = []
    write_token_file(
        tmp_path / "corpus.tokens",
        DOCUMENTS,
        ByteTokenizer(),
        SPLIT,
        on_progress=lambda documents, size: told.append((documents, size)),
    )
    assert [documents for documents, _ in told] == list(range(1, len(DOCUMENTS) + 1))
    assert told[-1][1] == len("".join(DOCUMENTS))


def test_too_few_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none of 3 documents .* split; .* prepare it again"):
        write_token_file(tmp_path / "corpus.tokens", DOCUMENTS[:3], ByteTokenizer(), SPLIT)
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_could_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.tokens"
    size = len(write_token_file(path, DOCUMENTS, PAIRS, SPLIT).model_dump_json())
    path.unlink()
    monkeypatch.setattr("dynamoe_search.data.token_file._LARGEST_HEADER", size - 64)
    with pytest.raises(InvalidInput, match=r"at most .* for them; choose a smaller vocabulary"):
        write_token_file(path, DOCUMENTS, PAIRS, SPLIT)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "folder" / "corpus.tokens"
    write_token_file(path, DOCUMENTS, ByteTokenizer(), SPLIT)
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "corpus.tokens"
    with pytest.raises(InvalidInput, match=f"{path} cannot be written: .*file"):
        write_token_file(path, DOCUMENTS, ByteTokenizer(), SPLIT)


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    def documents() -> Iterator[str]:
        for number in range(1200):
            yield f"{number:05} " * 5000

    path = tmp_path / "corpus.tokens"
    tracemalloc.start()
    try:
        header = write_token_file(path, documents(), ByteTokenizer(), SPLIT)
        open_token_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(counts.bytes for counts in header.splits) == 36_000_000
    assert peak < 12_000_000


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("moment", ["reading", "writing", "renaming"])
def test_an_interruption_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException], moment: str
) -> None:
    def interrupt(*_: object) -> None:
        assert list_data(tmp_path)["name"].tolist()[-2:] == ["topics", "old.tokens"]
        raise interruption

    def documents() -> Iterator[str]:
        yield from DOCUMENTS
        if moment == "reading":
            interrupt()

    old = tmp_path / "old.tokens"
    write_token_file(old, DOCUMENTS, ByteTokenizer(), SPLIT)
    before = old.read_bytes()
    if moment == "writing":
        monkeypatch.setattr("shutil.copyfileobj", interrupt)
    if moment == "renaming":
        monkeypatch.setattr(Path, "replace", interrupt)
    for path in (old, tmp_path / "new.tokens"):
        with pytest.raises(interruption):
            write_token_file(path, documents(), PAIRS, SPLIT)
        assert list(tmp_path.iterdir()) == [old]
        assert old.read_bytes() == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["reading", "writing"])
def test_a_killed_preparation_leaves_no_token_file(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "corpus.tokens"
    program = f"""
import os, pathlib, shutil, signal
from dynamoe_search.data.split import Split
from dynamoe_search.data.token_file import write_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def documents():
    for number in range(100):
        yield f"document {{number}}" * 10_000
    if {moment!r} == "reading":
        kill()

shutil.copyfileobj = kill
write_token_file(pathlib.Path({str(path)!r}), documents(), ByteTokenizer(), Split(seed=0))
"""
    process = subprocess.run([sys.executable, "-c", program], check=False)
    assert process.returncode == -signal.SIGKILL
    for leftover in tmp_path.iterdir():
        assert moment == "writing"
        assert leftover.match(".*.part.corpus.tokens")
        with pytest.raises(InvalidInput):
            open_token_file(leftover)
    write_token_file(path, DOCUMENTS, ByteTokenizer(), SPLIT)
    assert open_token_file(path).header.train.documents > 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("intact") / "corpus.tokens"
    write_token_file(path, DOCUMENTS, PAIRS, SPLIT)
    return path.read_bytes()


def opened(content: bytes) -> TokenFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.tokens"
        path.write_bytes(content)
        return open_token_file(path)


def rebuilt(intact: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The file with another header and a checksum that fits it, as an attacker would make it."""
    length = struct.unpack_from("<I", intact, 12)[0]
    header = json.loads(intact[48 : 48 + length])
    changed = change(header)
    content = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    prefix = intact[:12] + struct.pack("<I", len(content)) + hashlib.sha256(content).digest()
    return prefix + content + intact[48 + length :]


def test_the_rebuilt_file_is_good_when_nothing_is_changed(intact: bytes) -> None:
    assert texts(opened(rebuilt(intact, lambda header: None)))["train"]


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data())
def test_every_flipped_bit_is_noticed(intact: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(intact) - 1))
    content = bytearray(intact)
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidInput, match="prepare the text again"):
        opened(bytes(content))


@given(data=st.data())
def test_every_wrong_length_is_noticed(intact: bytes, data: st.DataObject) -> None:
    shorter = intact[: data.draw(st.integers(0, len(intact) - 1))]
    longer = intact + data.draw(st.binary(min_size=1))
    for content in (shorter, longer):
        with pytest.raises(InvalidInput, match="prepare the text again"):
            opened(content)


def flip_token(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: b"", "is not a token file"),
        (lambda good: b"PAR1" + good, "is not a token file"),
        (lambda good: good[:40], "ends before its header"),
        (lambda good: good[:8] + b"\x02" + good[9:], "has version 2 of the format, not 1"),
        (
            lambda good: good[:12] + b"\xff" * 4 + good[16:],
            "an impossible header of 4,294,967,295 bytes",
        ),
        (lambda good: good[:100], "ends inside its header"),
        (lambda good: good[:60] + b"~" + good[61:], "a header that does not match its checksum"),
        (lambda good: good[:-2], r"has [\d,]+ bytes, but its header states"),
        (lambda good: good + b"\x00", r"has [\d,]+ bytes, but its header states"),
        (flip_token, "has tokens that do not match their checksum"),
    ],
)
def test_each_damage_is_named(
    intact: bytes, damage: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        opened(damage(intact))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: b"{", "not valid"),
        (lambda header: b"[" * 100_000, "not valid"),
        (lambda header: b"\xff\xfe", "not valid"),
        (lambda header: header.pop("train"), r"not valid \(train: "),
        (lambda header: header.update(pickle="cos\nsystem"), r"not valid \(pickle: "),
        (lambda header: header["test"].update(tokens=0), r"not valid \(test.tokens: "),
        (lambda header: header["test"].update(tokens=-5), r"not valid \(test.tokens: "),
        (lambda header: header["test"].update(tokens="9"), r"not valid \(test.tokens: "),
        (lambda header: header["test"].update(tokens=10**15), "bytes, but its header states"),
        (lambda header: header["test"].update(tokens=10**30), r"not valid \(test.tokens: "),
        (lambda header: header["test"].update(bytes=10**400), r"not valid \(test.bytes: "),
        (lambda header: header.update(seed=10**400), r"not valid \(seed: "),
        (lambda header: b'{"seed": ' + b"9" * 5000 + b"}", "not valid"),
        (lambda header: header.update({"x" * 10**6: 1}), r"not valid \(x{64}\.\.\. \(1,000,000 ch"),
        pytest.param(
            lambda header: header["tokenizer"]["merges"].extend([["a", "a"]] * 2**18),
            r"not valid \(tokenizer.bpe.merges: .*at most 262144 items",
            marks=pytest.mark.slow,
        ),
        (lambda header: header["tokenizer"].update(name="gpt2"), r"not valid \(tokenizer"),
        (lambda header: header["tokenizer"]["merges"].insert(0, ["ab", "c"]), "merge 0 joins"),
        (lambda header: header["tokenizer"]["merges"].insert(0, ["a"]), "not valid"),
        (lambda header: header.update(checksum="0" * 64), "do not match their checksum"),
        (lambda header: header.update(checksum="../x"), r"not valid \(checksum: "),
        # A smaller vocabulary, which the tokens go beyond.
        (
            lambda header: header["tokenizer"]["merges"].pop(),
            "token 269, but a vocabulary of 269",
        ),
    ],
)
def test_forged_headers_are_refused(
    intact: bytes, change: Callable[[dict[str, object]], object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        opened(rebuilt(intact, change))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.tokens", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            open_token_file(path)
