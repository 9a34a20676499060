"""Every command that only reads works on a study in a folder that cannot be written."""

import os
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from dynamoe_search.cli.app import Settings, app
from tests.conftest import edit
from tests.processes import another_process
from tests.run.processes import begin, carry_out

NOBODY = 65534


def answers(study: Path, out: Path) -> list[str]:
    """What each command says about a study."""
    out.mkdir(mode=0o777, exist_ok=True)
    said = []
    for command in (
        ["leaderboard", study, "--csv", out / "board.csv", "--plot", out / "board.png"],
        ["report", study, "--out", out / "report.html"],
        ["fidelity", study, "--csv", out / "fidelity.csv"],
        ["analyze", study, "--out", out / "analysis"],
        ["bounds", "--study", study, "--csv", out / "bounds.csv"],
    ):
        output = StringIO()
        with redirect_stdout(output):
            app([str(part) for part in command], obj=Settings(), standalone_mode=False)
        said.append(output.getvalue())
    return said


def read_as_nobody(writable: Path, read_only: Path, out: Path) -> None:
    answers(writable, out / "once")  # imports what nobody may not be able to read
    before = sorted(read_only.parent.iterdir())
    read_only.parent.chmod(0o555)
    if os.getuid() == 0:
        os.setresuid(NOBODY, NOBODY, 0)
    assert not os.access(read_only.parent, os.W_OK)
    answers(read_only, out / "again")
    assert sorted(read_only.parent.iterdir()) == before
    for name in ("board.csv", "board.png", "report.html", "analysis", "bounds.csv"):
        assert (out / "again" / name).exists()


@pytest.mark.slow
def test_a_study_in_a_folder_that_cannot_be_written(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 8"))
    begin(small_study)
    carry_out(small_study)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, out = Path(name) / "study", Path(name) / "out"
        folder.mkdir()
        out.mkdir()
        for path in (Path(name), out):
            path.chmod(0o777)
        for file in ("study.toml", "study.db"):
            (folder / file).write_bytes(small_study.with_name(file).read_bytes())
        with another_process(read_as_nobody, small_study, folder / "study.toml", out) as process:
            process.join(300)
            assert process.exitcode == 0
        folder.chmod(0o755)
