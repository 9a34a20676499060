import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search import cli
from dynamoe_search.cli.app import app
from dynamoe_search.cli.study import print_failures
from dynamoe_search.errors import InvalidInput
from dynamoe_search.run.confirm import load_confirmation
from dynamoe_search.training.checkpoint import load_model, read_about
from tests.conftest import edit


def dynamoe_search(*arguments: object) -> subprocess.CompletedProcess:
    script = Path(sys.executable).with_name("dynamoe-search")
    return subprocess.run(
        [script, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_run_and_leaderboard(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 10"))
    run = dynamoe_search("run", small_study, "--workers", 2)
    assert run.returncode == 0, run.stderr
    assert "12 experts; every candidate has" in run.stdout
    assert "Best schedule:" in run.stdout

    folder = small_study.parent
    # The records are one file, which can be copied.
    assert sorted(path.name for path in folder.glob("study.db*")) == ["study.db"]
    shown = dynamoe_search(
        "leaderboard",
        folder,
        "--csv",
        folder / "b.csv",
        "--parquet",
        folder / "b.parquet",
        "--plot",
        folder / "b.png",
    )
    assert shown.returncode == 0, shown.stderr
    assert "descending" in shown.stdout
    board = pd.read_parquet(folder / "b.parquet")
    assert board["blocks"].sum() == 10
    for name in ("leaderboard.csv", "b.csv"):
        read = pd.read_csv(folder / name, keep_default_na=False)
        assert read["schedule"].tolist() == board["schedule"].tolist()
    assert pd.read_parquet(folder / "leaderboard.parquet").equals(board)
    assert (folder / "b.png").read_bytes().startswith(b"\x89PNG")


def test_schedules_are_shown(tmp_path: Path) -> None:
    shown = dynamoe_search("schedule", "show", "8-6-4-2", "--plot", tmp_path / "s.png")
    assert "4 layers, 20 experts, 2 to 8 a layer" in shown.stdout
    assert (tmp_path / "s.png").exists()
    shown = dynamoe_search("schedule", "show", "descending", "-l", 4, "-e", 20)
    assert "descending: 8-6-4-2" in shown.stdout
    listed = dynamoe_search("schedule", "list", "--layers", 4, "--experts", 20)
    assert "8-6-4-2" in listed.stdout
    assert "uniform" in listed.stdout
    for fact in ("openelm", "1-4-6-9", "arXiv 2404.14619"):
        assert fact in listed.stdout
    shown = dynamoe_search("schedule", "show", "pr_moe", "-l", 4, "-e", 12)
    assert "pr_moe: 2-2-4-4" in shown.stdout
    found = dynamoe_search(
        "schedule", "enumerate", "-l", 4, "-e", 12, "--rows", 3, "--csv", tmp_path / "all.csv"
    )
    assert "165 schedules" in found.stdout
    assert "1-1-3-7" in found.stdout
    assert "and 162 more" in found.stdout
    assert len(pd.read_csv(tmp_path / "all.csv")) == 165


def test_data_is_listed(tmp_path: Path) -> None:
    listed = dynamoe_search("data", "list", "--data-dir", tmp_path)
    assert listed.returncode == 0
    assert "embedded" in listed.stdout
    assert "cifar10" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.toml"), "nowhere.toml does not exist"),
        (("leaderboard", "."), "does not exist; name a study file"),
        (("schedule", "show", "8--2"), "'8--2' is not a schedule"),
        (("schedule", "show", "decending"), "'decending' is neither a schedule"),
        (("schedule", "show", "wave", "--contrast", "1.5"), "contrast is 1.5"),
        (("schedule", "list", "--layers", "9", "--experts", "8"), "need a total of at least 9"),
        (("schedule", "enumerate", "-l", "2", "-e", "9", "--maximum", "4"), "at most 8, got 9"),
        (("schedule", "show", "4-2", "--plot", "no/such/folder.png"), "cannot be written"),
        (("schedule", "show", "4-2", "--plot", "plot.xyz"), "cannot be written"),
        (("run",), "Missing argument"),
    ],
)
def test_a_users_mistake_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = dynamoe_search(*arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.glob("*.xyz"))


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    failed = dynamoe_search("run", tmp_path / "nowhere.toml", "--debug")
    assert failed.returncode == 2
    assert "Traceback" in failed.stderr


def test_help_and_version() -> None:
    assert "Under a fixed budget" in dynamoe_search("--help").stdout
    for command in ("run", "leaderboard", "schedule", "data"):
        assert dynamoe_search(command, "--help").returncode == 0
    assert dynamoe_search("--version").stdout.strip() == "0.1.0"


def test_help_is_quick_because_it_loads_no_torch() -> None:
    code = (
        "import sys; import dynamoe_search.cli.app;"
        "print([m for m in ('torch', 'optuna', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("run", "nowhere"), True),
        (("--debug", "confirm", "nowhere"), True),
        (("run", "nowhere", "--engine", "ray"), False),
        (("run", "--help"), False),
        (("schedule", "show", "8-6"), False),
    ],
)
def test_workers_get_ready_before_anything_else(arguments: tuple[str], begins: bool) -> None:
    code = """
import sys
from dynamoe_search import cli
cli.worker_context = lambda: print("begun before typer:", "typer" not in sys.modules)
cli.main()
"""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert ("begun before typer: True" in done.stdout) == begins
    assert {command.callback.__name__ for command in app.registered_commands} >= cli.TRAINING


