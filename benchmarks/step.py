"""How fast whole training steps are: the share of the machine's matrix rate, now and in 0.1.

For the shipped studies, on one core: the CPU seconds of a step per seed (data, forward, backward,
optimizer) one seed at a time by the earlier code, one at a time now, and by the block; and which
share of the rate of a large matrix product the counted FLOPs of the chosen experts reach. The
versions take turns in rounds, with the batches of today; ratios are within a round, with the 95 %
interval of their mean.

    python -m benchmarks.step digits text-tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.earlier import BEFORE, ROOT, package_at, run_driver, shipped_study

# Run with the code of either version.
DRIVER = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
import torch
from dynamoe_search.budgets import training_flops
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.training.evaluation import tokens_per_sample
from dynamoe_search.training.loop import Interrupted, train

asked = json.loads(sys.stdin.read())
torch.set_num_threads(1)
study = StudyFile.model_validate_json(json.dumps(asked["study"]))
data = load_study_data(study, asked["data_dir"] and Path(asked["data_dir"]))
plan, at_once = make_plan(study, data), asked["at_once"]
settings = replace(study.training, evaluations=1)
network = plan.network_with(plan.baselines["uniform"])
active = study.active if study.budget.regime == "compute" else study.router.k

def seconds_of(steps):
    left = [steps]
    def stop():
        left[0] -= 1
        return left[0] < 0
    begin = time.process_time()
    try:
        train(network, data, settings, list(range(at_once)) if at_once else 0, should_stop=stop)
    except Interrupted:
        pass
    return time.process_time() - begin

def rate():
    left, right = torch.randn(2, 1024, 1024).unbind()
    begin = time.process_time()
    for _ in range(5):
        left @ right
    return 5 * 2 * 1024**3 / (time.process_time() - begin)

seconds_of(3), rate()
steps, seeds = asked["steps"], max(1, at_once)
seconds = (seconds_of(2 * steps) - seconds_of(steps)) / steps / seeds
tokens = settings.batch * tokens_per_sample(data.train)
flops = training_flops(network, tokens, [float(active)] * study.model.depth)
print(json.dumps({"seconds": seconds, "flops": flops, "rate": rate()}))
"""


def main() -> None:
    """Time all versions in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", nargs="+", help="studies by name, such as digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 4, 16], help="at once")
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    directory = arguments.data_dir and str(arguments.data_dir.absolute())
    rows = []
    with package_at(arguments.before) as earlier:
        for name in arguments.study:
            before, now = shipped_study(earlier, name), shipped_study(ROOT, name)
            before["training"]["batch"] = now["training"]["batch"]  # steps of equal work
            versions = {"0.1": (earlier, before, 0)}
            versions |= {f"{seeds} at once": (ROOT, now, seeds) for seeds in arguments.seeds}
            for number in range(arguments.rounds):
                for version, (code, study, seeds) in versions.items():
                    asked = {"study": study, "at_once": seeds, "data_dir": directory}
                    (row,) = run_driver(code, DRIVER, {**asked, "steps": arguments.steps})
                    rows.append({"study": name, "version": version, "round": number, **row})
            print(summary(pd.DataFrame(rows)).to_string(index=False), flush=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per study and version: milliseconds, share of the rate, and times as fast as 0.1."""
    rows = []
    for (study, version), own in table.groupby(["study", "version"], sort=False):
        seconds = own.set_index("round")["seconds"]
        of_before = table[(table["study"] == study) & (table["version"] == "0.1")]
        ratios = np.log(of_before.set_index("round")["seconds"] / seconds)
        width = stats.t.ppf(0.975, len(ratios) - 1) * ratios.sem() if len(ratios) > 1 else np.nan
        rows.append(
            {
                "study": study,
                "version": version,
                "ms per step and seed": 1e3 * seconds.mean(),
                "share of the matrix rate": (own["flops"] / own["seconds"] / own["rate"]).mean(),
                "times as fast": np.exp(ratios.mean()),
                "low": np.exp(ratios.mean() - width),
                "high": np.exp(ratios.mean() + width),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
