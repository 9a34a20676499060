"""What a search takes besides its training runs, and what a second worker gains.

python benchmarks/search_overhead.py                          forty minutes on two cores
python benchmarks/search_overhead.py --runs 30 --repeats 2    a quick look: the start weighs more

One study of short training runs with a margin at which it is never decided, as the command line
runs it: on SQLite and on JSON lines, with one worker and with two, the latter several times, as it
is chance whether both end together, or one waits for the other's last run. The parts are of the
workers' time, which is their number times the wall time of the whole command. The aim: under 4 %
outside of training and evaluation, for 200 runs of two seconds. The machine should have nothing
else to do.
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

from dynamoe_search.statistics.intervals import Noise, half_width
from dynamoe_search.study import Study

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
sampler = "{sampler}"
runs = {runs}
margin = 1e-6
"""
COMMAND = [sys.executable, "-m", "dynamoe_search", "run"]
STORAGES = ("sqlite", "jsonl")
WORKERS = (1, 2)
PARTS = ("training", "evaluation", "start", "deciding", "log", "end")


@dataclass(frozen=True)
class Search:
    """A whole search: its wall time, and the seconds of its workers that each part took."""

    workers: int
    runs: int
    wall: float
    parts: dict[str, float]

    def share(self, *parts: str) -> float:
        """What some parts took of the workers' time."""
        return sum(self.parts[part] for part in parts) / (self.workers * self.wall)


def epochs_of(seconds: float, sampler: str) -> int:
    """How many epochs make a run take so long, evaluations included, with two workers."""
    epochs = 10
    done = search("sqlite", max(WORKERS), 16, epochs, sampler)
    of_epochs, of_evaluations = (done.parts[part] / done.runs for part in PARTS[:2])
    return max(1, round(epochs * (seconds - of_evaluations) / of_epochs))


def search(kind: str, workers: int, runs: int, epochs: int, sampler: str) -> Search:
    """Run the study from beginning to end."""
    with tempfile.TemporaryDirectory() as folder:
        study = STUDY.format(epochs=epochs, runs=runs, sampler=sampler)
        (Path(folder) / "study.toml").write_text(study)
        storage = f"{kind}:///{folder}/log"
        options = ["--workers", str(workers), "--storage", storage]
        begun, start = datetime.now(), time.perf_counter()
        subprocess.run([*COMMAND, folder, *options], check=True, stdout=subprocess.DEVNULL)
        wall, ended = time.perf_counter() - start, datetime.now()
        done = Study(folder, storage).training_runs()
    done = done[done["state"] == "complete"].sort_values("started")
    parts = {part: float(done[f"{part}_seconds"].sum()) for part in PARTS[:2] + PARTS[3:4]}
    first, last = done.groupby("worker").first(), done.groupby("worker")["finished"].max()
    until_first = (first["started"] - begun).dt.total_seconds() - first["deciding_seconds"]
    parts["start"] = float(until_first.sum())
    parts["end"] = float((ended - last).dt.total_seconds().sum())
    parts["log"] = workers * wall - sum(parts.values())
    return Search(workers, done["run"].nunique(), wall, parts)


def row(kind: str, done: list[Search], alone: float) -> list[str]:
    """A line of the table: the means of searches of one kind."""
    trained = [(one.parts["training"] + one.parts["evaluation"]) / one.runs for one in done]
    return [
        kind,
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
    parser = argparse.ArgumentParser(description="What a search takes besides its training runs.")
    parser.add_argument("--runs", type=int, default=200, help="training runs of a search")
    parser.add_argument("--sampler", default="posterior")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a training run")
    parser.add_argument("--repeats", type=int, default=3, help="with two workers, of each storage")
    arguments = parser.parse_args()
    epochs = epochs_of(arguments.seconds, arguments.sampler)
    console = Console(width=110)
    console.print(f"{arguments.runs} training runs of {epochs} epochs; parts in %, ± 95 %")
    table = Table("log", "workers", "searches", "a run, s", "speed", "outside", *PARTS[2:])
    for kind in STORAGES:
        alone = 0.0
        for workers, repeats in zip(WORKERS, (1, arguments.repeats), strict=True):
            done = []
            for _ in range(repeats):
                done.append(search(kind, workers, arguments.runs, epochs, arguments.sampler))
                outside = f"{done[-1].share(*PARTS[2:]):.2%} outside"
                console.print(f"{kind}, workers: {workers}, {done[-1].wall:.1f} s, {outside}")
            alone = alone or done[0].wall
            table.add_row(*row(kind, done, alone))
    console.print(table)


if __name__ == "__main__":
    main()
