"""Where masking beats sorting: the time of a layer's step by either path, over a grid of sizes.

On one core, forward and backward, for one seed and for four at once. The two paths take turns, and
each time is the least of some. It prints each case, how often the rule `prefers_masked` takes the
faster path, and how much time it loses to always taking it.

    python -m benchmarks.dispatch
"""

from __future__ import annotations

import itertools
import math
import time

import pandas as pd
import torch

from dynamoe_search.models import Dispatch, MoELayer
from dynamoe_search.models.dispatch import prefers_masked
from dynamoe_search.specification import TopK

SEEDS = (1, 4)
TOKENS = (64, 128, 256, 1024, 4096)
EXPERTS = (2, 4, 8, 16)
SIZES = ((32, 64), (64, 128))  # width and hidden width
ACTIVE = 2
TURNS, SECONDS_OF_A_TURN = 4, 0.02


def time_step(layer: MoELayer, x: torch.Tensor) -> float:
    """The CPU seconds of a forward and a backward pass, the mean over a turn."""
    parameters, steps = [x, *layer.parameters()], 0
    begin = time.process_time()
    while (passed := time.process_time() - begin) < SECONDS_OF_A_TURN or not steps:
        torch.autograd.grad(layer(x).square().sum(), parameters)
        steps += 1
    return passed / steps


def main() -> None:
    """Time the grid, and print it."""
    torch.set_num_threads(1)
    rows = []
    for (width, hidden), tokens, experts, seeds in itertools.product(SIZES, TOKENS, EXPERTS, SEEDS):
        if tokens * experts * seeds * hidden > 2**23:  # too slow to mask, and no question
            continue
        x = torch.randn(seeds, tokens, width, requires_grad=True)
        best: dict[Dispatch, float] = {"masked": math.inf, "sorted": math.inf}
        layers: dict[Dispatch, MoELayer] = {
            path: MoELayer(experts, width, hidden, TopK(ACTIVE), path, seeds=range(seeds))
            for path in best
        }
        for _, (path, layer) in itertools.product(range(TURNS), layers.items()):
            best[path] = min(best[path], time_step(layer, x))
        takes_masked = prefers_masked(seeds, tokens, width, hidden, experts, ACTIVE)
        rows.append(
            {
                **{"width": width, "hidden": hidden, "tokens": tokens, "experts": experts},
                "seeds": seeds,
                "masked (us per seed)": 1e6 * best["masked"] / seeds,
                "sorted (us per seed)": 1e6 * best["sorted"] / seeds,
                "sorted / masked": best["sorted"] / best["masked"],
                "rule": "masked" if takes_masked else "sorted",
                "lost": best["masked" if takes_masked else "sorted"] / min(best.values()) - 1,
            }
        )
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    right = (table["lost"] == 0).mean()
    print(
        f"The rule takes the faster path in {right:.0%} of {len(table)} cases, and loses"
        f" {table['lost'].mean():.1%} of the time on average, {table['lost'].max():.0%} at most."
    )


if __name__ == "__main__":
    main()