def test_it_ends_as_python_does(small_study: Path) -> None:
    ended = [dynamoe_search("leaderboard", small_study)]
    command = [sys.executable, "-m", "dynamoe_search", "leaderboard", str(small_study)]
    ended.append(subprocess.run(command, capture_output=True, text=True))
    assert [end.returncode for end in ended] == [2, 2]
    assert ended[0].stderr == ended[1].stderr
    code = """
import atexit, sys
from dynamoe_search import cli
atexit.register(print, "at exit")
sys.stdout.write("before ")
cli.main = lambda: sys.exit(3)
cli.script()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("before at exit\n", 3)


def test_text_is_prepared_listed_and_trained_on(small_study: Path) -> None:
    folder = small_study.parent
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(60):
        (corpus / f"{number:02d}.txt").write_text(f"{number} experts route {number} tokens. " * 20)
    prepared = dynamoe_search("data", "prepare", corpus, folder / "corpus.tokens")
    assert prepared.returncode == 0, prepared.stderr
    assert "wrote" in prepared.stdout
    listed = dynamoe_search("data", "list", "--data-dir", folder)
    assert "corpus.tokens" in listed.stdout
    edit(
        small_study,
        ('"digits"', '"corpus.tokens"'),
        ("hidden = 8", "hidden = 8\nheads = 2\ncontext = 32"),
        ("runs = 14", "runs = 2\nkeep_models = true"),
    )
    run = dynamoe_search("run", small_study, "--data-dir", folder, "--workers", 1)
    assert run.returncode == 0, run.stderr
    assert "bits/byte" in run.stdout
    board = pd.read_parquet(folder / "leaderboard.parquet")
    assert board["bits_per_byte"].between(0, 8).all()
    for run in (0, 1):
        path = folder / "models" / f"run-{run:05d}.safetensors"
        model = load_model(path)
        assert read_about(path)["candidate"] == str(model.specification.blocks.schedule)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "absent.txt", "out.tokens"), "absent.txt"),
        (("prepare", "absent.txt", "out.bin"), "must end in .tokens"),
        (("download", "mnist"), "--data-dir or DYNAMOE_DATA"),
        (("download", "digits", "--data-dir", "."), "digits"),
        (("download", "minst", "--data-dir", "."), "mnist"),
    ],
)
def test_mistakes_with_data_are_explained(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAMOE_DATA", raising=False)
    failed = dynamoe_search("data", *arguments)
    assert failed.returncode == 2, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())


def test_a_search_is_confirmed_and_its_early_looks_are_judged(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 10"),
        ("epochs = 2", "epochs = 1"),
        ('"random"', '"random"\npruner = "median"'),
    )
    folder = small_study.parent
    assert dynamoe_search("run", folder, "--workers", 2).returncode == 0
    confirmed = dynamoe_search(
        "confirm", folder, "--seeds", 2, "--margin", 0.02, "--plot", folder / "c.png"
    )
    assert confirmed.returncode == 0, confirmed.stderr
    assert "from 2 fresh seeds, measured on the test split of digits" in confirmed.stdout
    assert "Reference: " in confirmed.stdout
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_parquet(folder / "confirmation.parquet")
    assert len(table) >= 8  # the named schedules and the dense networks, but for the reference
    assert set(table["verdict"]) <= {"better", "worse", "equivalent", "undecided"}
    judged = dynamoe_search(
        "fidelity", folder, "--csv", folder / "f.csv", "--plot", folder / "f.png"
    )
    assert judged.returncode == 0, judged.stderr
    assert "of the training" in judged.stdout
    assert pd.read_csv(folder / "f.csv")["tau"].between(-1, 1).all()


def test_several_objectives_give_a_front(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 10"),
        ("epochs = 2", "epochs = 1"),
        (
            '"blend"',
            '"blend"\nobjectives = ["loss", "gradient_noise"]\n'
            'constraints = ["utilization_entropy >= 0.1"]\nalso.k = [1, 2]',
        ),
    )
    folder = small_study.parent
    run = dynamoe_search("run", folder, "--workers", 2)
    assert run.returncode == 0, run.stderr
    assert "on the Pareto front of validation loss and gradient noise scale" in run.stdout
    shown = dynamoe_search("leaderboard", folder, "--plot", folder / "p.png")
    assert shown.returncode == 0, shown.stderr
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    front = pd.read_parquet(folder / "leaderboard.parquet")
    assert front["on_front"].any()
    assert front["candidate"].str.contains(" k=").all()


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_worker_joins_a_study_that_is_kept_elsewhere(
    small_study: Path, tmp_path: Path, kind: str
) -> None:
    edit(small_study, ("runs = 14", "runs = 8"), ("epochs = 2", "epochs = 1"))
    folder = tmp_path / "digits-search"
    folder.mkdir()
    small_study.rename(folder / "study.toml")
    url = f"{kind}:///{tmp_path / 'records'}"
    nothing = dynamoe_search("worker", "--storage", url)
    assert nothing.returncode == 2
    assert "holds no study; begin one with" in nothing.stderr
    run = dynamoe_search("run", folder, "--workers", 1, "--storage", url)
    assert run.returncode == 0, run.stderr
    assert not (folder / "study.db").exists()
    joined = dynamoe_search("worker", "--storage", url, "--workers", 1)
    assert joined.returncode == 0, joined.stderr
    assert "Nothing is left to train" in joined.stdout
    edit(folder / "study.toml", ("runs = 8", "runs = 9"))
    assert dynamoe_search("run", folder, "--workers", 1, "--storage", url).returncode == 0
    shown = dynamoe_search("leaderboard", folder, "--storage", url)
    assert "Best schedule" in shown.stdout
    missing = dynamoe_search("leaderboard", folder, "--storage", url, "--name", "other")
    assert missing.returncode == 2
    assert "there are: digits-search" in missing.stderr


def test_an_interrupted_confirmation_goes_on(small_study: Path) -> None:
    # So long that a training is surely interrupted.
    edit(small_study, ("runs = 14", "runs = 7"), ("epochs = 2", "epochs = 40"))
    folder = small_study.parent
    assert dynamoe_search("run", folder, "--workers", 2).returncode == 0
    command = [sys.executable, "-m", "dynamoe_search", "confirm", str(folder), "--seeds", "2"]
    confirmation = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(InvalidInput):
            if (load_confirmation(folder)[0]["state"] == "running").any():
                break
        time.sleep(0.1)
    confirmation.terminate()
    output, _ = confirmation.communicate(timeout=60)
    assert confirmation.returncode == 130, output
    assert b"the same command goes on" in output
    again = dynamoe_search("confirm", folder, "--seeds", 2)
    assert again.returncode == 0, again.stderr
    assert "Reference: " in again.stdout
    assert "interrupted" in set(load_confirmation(folder)[0]["state"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "nowhere"), "--device nowhere is not to be had"),
        (("--run-cpus", "2"), "belong to --engine ray"),
        (("--engine", "ray", "--workers", "2"), "--workers is for local processes"),
    ],
)
def test_options_that_cannot_be(small_study: Path, options: tuple[str], message: str) -> None:
    refused = dynamoe_search("run", small_study, *options)
    assert refused.returncode == 2, refused.stdout
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_another_name_leaves_the_first_study_as_it_was(small_study: Path) -> None:
    edit(
        small_study,
        ("runs = 14", "runs = 2\nkeep_models = true"),
        ("epochs = 2", "epochs = 1"),
    )
    folder = small_study.parent
    assert dynamoe_search("run", folder, "--workers", 1).returncode == 0
    before = {p: p.read_bytes() for p in (*folder.glob("models/*"), *folder.glob("*.csv"))}
    assert len(before) == 3
    edit(small_study, ("epochs = 1", "epochs = 2"))
    assert dynamoe_search("run", folder, "--workers", 1, "--name", "two").returncode == 0
    assert {p: p.read_bytes() for p in before} == before
    assert len(list(folder.glob("two/models/*"))) == 2
    assert (folder / "two" / "leaderboard.csv").exists()


def test_garbage_is_looked_for_as_usual_once_all_is_imported() -> None:
    script = """
import gc, sys
usual = gc.get_threshold()
from dynamoe_search.cli import main
sys.argv = ["dynamoe-search", "schedule", "show", "8-6"]
try:
    main()
except SystemExit:
    pass
assert gc.get_threshold() > usual and not gc.get_freeze_count()
gc.collect()
assert gc.get_threshold() == usual and gc.get_freeze_count() > 10_000
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_only_trainings_that_died_for_good_are_complained_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        (0, "2-1", 0, "died"),
        (1, "2-1", 0, "interrupted"),
        (2, "2-1", 0, "died"),
        (3, "1-2", 0, "died"),  # its block was trained in the end
        (4, "1-2", 0, "died"),
        (5, "1-2", 0, "complete"),
        (6, "1-2", 1, "died"),  # once: it is tried again
        (7, "", None, "died"),
        (8, "3-0", 0, "diverged"),
    ]
    runs = pd.DataFrame(rows, columns=["run", "candidate", "block", "state"])
    print_failures(runs.assign(message="made up").astype({"block": "Int64"}))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("runs 0, 2 (2-1, block 0) died: something killed their workers")
    assert second == "run 8 (3-0) diverged: made up"
