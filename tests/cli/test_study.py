"""``run``, ``worker`` and ``leaderboard``."""

import shutil
import signal
import string
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.cli.study import print_failures
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.study import Study
from tests.cli.calls import dynamoe_search, error_of, output_of
from tests.conftest import SMALL_STUDY, edit
from tests.processes import Command, wait_for
from tests.processes import output_of as output_of_process
from tests.report import made_up

ONE_EPOCH = ("epochs = 2", "epochs = 1")


def copy_of(folder: Path, target: Path, *changes: tuple[str, str]) -> Path:
    """A copy of a study that a test may change."""
    shutil.copytree(folder, target)
    edit(target / "study.toml", *changes)
    return target


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study that the command has run, and what it said."""
    path = tmp_path_factory.mktemp("trained") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, ("runs = 14", "runs = 10"))
    return path.parent, output_of("run", path, "--workers", 2)


@pytest.mark.slow
def test_run_says_what_it_does_and_what_it_has_found(trained: tuple[Path, str]) -> None:
    folder, said = trained
    assert "12 experts; every candidate has" in said
    assert "Take " in said
    assert f"candidates: {folder / 'leaderboard.csv'}" in said
    # The log is one file, which can be copied.
    assert sorted(path.name for path in folder.glob("study.db*")) == ["study.db"]
    runs = Study(folder).training_runs()
    assert runs["state"].eq("complete").sum() == 10
    board = pd.read_parquet(folder / "leaderboard.parquet")
    pd.testing.assert_frame_equal(board, Study(folder).leaderboard(), check_dtype=False)
    read = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)
    assert read["candidate"].tolist() == board["candidate"].tolist()


@pytest.mark.slow
def test_leaderboard_shows_and_writes_what_run_has_found(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    folder, said = trained
    files = {kind: tmp_path / f"board.{kind}" for kind in ("csv", "parquet", "png")}
    options = ("--csv", files["csv"], "--parquet", files["parquet"], "--plot", files["png"])
    shown = output_of("leaderboard", folder, *options)
    assert "descending" in shown
    best = next(line for line in said.splitlines() if line.startswith("Take "))
    assert best in shown
    assert files["csv"].read_bytes() == (folder / "leaderboard.csv").read_bytes()
    written = (pd.read_parquet(path) for path in (files["parquet"], folder / "leaderboard.parquet"))
    pd.testing.assert_frame_equal(*written)
    assert files["png"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rows_are_limited_but_named_schedules_are_shown(finished: Path) -> None:
    shown = output_of("leaderboard", finished, "--rows", 1)
    board = Study(finished).leaderboard()
    named = board[board["pattern"] != ""]
    assert all(candidate in shown for candidate in named["candidate"])
    unnamed = board[(board["pattern"] == "") & (board["rank"] > 1)]
    assert len(unnamed) > 0
    assert not any(candidate in shown for candidate in unnamed["candidate"])


@pytest.mark.slow
def test_a_finished_study_is_not_trained_further(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamoe_search.run.session.run_locally", None)
    folder = copy_of(finished, tmp_path / "copy")
    assert "Take descending (5-4-2-1): its expected" in output_of("run", folder)
    assert len(pd.read_csv(folder / "leaderboard.csv")) == len(Study(finished).leaderboard())


def test_a_changed_study_file_is_gone_on_with_only_on_request(
    finished: Path, tmp_path: Path
) -> None:
    folder = copy_of(finished, tmp_path / "copy", ONE_EPOCH)
    error = error_of("run", folder)
    assert "training.epochs: was 2, is 1" in error
    assert "--allow-changes" in error
    shown = output_of("run", folder, "--allow-changes")
    assert "The study file was changed after 14 training runs" in shown


@pytest.mark.slow
def test_runs_that_all_fail_are_told_and_end_in_status_1(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 2"), ("learning_rate = 5e-3", "learning_rate = 1e20"))
    ended = dynamoe_search("run", small_study, "--workers", 1)
    assert ended.status == 1
    first, second, last = ended.errors.splitlines()
    assert first.startswith("run 0 (5-4-2-1) diverged: ")
    assert second.startswith("run 1 (1-2-4-5) diverged: ")
    assert last == "error: no training run was completed; the reasons are above"
    assert not (small_study.parent / "leaderboard.csv").exists()


def test_a_study_is_run_by_one_command_at_a_time(finished: Path) -> None:
    with open_log(Study(finished).storage, create=False) as log, log.exclusive("run", 0.0):
        error = error_of("run", finished, status=1)
    assert "another command is working on this study" in error


@pytest.mark.slow
def test_a_run_whose_output_nobody_reads_goes_on(small_study: Path, tmp_path: Path) -> None:
    edit(small_study, ONE_EPOCH, ("runs = 14", "runs = 2"))
    errors = tmp_path / "errors"
    command = f"{sys.executable} -m dynamoe_search run {small_study} 2>{errors} | head -n 1"
    script = f"{command}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (ended.returncode, errors.read_text()) == (0, "")
    assert len(ended.stdout.splitlines()) == 1
    assert Study(small_study).training_runs()["state"].tolist() == ["complete"] * 2
    assert len(pd.read_csv(tmp_path / "leaderboard.csv")) == 2


@pytest.mark.slow
def test_trackers_are_told_once_and_do_not_change_what_is_said(
    small_study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    made_up.search(small_study)
    said = output_of("run", small_study)
    track = ("--track", f"tensorboard:{tmp_path / 'tracked'}")
    for _ in range(2):
        assert output_of("run", small_study, *track) == said
        assert len(list(tmp_path.glob("tracked/*/search/run*/seed*/*tfevents*"))) == 14
        assert len(list(tmp_path.glob("tracked/*/search/decision/*tfevents*"))) == 1
    assert "give one of these" in error_of("run", small_study, "--track", "wandb:x")


@pytest.mark.slow
def test_an_interrupted_run_goes_on(small_study: Path, command: Command) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5"))
    process = command("run", small_study, "--workers", 1)
    wait_for(lambda: running(Study(small_study)))
    process.send_signal(signal.SIGINT)
    said = output_of_process(process, status=130)
    assert said.endswith("Interrupted; the same command goes on.\n")
    edit(small_study, ("runs = 14", "runs = 2"))
    assert "Interrupted" not in output_of("run", small_study, "--workers", 1)
    assert Study(small_study).training_runs()["state"].eq("complete").sum() == 2


def running(study: Study) -> bool:
    with suppress(InvalidInput):
        return bool((study.training_runs()["state"] == "running").any())
    return False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "nowhere"), "--device nowhere cannot be used"),
        (("--run-cpus", "2"), "belong to --engine ray"),
        (("--address", "auto"), "belong to --engine ray"),
        (("--engine", "ray", "--workers", "2"), "--workers is for local processes"),
        (
            ("--storage", "mysql://somewhere"),
            "--storage (or DYNAMOE_STORAGE) is no address of a log",
        ),
        (("--name", "a/b"), "'a/b' cannot be the name of a study"),
        (("--name", ""), "'' cannot be the name of a study"),
        (("--workers", "0"), "Invalid value for '--workers'"),
    ],
)
def test_options_of_run_that_cannot_be(
    small_study: Path, options: tuple[str], message: str
) -> None:
    assert message in error_of("run", small_study, *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "Missing argument 'STUDY'"),
        (("run", "nowhere.toml"), "nowhere.toml does not exist"),
        (("leaderboard", "."), "does not exist; name a study file"),
        (("leaderboard", "begun"), "begun holds no results yet; begin with: dynamoe-search run"),
        (("worker",), "Missing option '--storage'"),
    ],
)
def test_a_study_that_is_not_there(
    small_study: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str], message: str
) -> None:
    folder = small_study.parent / "begun"
    folder.mkdir()
    small_study.rename(folder / "study.toml")
    monkeypatch.chdir(small_study.parent)
    assert message in error_of(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--csv", "--parquet", "--plot"])
def test_what_cannot_be_written_is_told(finished: Path, option: str) -> None:
    path = finished / "no" / "such.png"
    assert f"{path} cannot be written" in error_of("leaderboard", finished, option, path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_worker_joins_a_study_that_is_kept_elsewhere(
    small_study: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("runs = 14", "runs = 8"), ONE_EPOCH)
    folder = tmp_path / "digits-search"
    folder.mkdir()
    small_study.rename(folder / "study.toml")
    url = f"{kind}:///{tmp_path / 'log'}"
    assert "holds no study; begin one with" in error_of("worker", "--storage", url)
    output_of("run", folder, "--workers", 1, "--storage", url)
    assert not (folder / "study.db").exists()
    assert "Nothing is left to train" in output_of("worker", "--storage", url, "--workers", 1)
    edit(folder / "study.toml", ("runs = 8", "runs = 9"))
    monkeypatch.setenv("DYNAMOE_STORAGE", url)
    output_of("run", folder, "--workers", 1)
    assert "Take " in output_of("leaderboard", folder)
    assert Study.at(url).training_runs()["state"].tolist() == ["complete"] * 9
    assert "there are: digits-search" in error_of("leaderboard", folder, "--name", "other")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil-dynamoe"])
def test_a_worker_makes_no_folder_where_the_records_tell_it_to(
    small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    edit(small_study, ("runs = 14", "runs = 14\nkeep_models = true"))
    made_up.begin(small_study)
    storage = Study(small_study).storage
    with open_log(storage, create=False) as log:
        events = [event for _, event in log.read()]
    elsewhere = Storage("jsonl", name, tmp_path / "log")
    with open_log(elsewhere, create=True) as log:
        log.append(*events)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    error = error_of("worker", "--storage", f"jsonl:///{tmp_path / 'log'}", "--workers", 1)
    assert "cannot be the name of a study" in error
    assert list(home.iterdir()) == []
    assert not (home / name).exists()


@pytest.mark.slow
def test_a_study_in_a_folder_of_every_printable_character(tmp_path: Path) -> None:
    strange = "".join(sorted(set(string.printable) - set("/"))) + "ä漢"
    folders = [tmp_path / f"parent {strange}" / name for name in ("better?", "better? (v2)")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "study.toml").write_text(SMALL_STUDY)
        edit(folder / "study.toml", ("runs = 14", "runs = 1"), ONE_EPOCH)
        output_of("run", folder, "--workers", 1)
        output_of("report", folder)
        kept = {path.name for path in folder.iterdir() if path.name[0] != "."}
        assert kept == {
            *("study.toml", "study.db", "leaderboard.csv", "leaderboard.parquet", "report.html")
        }
        assert len(Study(folder).training_runs()) == 1
    assert sorted(folders[0].parent.iterdir()) == sorted(folders)
    assert list(tmp_path.iterdir()) == [folders[0].parent]


@pytest.mark.slow
def test_a_worker_trains(small_study: Path, tmp_path: Path) -> None:
    """What an interrupted command leaves, a worker alone can do."""
    edit(small_study, ("runs = 14", "runs = 2"), ONE_EPOCH)
    url = f"sqlite:///{tmp_path / 'log'}"
    output_of("run", small_study, "--storage", url, "--name", "two", "--workers", 1)
    edit(small_study, ("runs = 2", "runs = 3"))
    study = Study(small_study, url, "two")
    with pytest.raises(KeyboardInterrupt):
        study.run(workers=1, progress=False, on_start=interrupt)
    said = output_of("worker", "--storage", url, "--name", "two", "--workers", 1)
    assert "Nothing is left to train" in said
    assert study.training_runs()["state"].tolist() == ["complete"] * 3


def interrupt(plan: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_another_name_leaves_the_first_study_as_it_was(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 2\nkeep_models = true"), ONE_EPOCH)
    folder = small_study.parent
    output_of("run", folder, "--workers", 1)
    before = {p: p.read_bytes() for p in (*folder.glob("models/*"), *folder.glob("*.csv"))}
    assert len(before) == 3
    edit(small_study, ("epochs = 1", "epochs = 2"))
    output_of("run", folder, "--workers", 1, "--name", "two")
    assert {p: p.read_bytes() for p in before} == before
    assert len(list(folder.glob("two/models/*"))) == 2
    assert (folder / "two" / "leaderboard.csv").exists()


@pytest.mark.slow
def test_several_objectives_give_a_front(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 10"),
        ONE_EPOCH,
        (
            '"blend"',
            '"blend"\nobjectives = ["loss", "gradient_noise"]\n'
            'constraints = ["utilization_entropy >= 0.1"]\nalso.k = [1, 2]',
        ),
    )
    folder = small_study.parent
    said = output_of("run", folder, "--workers", 2)
    assert "on the Pareto front of validation loss and gradient noise scale" in said
    output_of("leaderboard", folder, "--plot", folder / "p.png")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    front = pd.read_parquet(folder / "leaderboard.parquet")
    assert front["on_front"].any()
    assert front["candidate"].str.contains(" k=").all()


def test_only_runs_that_failed_for_good_are_complained_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts = [
        (0, "2-1", 0, "died"),
        (1, "2-1", 0, "interrupted"),
        (2, "2-1", 0, "died"),
        (3, "1-2", 0, "died"),  # its block was trained in the end
        (4, "1-2", 0, "died"),
        (5, "1-2", 0, "complete"),
        (6, "1-2", 1, "died"),  # once: it is tried again
        (7, "3-0", 0, "diverged"),
        (8, "2-2", 0, "running"),
    ]
    rows = [one for one in attempts for _ in range(2)]  # a row for each seed
    runs = pd.DataFrame(rows, columns=["run", "candidate", "block", "state"])
    print_failures(runs.assign(message="[made up]").astype({"block": "Int64"}))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("2-1, block 0: 2 workers died in this run; something killed them")
    assert second == "run 7 (3-0) diverged: [made up]"
