"""What an append and an incremental read of the log cost in a long study, against a short one.

python benchmarks/log_reading.py

Logs of 100 and of 5,000 recorded events take turns, on SQLite and on JSON lines: both append the
two events of a training run, and read them. Times are medians. A ratio is the geometric mean of
those of neighboring measurements, long over short, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median, stdev

from rich.console import Console
from rich.table import Table

from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.statistics.intervals import Noise, half_width

SHORT, LONG = 100, 5_000
Pair = tuple[tuple[float, float], tuple[float, float]]
RESULT = {f"quantity_{number}": 1 / (number + 3) for number in range(60)}


def record(log: Log, run: int) -> None:
    """Append what a training run does: its start, and its result."""
    key = f"search 8-6-4-2 {run}"
    log.append(Event("started", {"worker": "machine-1-0a"}, f"started {key}"))
    log.append(Event("finished", RESULT, f"finished {key}"))


def measure(log: Log, run: int) -> tuple[float, float]:
    """Seconds that a training run takes to append, and that a reader takes to learn of it."""
    position = log.read()[-1][0]
    start = time.perf_counter()
    record(log, run)
    appended = time.perf_counter()
    new = log.read(position)
    end = time.perf_counter()
    assert len(new) == 2
    return appended - start, end - appended


def measure_both(kind: str, folder: Path, repeats: int) -> list[Pair]:
    """(append, read) of the short log and of the long one, which take turns in being first."""
    with ExitStack() as stack:
        logs = []
        for events in (SHORT, LONG):
            storage = Storage(kind, "study", folder / f"{kind} {events}")
            logs.append(stack.enter_context(open_log(storage, create=True)))
            logs[-1].append(*(Event("finished", RESULT, f"old {event}") for event in range(events)))
        pairs = []
        for run in range(repeats):
            order = (0, 1) if run % 2 else (1, 0)
            measured = {index: measure(logs[index], run) for index in order}
            pairs.append((measured[0], measured[1]))
        return pairs


def ratio(short: list[float], long: list[float]) -> str:
    """The geometric mean of the ratios, with its 95 % interval."""
    logarithms = [math.log(b / a) for a, b in zip(short, long, strict=True)]
    noise = Noise(stdev(logarithms), degrees=len(logarithms) - 1)
    middle, half = mean(logarithms), float(half_width(noise, len(logarithms)))
    low, high = math.exp(middle - half), math.exp(middle + half)
    return f"{math.exp(middle):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure both kinds of log, and print the table."""
    parser = argparse.ArgumentParser(description="What appends and incremental reads cost.")
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    table = Table("log", "action", f"ms, {SHORT} events", f"ms, {LONG:,} events", "ratio (95 %)")
    for kind in ("sqlite", "jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            pairs = measure_both(kind, Path(folder), arguments.repeats)
        for index, action in enumerate(("append", "read")):
            short, long = ([pair[log][index] for pair in pairs] for log in (0, 1))
            milliseconds = [f"{1e3 * median(times):.2f}" for times in (short, long)]
            table.add_row(kind, action, *milliseconds, ratio(short, long))
    Console().print(table)


if __name__ == "__main__":
    main()
