"""What a search takes besides its trainings, and what a second worker gains.

python benchmarks/search_overhead.py               forty minutes on two cores
python benchmarks/search_overhead.py --runs 30   a quick look, where the start weighs more

One study of short trainings, as the command line runs it: on SQLite and on a journal file, with
one worker and with two, the latter several times: chance has it whether both end together, or one
waits for the other's last training. The parts are of the workers' time, which is their number
times the wall time of the whole command. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from dynamoe_search.claims.units import load_runs
from dynamoe_search.statistics.intervals import Noise, half_width

STUDY = """\
seed = 0
[data]
name = "digits"
[model]
depth = 8
width = 32
hidden = 64
[budget]
experts = 32
minimum = 2
[router]
name = "top_k"
k = 2
[training]
epochs = {epochs}
[search]
family = "blend"
sampler = "tpe"
runs = {runs}
blocks = 4
"""
COMMAND = Path(sys.executable).with_name("dynamoe-search")
WORKERS = (1, 2)
PARTS = ("training", "evaluation", "start", "deciding", "recording", "end")


@dataclass(frozen=True)
class Run:
    """A run of the study: its wall time, and the seconds of its workers that each part took."""

    workers: int
    trainings: int
    wall: float
    parts: dict[str, float]

    def share(self, *parts: str) -> float:
        """What some parts took of the workers' time."""
        return sum(self.parts[part] for part in parts) / (self.workers * self.wall)


def epochs_of(seconds: float) -> int:
    """How many epochs make a training take so long, evaluations included, with two workers."""
    epochs = 10
    trained = run("sqlite", max(WORKERS), runs=16, epochs=epochs)
    of_epochs, of_evaluations = (trained.parts[part] / trained.trainings for part in PARTS[:2])
    return max(1, round(epochs * (seconds - of_evaluations) / of_epochs))


def run(storage: str, workers: int, runs: int, epochs: int) -> Run:
    """Run the study from beginning to end."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY.format(epochs=epochs, runs=runs))
        options = {"sqlite": [], "journal": ["--storage", f"journal:///{folder}/study.journal"]}
        command = [str(COMMAND), "run", folder, "--workers", str(workers), *options[storage]]
        begun, start = datetime.now(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, ended = time.perf_counter() - start, datetime.now()
        done = load_runs(Path(folder), *options[storage][1:])
    done = done[done["state"] == "complete"]
    parts = {part: float(done[f"{part}_seconds"].sum()) for part in PARTS[:2] + PARTS[3:4]}
    by_worker = done.groupby("worker")
    parts["start"] = (by_worker["started"].min() - begun).dt.total_seconds().sum()
    parts["end"] = (ended - by_worker["finished"].max()).dt.total_seconds().sum()
    parts["recording"] = workers * wall - sum(parts.values())
    return Run(workers, len(done), wall, parts)


def row(storage: str, done: list[Run], alone: float) -> list[str]:
    """A line of the table: the means of runs of one kind."""
    trained = [(one.parts["training"] + one.parts["evaluation"]) / one.trainings for one in done]
    return [
        storage,
        str(done[0].workers),
        str(len(done)),
        f"{mean(trained):.2f}",
        f"{alone / mean(one.wall for one in done):.2f}x",
        with_interval([100 * one.share(*PARTS[2:]) for one in done]),
        *(f"{100 * mean(one.share(part) for one in done):.2f}" for part in PARTS[2:]),
    ]


def with_interval(values: list[float]) -> str:
    """The mean, with its 95 % interval where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    noise = Noise(stdev(values), degrees=len(values) - 1)
    return f"{mean(values):.2f} ± {half_width(noise, len(values)):.2f}"


def main() -> None:
    """Run the study in every way, and print the table."""
    parser = argparse.ArgumentParser(description="What a search takes besides its trainings.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a training")
    parser.add_argument("--runs", type=int, default=3, help="with two workers, of each storage")
    arguments = parser.parse_args()
    epochs = epochs_of(arguments.seconds)
    console = Console(width=110)
    console.print(f"{arguments.runs} trainings of {epochs} epochs; parts in %, ± 95 %")
    table = Table("records", "workers", "runs", "a training, s", "speed", "outside", *PARTS[2:])
    for storage in ("sqlite", "journal"):
        alone = 0.0
        for workers, runs in zip(WORKERS, (1, arguments.runs), strict=True):
            done = []
            for _ in range(runs):
                last = run(storage, workers, arguments.runs, epochs)
                outside = f"{last.share(*PARTS[2:]):.2%} outside"
                console.print(f"{storage}, workers: {workers}, {last.wall:.1f} s, {outside}")
                done.append(last)
            alone = alone or done[0].wall
            table.add_row(*row(storage, done, alone))
    console.print(table)


if __name__ == "__main__":
    main()
