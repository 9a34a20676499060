"""How long the commands take that need no torch, over importing pandas and scipy.stats.

python benchmarks/imports.py               a few minutes
python benchmarks/imports.py --rounds 5    a quick look

Every command runs in a fresh process, all of them once per round, in an order that changes from
round to round. The ratios are paired by round; intervals are Student's, of their logarithms. The
machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from dynamoe_search.statistics import Noise, half_width

STUDY = """\
seed = 0
[data]
name = "digits"
[model]
depth = 4
width = 16
hidden = 16
[budget]
experts = 16
[training]
epochs = 1
[search]
sampler = "random"
runs = 20
blocks = 2
"""
COMMAND = str(Path(sys.executable).with_name("dynamoe-search"))
REFERENCE = "import pandas, scipy.stats"


def commands(study: Path) -> dict[str, list[str]]:
    """What is timed, by title; the reference first."""
    board = "import dynamoe_search as ds; ds.Study({!r}).leaderboard()"
    return {
        REFERENCE: [sys.executable, "-c", REFERENCE],
        board.format("STUDY"): [sys.executable, "-c", board.format(str(study))],
        "dynamoe-search schedule list": [COMMAND, "schedule", "list"],
        "dynamoe-search bounds": [COMMAND, "bounds"],
        "dynamoe-search leaderboard STUDY": [COMMAND, "leaderboard", str(study)],
    }


def seconds(command: list[str]) -> float:
    """The wall time of a command in a fresh process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def timed(study: Path, rounds: int) -> dict[str, list[float]]:
    """The wall times of every command, one per round; the first round only warms up."""
    shuffled = list(commands(study).items())
    times: dict[str, list[float]] = {title: [] for title, _ in shuffled}
    order = random.Random(0)
    for _ in range(rounds + 1):
        order.shuffle(shuffled)
        for title, command in shuffled:
            times[title].append(seconds(command))
    return {title: of_command[1:] for title, of_command in times.items()}


def ratio(times: list[float], reference: list[float]) -> str:
    """The geometric mean of the ratios, with its 95 % interval."""
    logs = [math.log(own / other) for own, other in zip(times, reference, strict=True)]
    width = float(half_width(Noise(stdev(logs), len(logs) - 1), len(logs)))
    low, middle, high = (math.exp(mean(logs) + shift) for shift in (-width, 0, width))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Make a small study, time all commands, and print the table."""
    parser = argparse.ArgumentParser(description="How long commands take that need no torch.")
    parser.add_argument("--rounds", type=int, default=20, help="at least 2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder)
        (study / "study.toml").write_text(STUDY)
        subprocess.run([COMMAND, "run", folder], check=True, stdout=subprocess.DEVNULL)
        times = timed(study, arguments.rounds)
    table = Table("in a fresh process", "seconds", "times the first (95 %)")
    for title, of_command in times.items():
        table.add_row(title, f"{mean(of_command):.2f}", ratio(of_command, times[REFERENCE]))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
