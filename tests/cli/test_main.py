"""How the command line begins and ends; what holds for every command."""

import os
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dynamoe_search as ds
from dynamoe_search.cli import main
from dynamoe_search.cli.app import app
from tests.cli.calls import dynamoe_search, error_of, output_of

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("plan", "run", "worker", "leaderboard", "report", "dashboard", "fidelity", "confirm"),
    *("ladder", "compare-samplers", "bench", "claims", "analyze", "bounds"),
    *("model", "init", "export", "import", "routing", "sensitivity"),
    *("schedule show", "schedule list", "schedule enumerate"),
    *("data list", "data download", "data prepare"),
)


def test_help_and_version() -> None:
    assert "Under a fixed budget" in output_of("--help")
    assert output_of("--version").strip() == ds.__version__
    assert "Usage" in dynamoe_search().output


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert f"dynamoe-search {command} " in output_of(*command.split(), "--help")


def test_no_command_is_missing_here() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    for name, group in groups.items():
        names |= {f"{name} {command.name}" for command in group.registered_commands}
    assert {name.replace("_", "-") for name in names} == set(COMMANDS)


@pytest.mark.slow
def test_the_script_and_the_module_are_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pkgutil.resolve_name(project["scripts"]["dynamoe-search"]) is main
    command = [sys.executable, "-m", "dynamoe_search", "schedule", "show", "8--2"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == error_of("schedule", "show", "8--2")


def test_help_is_quick_because_it_loads_no_torch() -> None:
    code = (
        "import sys; import dynamoe_search.cli.app;"
        "print([m for m in ('torch', 'optuna', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("way", ["option", "environment"])
def test_debug_shows_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    command = ["leaderboard", tmp_path]
    message = error_of(*command)
    if way == "environment":
        monkeypatch.setenv("DYNAMOE_DEBUG", "1")
    else:
        command.insert(0, "--debug")
    failed = dynamoe_search(*command)
    assert failed.status == 2
    assert failed.errors.startswith("Traceback")
    assert failed.errors.endswith(message)


def test_debug_belongs_before_the_command(tmp_path: Path) -> None:
    assert "No such option: --debug" in error_of("run", tmp_path, "--debug")


def test_an_error_of_the_code_names_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("[1/0]")

    monkeypatch.setattr("dynamoe_search.cli.study.open_study", fail)
    expected = "error: [1/0] (ZeroDivisionError; dynamoe-search --debug ... shows the traceback)\n"
    ended = dynamoe_search("leaderboard", tmp_path)
    assert (ended.status, ended.errors) == (1, expected)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["schedule show wave", "schedule list", "bounds", "run --help"])
def test_what_a_terminal_cannot_show_is_replaced(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dynamoe_search", *command.split()],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.isascii()


@pytest.mark.slow
def test_closed_streams_take_anything(tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    show = f"{sys.executable} -m dynamoe_search schedule show"
    done = subprocess.run(["sh", "-c", f"{show} wave --plot {plot} <&- >&- 2>&-"])
    assert done.returncode == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert subprocess.run(["sh", "-c", f"{show} 8--2 2>&-"]).returncode == 2
