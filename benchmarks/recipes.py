"""Which recipe shows differences of schedules best: paired variance, loss and time.

Trains the named patterns of a study, as it was shipped with version 0.1, under recipes that are
given as changes of it, on the same seeds. For each recipe it prints the mean validation loss, the
standard deviation of the paired difference of two schedules for one seed, the CPU seconds of a
seed, and what it takes to decide: the variance times the seconds. It goes on where it was stopped;
every result is a row of the table.

    python -m benchmarks.recipes digits --out recipes.csv
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.earlier import BEFORE, package_at, shipped_study
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.statistics.power import paired_variance
from dynamoe_search.training.loop import NonFiniteLoss, train

PATTERNS = ("uniform", "descending", "ascending", "pyramid", "wave")
KEY = ["study", "recipe", "candidate", "seed"]
# Each is what a study file would say under [training]; the first is that of the source.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": dict(recipe="paper"),
    "cosine": {},
    "no clipping": dict(clip=0.0),
    "clip 0.3": dict(clip=0.3),
    "no warm-up": dict(warmup=0.0),
    "warm-up 0.3": dict(warmup=0.3),
    "final rate 0": dict(final_rate=0.0),
    "final rate 0.1": dict(final_rate=0.1),
    "rate x 2": dict(learning_rate=2.0),
    "rate x 4": dict(learning_rate=4.0),
    "rate / 2": dict(learning_rate=0.5),
    "average 0.2": dict(average=0.2),
    "average 0.5": dict(average=0.5),
    "average 0.5, rate x 2": dict(average=0.5, learning_rate=2.0),
    "rate x 3, average 0.7, final rate 0.3": dict(learning_rate=3.0, average=0.7, final_rate=0.3),
    "epochs x 2/3, rate x 3, average 0.7, final rate 0.3": dict(
        epochs=2 / 3, learning_rate=3.0, average=0.7, final_rate=0.3
    ),
    "batch x 2": dict(batch=2),
    "batch / 2": dict(batch=0.5),
    "decay 0.1": dict(weight_decay=0.1),
    "epochs x 2": dict(epochs=2.0),
    "epochs / 2": dict(epochs=0.5),
    "epochs / 2, rate x 4": dict(epochs=0.5, learning_rate=4.0),
    "epochs / 3, rate x 4": dict(epochs=1 / 3, learning_rate=4.0),
    "epochs / 3, rate x 8": dict(epochs=1 / 3, learning_rate=8.0),
    "epochs / 2, rate x 4, decay 1": dict(epochs=0.5, learning_rate=4.0, weight_decay=1.0),
    "epochs / 3, rate x 4, decay 1": dict(epochs=1 / 3, learning_rate=4.0, weight_decay=1.0),
    "epochs / 4, rate x 4, decay 1": dict(epochs=1 / 4, learning_rate=4.0, weight_decay=1.0),
    "epochs / 4, rate x 6, decay 1": dict(epochs=1 / 4, learning_rate=6.0, weight_decay=1.0),
    "epochs / 4, rate x 4, decay 2": dict(epochs=1 / 4, learning_rate=4.0, weight_decay=2.0),
    "epochs / 5, rate x 4": dict(epochs=1 / 5, learning_rate=4.0),
    "epochs / 5, rate x 6, decay 1": dict(epochs=1 / 5, learning_rate=6.0, weight_decay=1.0),
    "epochs / 5, rate x 8, decay 2": dict(epochs=1 / 5, learning_rate=8.0, weight_decay=2.0),
    "epochs / 4, rate x 4, decay 1, warm-up 0.3": dict(
        epochs=1 / 4, learning_rate=4.0, weight_decay=1.0, warmup=0.3
    ),
    "epochs / 4, rate x 4, decay 1, average 0.3": dict(
        epochs=1 / 4, learning_rate=4.0, weight_decay=1.0, average=0.3
    ),
    "epochs / 4, rate x 6, decay 0.3": dict(epochs=1 / 4, learning_rate=6.0, weight_decay=0.3),
    "epochs / 4, rate x 8, decay 1": dict(epochs=1 / 4, learning_rate=8.0, weight_decay=1.0),
    "epochs / 4, rate x 6": dict(epochs=1 / 4, learning_rate=6.0),
    "epochs / 4, rate x 6, batch / 2": dict(epochs=1 / 4, learning_rate=6.0, batch=0.5),
    "epochs / 5, rate x 8": dict(epochs=1 / 5, learning_rate=8.0),
    "epochs / 4, rate x 8, decay 1.5": dict(epochs=1 / 4, learning_rate=8.0, weight_decay=1.5),
    "epochs / 4, rate x 12, decay 1": dict(epochs=1 / 4, learning_rate=12.0, weight_decay=1.0),
    "epochs / 4, rate x 8, decay 1, average 0.3": dict(
        epochs=1 / 4, learning_rate=8.0, weight_decay=1.0, average=0.3
    ),
    "epochs / 4, rate x 8, decay 1, clip 0.3": dict(
        epochs=1 / 4, learning_rate=8.0, weight_decay=1.0, clip=0.3
    ),
    "epochs / 4, rate x 8, decay 1, final rate 0.1": dict(
        epochs=1 / 4, learning_rate=8.0, weight_decay=1.0, final_rate=0.1
    ),
    "epochs / 5, rate x 12, decay 1": dict(epochs=1 / 5, learning_rate=12.0, weight_decay=1.0),
    "epochs / 4, batch x 2, rate x 16, decay 1": dict(
        epochs=1 / 4, batch=2.0, learning_rate=16.0, weight_decay=1.0
    ),
    "epochs / 5, rate x 12, decay 1, clip 0.3": dict(
        epochs=1 / 5, learning_rate=12.0, weight_decay=1.0, clip=0.3
    ),
    "epochs / 5, rate x 12, decay 1, clip 0.3, average 0.5": dict(
        epochs=1 / 5, learning_rate=12.0, weight_decay=1.0, clip=0.3, average=0.5
    ),
    "epochs / 5, rate x 12, decay 1, clip 0.3, average 0.7, final rate 0.3": dict(
        epochs=1 / 5, learning_rate=12.0, weight_decay=1.0, clip=0.3, average=0.7, final_rate=0.3
    ),
    "epochs / 5, rate x 12, decay 1, clip 0.1, average 0.7, final rate 0.5": dict(
        epochs=1 / 5, learning_rate=12.0, weight_decay=1.0, clip=0.1, average=0.7, final_rate=0.5
    ),
    "epochs / 5, rate x 12, decay 1, clip 0.1, average 0.7, final rate 1": dict(
        epochs=1 / 5, learning_rate=12.0, weight_decay=1.0, clip=0.1, average=0.7, final_rate=1.0
    ),
    "decay 1": dict(weight_decay=1.0),
    "no warm-up, decay 0.3": dict(warmup=0.0, weight_decay=0.3),
    "batch x 2, rate x 4": dict(batch=2.0, learning_rate=4.0),
    "batch x 4, rate x 4": dict(batch=4.0, learning_rate=4.0),
    "epochs x 3/5, rate x 2": dict(epochs=3 / 5, learning_rate=2.0),
    "epochs x 3/5, batch / 4, rate x 4": dict(epochs=3 / 5, batch=1 / 4, learning_rate=4.0),
    "epochs x 3/5, batch / 8, rate x 8/3": dict(epochs=3 / 5, batch=1 / 8, learning_rate=8 / 3),
    "epochs x 2/5, batch / 8, rate x 8/3": dict(epochs=2 / 5, batch=1 / 8, learning_rate=8 / 3),
    "epochs x 3/5, batch / 4, rate x 4, average 0.5, final rate 0.3": dict(
        epochs=3 / 5, batch=1 / 4, learning_rate=4.0, average=0.5, final_rate=0.3
    ),
    "epochs x 3/5, batch / 4, rate x 4, decay 0.5": dict(
        epochs=3 / 5, batch=1 / 4, learning_rate=4.0, weight_decay=0.5
    ),
}


def train_all(
    name: str, plan: Plan, data: ImageData | TextData, recipe: str, seeds: int, out: Path
) -> None:
    """Train what the table does not have yet, a block of seeds at a time."""
    changes = dict(RECIPES[recipe])
    own = replace(plan.study.training, recipe="cosine", warmup=None, final_rate=None, clip=None)
    for key in ("learning_rate", "batch", "epochs"):  # given as a factor
        if key in changes:
            changes[key] = type(getattr(own, key))(round(changes[key] * getattr(own, key), 9))
    if recipe == "paper":
        own = replace(own, recipe="paper", warmup=None, final_rate=None, clip=None, average=None)
    settings = replace(own, evaluations=1, **changes)
    known = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEY)
    done = set(known[KEY].itertuples(index=False, name=None))
    for first, pattern in itertools.product(range(0, seeds, settings.seeds), PATTERNS):
        block = [int(seed) for seed in range(first, first + settings.seeds)]
        if (name, recipe, pattern, first) in done:
            continue
        begin = time.process_time()
        try:
            network = plan.network_with(plan.baselines[pattern])
            losses = [one.validation.loss for one in train(network, data, settings, block).of_seeds]
        except NonFiniteLoss:
            losses = [float("nan")] * len(block)
        seconds = (time.process_time() - begin) / len(block)
        rows = [
            {**dict(zip(KEY, (name, recipe, pattern, seed), strict=True)), "loss": loss}
            for seed, loss in zip(block, losses, strict=True)
        ]
        table = pd.DataFrame(rows).assign(seconds=seconds, settings=json.dumps(changes))
        table.to_csv(out, mode="a", header=not out.exists(), index=False)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per study and recipe, of the seeds that all of its candidates have."""
    rows = []
    for (study, recipe), own in table.groupby(["study", "recipe"], sort=False):
        losses = own.pivot(index="seed", columns="candidate", values="loss").dropna()
        values = losses.to_numpy()
        variance = paired_variance(values)
        rows.append(
            {
                "study": study,
                "recipe": recipe,
                "seeds": len(values),
                "loss": values.mean(),
                "spread": values.mean(axis=0).std(ddof=1),
                "paired deviation": np.sqrt(variance),
                "seconds": own["seconds"].mean(),
                "cost": variance * own["seconds"].mean(),
            }
        )
    found = pd.DataFrame(rows)
    of_paper = found[found["recipe"] == "paper"].set_index("study")["cost"]
    return found.assign(times_less=found["study"].map(of_paper) / found["cost"])


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", nargs="+", help="studies by name, such as digits")
    parser.add_argument("--out", type=Path, default=Path("recipes.csv"))
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with package_at(BEFORE) as earlier:
        contents = {name: json.dumps(shipped_study(earlier, name)) for name in arguments.study}
    for name, content in contents.items():
        study = StudyFile.model_validate_json(content)
        data = load_study_data(study, arguments.data_dir)
        for recipe in arguments.recipes:
            train_all(name, make_plan(study, data), data, recipe, arguments.seeds, arguments.out)
            found = summary(pd.read_csv(arguments.out))
            own = found[(found["study"] == name) & (found["recipe"] == recipe)]
            print(own.to_string(index=False), flush=True)
    print(summary(pd.read_csv(arguments.out)).to_string(index=False))


if __name__ == "__main__":
    main()
