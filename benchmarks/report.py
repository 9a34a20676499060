"""How long the report of a study takes, by the number of its training runs.

python -m benchmarks.report                    several minutes
python -m benchmarks.report --runs 120 1000    a quick look

Studies of made-up results, for the digits study's plan, on SQLite. Each report is made by the
command line in a fresh process, on one thread. The aim: under 5 s for 120 runs, 15 s for 1,000, and
40 s for 5,000.
"""

from __future__ import annotations

import argparse
import os
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
    parser.add_argument("--runs", type=int, nargs="+", default=[120, 1_000, 5_000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("training runs", "s, least", "s, most", "MB of HTML")
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as folder:
            search = dict(STUDY["search"], runs=runs)
            study = Study.create(folder, STUDY | {"search": search})
            with open_log(study.storage, create=True) as log:
                for events in batched(history(study.plan, runs), 1_000):
                    log.append(*events)
            times = []
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                subprocess.run(
                    [*COMMAND, folder],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    env=os.environ | ONE_THREAD,
                )
                times.append(time.perf_counter() - start)
            size = (Path(folder) / "report.html").stat().st_size / 1e6
        table.add_row(f"{runs:,}", f"{min(times):.1f}", f"{max(times):.1f}", f"{size:.1f}")
    Console(width=80).print(table)


if __name__ == "__main__":
    main()
