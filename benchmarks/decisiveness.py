"""What it takes to tell two schedules apart, now and in version 0.1, side by side in one run.

For each study the named patterns are trained on the same seeds, by this code and by that of an
earlier commit, each on one core. The cost of a decision is the variance of the paired difference of
two schedules for one seed, times the CPU seconds of one seed: half of it, half as long for the same
answer. The earlier code is taken from this repository's history, and trains one seed at a time, by
its own recipe and with its own initial weights. The two take turns, so that both see the same
machine; what was trained is kept in a table, and the same command goes on.

    python benchmarks/decisiveness.py digits --out decisiveness.csv
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BEFORE = "564ddfd"  # the last commit of the recipe, the initial weights and the loop of 0.1
ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("uniform", "descending", "ascending", "pyramid", "wave")
NEW_KEYS = ("seeds", "recipe", "warmup", "final_rate", "clip", "average")
RESAMPLES = 2000

# Run with the code of either version: trains some patterns on some seeds, and prints a line each.
DRIVER = """
import json, sys, time
from pathlib import Path
import torch
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.training.loop import train

asked = json.loads(sys.stdin.read())
torch.set_num_threads(1)
study = StudyFile.model_validate_json(json.dumps(asked["study"]))
data = load_study_data(study, asked["data_dir"] and Path(asked["data_dir"]))
plan, seeds = make_plan(study, data), asked["seeds"]
for pattern in asked["patterns"]:
    network, begin = plan.network_with(plan.baselines[pattern]), time.process_time()
    if asked["at_once"]:
        results = train(network, data, study.training, seeds).of_seeds
    else:
        results = [train(network, data, study.training, seed) for seed in seeds]
    losses = [one.validation.loss for one in results]
    seconds = (time.process_time() - begin) / len(seeds)
    for seed, loss in zip(seeds, losses):
        print(json.dumps({"pattern": pattern, "seed": seed, "loss": loss, "seconds": seconds}))
"""


def train_block(
    code: Path, study: dict[str, Any], seeds: list[int], at_once: bool, data_dir: Path | None
) -> pd.DataFrame:
    """Train every pattern on some seeds with the code in a folder; a row per pattern and seed."""
    asked = {
        "study": study,
        "seeds": seeds,
        "patterns": PATTERNS,
        "at_once": at_once,
        "data_dir": None if data_dir is None else str(data_dir.absolute()),
    }
    found = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        cwd=code,
        env={"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    if found.returncode:
        raise SystemExit(found.stderr)
    return pd.DataFrame([json.loads(line) for line in found.stdout.splitlines()])


def interaction(losses: NDArray[np.float64]) -> float:
    """The variance of the paired difference of two columns, pooled over all pairs."""
    seeds, candidates = losses.shape
    rest = losses - losses.mean(axis=0) - losses.mean(axis=1, keepdims=True) + losses.mean()
    return float(2 * (rest**2).sum() / ((seeds - 1) * (candidates - 1)))


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """A row per study: deviations, seconds, losses, and how many times less a decision costs.

    The 95 % interval is by the bootstrap over seeds, of both versions independently.
    """
    generator = np.random.default_rng(0)
    rows = []
    for study, own in table.groupby("study", sort=False):
        row: dict[str, Any] = {"study": study}
        costs = {}
        for version, part in own.groupby("version"):
            losses = part.pivot(index="seed", columns="pattern", values="loss").to_numpy()
            seconds = part["seconds"].mean()
            drawn = generator.integers(len(losses), size=(RESAMPLES, len(losses)))
            costs[version] = (
                np.array([interaction(losses), *(interaction(losses[places]) for places in drawn)])
                * seconds
            )
            row |= {
                f"{version} loss": losses.mean(),
                f"{version} paired deviation": np.sqrt(interaction(losses)),
                f"{version} seconds": seconds,
                f"{version} seeds": len(losses),
            }
        if len(costs) == 2:
            ratios = costs["before"] / costs["now"]
            row["times less"] = ratios[0]
            row["low"], row["high"] = np.quantile(ratios[1:], [0.025, 0.975])
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Train what the table does not have yet, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", nargs="+", help="studies by name, such as digits")
    parser.add_argument("--out", type=Path, default=Path("decisiveness.csv"))
    parser.add_argument("--seeds", type=int, default=16, help="of each version")
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", arguments.before, "dynamoe_search"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        for name in arguments.study:
            content = tomllib.loads((ROOT / "studies" / name / "study.toml").read_text("utf-8"))
            training, size = content["training"], content["training"].get("seeds", 4)
            content["search"]["sampler"] = "tpe"  # which both versions know
            content["search"].pop("margin", None)
            own = {key: value for key, value in training.items() if key not in NEW_KEYS}
            before = content | {"training": own}
            for first in range(0, arguments.seeds, size):
                seeds = list(range(first, first + size))
                for version, code, study in (
                    ("before", Path(folder), before),
                    ("now", ROOT, content),
                ):
                    out = arguments.out
                    known = pd.read_csv(out) if out.exists() else pd.DataFrame()
                    if (
                        len(known)
                        and (
                            (known["study"] == name)
                            & (known["version"] == version)
                            & (known["seed"] == first)
                        ).any()
                    ):
                        continue
                    rows = train_block(code, study, seeds, version == "now", arguments.data_dir)
                    rows.assign(study=name, version=version).to_csv(
                        out, mode="a", header=not out.exists(), index=False
                    )
                print(compare(pd.read_csv(out)).T.to_string(header=False), flush=True)


if __name__ == "__main__":
    main()
