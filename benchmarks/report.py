"""How long the report of a study takes, by the number of its training runs.

python -m benchmarks.report                    several minutes
python -m benchmarks.report --runs 500         the aim

Studies of made-up results, for the digits study's plan, on SQLite: four seeds a run. Each report is
made by the command line in a fresh process, on one thread. CPU time is shown, too, as others may
use the same core. The aim: under 3 s for 500 runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.log_reading import STUDY, batched, history
from dynamoe_search.log.storage import open_log
from dynamoe_search.study import Study

COMMAND = [sys.executable, "-m", "dynamoe_search", "report"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Make the studies and their reports, and print the table."""
    parser = argparse.ArgumentParser(description="How long reports take.")
    parser.add_argument("--runs", type=int, nargs="+", default=[120, 500, 5_000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("training runs", "s, least", "s, most", "CPU s, least", "MB of HTML")
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as folder:
            search = dict(STUDY["search"], runs=runs)
            study = Study.create(folder, STUDY | {"search": search})
            with open_log(study.storage, create=True) as log:
                for events in batched(history(study.plan, runs), 1_000):
                    log.append(*events)
            times, spent = [], []
            for _ in range(arguments.repeats):
                start, before = time.perf_counter(), _cpu_of_commands()
                subprocess.run(
                    [*COMMAND, folder],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    env=os.environ | ONE_THREAD,
                )
                times.append(time.perf_counter() - start)
                spent.append(_cpu_of_commands() - before)
            size = (Path(folder) / "report.html").stat().st_size / 1e6
        seconds = [min(times), max(times), min(spent)]
        table.add_row(f"{runs:,}", *(f"{one:.1f}" for one in seconds), f"{size:.1f}")
    Console(width=80).print(table)


def _cpu_of_commands() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
