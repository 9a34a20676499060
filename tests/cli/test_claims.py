"""``claims`` from end to end, on tiny studies of real digits."""

import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.claims.studies import DENSE_LAYERS, PAPER, write
from tests.cli.calls import error_of, output_of
from tests.processes import Command, wait_for
from tests.processes import output_of as output_of_process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "digits-dense-layers", *DENSE_LAYERS)
    write(tmp_path, "digits-paper", *PAPER)
    return tmp_path


@pytest.mark.slow
def test_claims_are_trained_for_and_judged_by_their_tables(folder: Path) -> None:
    page = folder / "README.md"
    assert output_of("claims", folder) == f"wrote {page}\n"
    assert "2 not run yet" in page.read_text()
    assert not (folder / "effects.png").exists()

    said = output_of("claims", folder, "--run", "--most-seeds", 4, "--only", "digits-paper")
    assert "digits, paper, from seed 1; 4 questions are open: descending" in said
    assert "from seed 5" not in said
    runs = pd.read_parquet(folder / "digits-paper" / "runs.parquet")
    assert runs.groupby("baseline")["place"].agg(list).to_dict() == {
        name: [0, 1, 2, 3] for name in ("descending", "uniform")
    }
    assert runs["test_loss"].notna().all()
    assert runs.groupby("place")["seed"].nunique().eq(1).all()

    said = output_of("claims", folder, "--run", "--most-seeds", 4)
    assert "digits, paper, from" not in said
    assert "digits, dense layers, compute, from seed 1; 4 questions are open: late" in said
    text = page.read_text()
    assert "not run yet" not in text.split("## How it was judged")[0]
    assert "| digits, paper | 4 | 8 | 0 |" in text
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG")

    # The tables are enough.
    page.unlink()
    assert "from seed" not in output_of("claims", folder, "--run", "--most-seeds", 4)
    assert page.read_text() == text


@pytest.mark.slow
def test_an_interrupted_command_goes_on(folder: Path, command: Command) -> None:
    options = ("--run", "--most-seeds", 8, "--only", "digits-dense-layers")
    process = command("claims", folder, *options)
    table = folder / "digits-dense-layers" / "runs.parquet"
    wait_for(table.exists)
    process.send_signal(signal.SIGINT)
    said = output_of_process(process, status=130)
    assert said.endswith("Interrupted; the same command goes on.\n")
    kept = pd.read_parquet(table)
    output_of("claims", folder, *options)
    whole = pd.read_parquet(table)
    pd.testing.assert_frame_equal(whole.head(len(kept)), kept)
    assert whole["baseline"].value_counts().to_dict() == dict.fromkeys(
        ("late", "early", "first layer dense", "uniform"), 8
    )


def test_mistakes_are_told(folder: Path) -> None:
    error = error_of("claims", folder, "--run", "--only", "digits")
    assert "--only goes with --run, and is one of digits-dense-layers, digits-paper" in error
    assert "--only goes with --run" in error_of("claims", folder, "--only", "digits-paper")
    assert "has no folder with a study.toml" in error_of("claims", folder / "digits-paper")
    (folder / "digits-paper" / "runs.parquet").write_text("damaged")
    assert "is no parquet file that can be read" in error_of("claims", folder)
