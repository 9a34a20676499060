"""What it takes to tell two schedules apart, now and in version 0.1, side by side in one run.

For each study the named patterns are trained on the same seeds, by this code and by that of an
earlier commit, each on one core. The cost of a decision is the variance of the paired difference of
two schedules for one seed, times the CPU seconds of one seed: half of it, half as long for the same
answer. The earlier code is taken from this repository's history, and trains one seed at a time, by
its own recipe and with its own initial weights. The two take turns, so that both see the same
machine; what was trained is kept in a table, and the same command goes on.

    python -m benchmarks.decisiveness digits --out decisiveness.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.earlier import BEFORE, ROOT, package_at, run_driver, shipped_study
from dynamoe_search.statistics.power import paired_variance

PATTERNS = ("uniform", "descending", "ascending", "pyramid", "wave")
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
                np.array(
                    [
                        paired_variance(losses),
                        *(paired_variance(losses[places]) for places in drawn),
                    ]
                )
                * seconds
            )
            row |= {
                f"{version} loss": losses.mean(),
                f"{version} paired deviation": np.sqrt(paired_variance(losses)),
                f"{version} seconds": seconds,
                f"{version} seeds": len(losses),
            }
        if len(costs) == 2:
            ratios = costs["before"] / costs["now"]
            row["times less"] = ratios[0]
            row["low"], row["high"] = np.quantile(ratios[1:], [0.025, 0.975])
        rows.append(row)
    return pd.DataFrame(rows)


def train_missing(
    name: str, versions: dict[str, tuple[Path, dict[str, Any]]], arguments: argparse.Namespace
) -> None:
    """Train what the table does not have yet: a block of seeds by either version, in turn."""
    out: Path = arguments.out
    size = versions["now"][1]["training"].get("seeds", 4)
    for first in range(0, arguments.seeds, size):
        for version, (code, study) in versions.items():
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
            asked = {
                "study": study,
                "seeds": list(range(first, first + size)),
                "patterns": PATTERNS,
                "at_once": version == "now",
                "data_dir": arguments.data_dir and str(arguments.data_dir.absolute()),
            }
            rows = pd.DataFrame(run_driver(code, DRIVER, asked))
            rows.assign(study=name, version=version).to_csv(
                out, mode="a", header=not out.exists(), index=False
            )
        print(compare(pd.read_csv(out)).T.to_string(header=False), flush=True)


def main() -> None:
    """Train what the table does not have yet, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", nargs="+", help="studies by name, such as digits")
    parser.add_argument("--out", type=Path, default=Path("decisiveness.csv"))
    parser.add_argument("--seeds", type=int, default=16, help="of each version")
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    with package_at(arguments.before) as earlier:
        for name in arguments.study:
            before, now = shipped_study(earlier, name), shipped_study(ROOT, name)
            train_missing(name, {"before": (earlier, before), "now": (ROOT, now)}, arguments)


if __name__ == "__main__":
    main()
