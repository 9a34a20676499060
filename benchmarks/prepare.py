"""How fast `data prepare` is: MB of input per second, and the ratio to one process.

python benchmarks/prepare.py SOURCE... --workers 1 2 --tokenizer byte bpe

The whole command is timed: starting, reading, encoding, checksum, and the file on the disk. The
numbers of processes take turns in rounds; times are the least of the rounds. All token files of a
source must be equal, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


def main() -> None:
    """Time all numbers of processes in turn, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", nargs="+", type=Path, help="files of 100 MB or so")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokenizer", nargs="+", default=["byte"], choices=["byte", "bpe"])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for source in asked.source:
        for tokenizer in asked.tokenizer:
            _compare(source, tokenizer, asked.workers, asked.rounds)


def _compare(source: Path, tokenizer: str, counts: list[int], rounds: int) -> None:
    found = [{count: _prepare(source, tokenizer, count) for count in counts} for _ in range(rounds)]
    assert len({one.digest for of_round in found for one in of_round.values()}) == 1
    size = source.stat().st_size / 1e6
    wall = {count: min(of_round[count].wall for of_round in found) for count in counts}
    for count in counts:
        cpu = min(of_round[count].cpu for of_round in found)
        print(
            f"{source.name:16} {tokenizer:4} {count:2} processes: {wall[count]:6.2f} s,"
            f" {size / wall[count]:6.1f} MB/s, {size / cpu:6.1f} MB per CPU second,"
            f" {wall[counts[0]] / wall[count]:5.2f} times as fast as {counts[0]}"
        )


@dataclass(frozen=True)
class Measured:
    """Seconds, CPU seconds of all processes, and the SHA-256 of what was written."""

    wall: float
    cpu: float
    digest: str


def _prepare(source: Path, tokenizer: str, workers: int) -> Measured:
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        target = Path(folder) / "corpus.tokens"
        command = [sys.executable, "-m", "dynamoe_search", "data", "prepare", str(source)]
        options = ["--tokenizer", tokenizer, "--workers", str(workers)]
        begin, used = time.perf_counter(), _cpu_of_children()
        subprocess.run([*command, str(target), *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Measured(seconds, _cpu_of_children() - used, digest)


def _cpu_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
