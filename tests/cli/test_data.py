"""``data list``, ``download`` and ``prepare``."""

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from dynamoe_search.data.token_file import open_token_file
from dynamoe_search.study import Study
from dynamoe_search.training.checkpoint import load_model, read_about
from tests.cli.calls import error_of, output_of
from tests.conftest import edit
from tests.data.files import pack


def test_data_is_listed(tmp_path: Path) -> None:
    listed = output_of("data", "list", "--data-dir", tmp_path)
    for fact in ("digits", "embedded", "cifar10"):
        assert fact in listed


def test_names_of_files_are_never_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamoe_search.cli.data.console", Console(width=40))
    assert "…" not in output_of("data", "list", "--data-dir", tmp_path)


@pytest.mark.slow
def test_text_is_prepared_listed_and_trained_on(small_study: Path) -> None:
    folder = small_study.parent
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(60):
        (corpus / f"{number:02d}.txt").write_text(f"{number} experts route {number} tokens. " * 20)
    said = output_of("data", "prepare", corpus, folder / "corpus.tokens")
    assert f"wrote {folder / 'corpus.tokens'}" in said
    assert "corpus.tokens" in output_of("data", "list", "--data-dir", folder)
    edit(
        small_study,
        ('"digits"', '"corpus.tokens"'),
        ("hidden = 8", "hidden = 8\nheads = 2\ncontext = 32"),
        ("runs = 14", "runs = 2\nkeep_models = true"),
    )
    assert "bits/byte" in output_of("run", small_study, "--data-dir", folder, "--workers", 1)
    board = pd.read_parquet(folder / "leaderboard.parquet")
    assert board["bits_per_byte"].between(0, 8).all()
    for row in Study(folder).training_runs().itertuples():
        path = folder / "models" / f"search-{row.run:05d}-{row.seed}.safetensors"
        model = load_model(path)
        assert read_about(path)["candidate"] == str(model.specification.blocks.schedule)


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_json_lines_are_prepared_by_their_field(tmp_path: Path, packing: str) -> None:
    lines = "".join(f'{{"id": {k}, "body": "document {k}"}}\n' for k in range(15))
    source = tmp_path / f"corpus.jsonl{packing}"
    source.write_bytes(pack(lines.encode(), packing))
    target = tmp_path / "corpus.tokens"
    assert "id, body; name the field of the text with --column" in " ".join(
        error_of("data", "prepare", source, target).split()
    )
    output_of("data", "prepare", source, target, "--column", "body")
    header = open_token_file(target).header
    assert sum(counts.documents for counts in header.splits) == 15
    assert sum(counts.bytes for counts in header.splits) == sum(
        len(f"document {k}") for k in range(15)
    )


def test_a_format_can_be_said(tmp_path: Path) -> None:
    source, target = tmp_path / "corpus.txt", tmp_path / "corpus.tokens"
    source.write_text("".join(f'{{"text": "document {k}"}}\n\n' for k in range(2000)))
    assert "looks like JSON" in error_of("data", "prepare", source, target)
    output_of("data", "prepare", source, target, "--format", "text")
    assert sum(counts.bytes for counts in open_token_file(target).header.splits) == len(
        source.read_text()
    )
    output_of("data", "prepare", source, target, "--format", "jsonl")
    assert sum(counts.documents for counts in open_token_file(target).header.splits) == 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "absent.txt", "out.tokens"), "absent.txt"),
        (("prepare", "absent.txt", "out.bin"), "must end in .tokens"),
        (("prepare", "x" * 5000, "out.tokens"), "File name too long"),
        (("prepare", "absent.txt", "x" * 5000 + ".tokens"), "File name too long"),
        (("prepare", "absent.txt", "out.tokens", "--seed", 10**30), "must be from 0 to"),
        (("prepare", "absent.txt", "out.tokens", "--vocabulary", "9" * 5000), "--vocabulary"),
        (("list", "--data-dir", "x" * 5000), "File name too long"),
        (("download", "mnist"), "--data-dir or DYNAMOE_DATA"),
        (("download", "digits", "--data-dir", "."), "digits"),
        (("download", "minst", "--data-dir", "."), "mnist"),
    ],
)
def test_mistakes_are_told(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of("data", *arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_passed_over_in_a_folder_is_said(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for name in ("a.txt", "b.txt", "c.txt", ".git/d.txt", "__MACOSX/._a.txt", "figure.png"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(f"the document {name}")
    said = output_of("data", "prepare", corpus, tmp_path / "corpus.tokens")
    assert "passed over 3 files that are hidden or of another format: .git/d.txt" in said
