"""What it costs to observe a model: its time with hooks over its time without.

Small OLMoE models of transformers on one core: a forward pass, and a training step. With and
without take turns, so that each pair has the same load; the ratio of their CPU times has the 95 %
interval of the mean of its logarithm. Needs the extra `hf`.

    python -m benchmarks.observe
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

import dynamoe_search as ds

SIZES = ((16, 4, 256), (64, 8, 256), (64, 8, 512))  # experts, active experts, width
DEPTH, BATCH, LENGTH = 4, 4, 128


def build(experts: int, active: int, width: int) -> nn.Module:
    """A model with the granularity of OLMoE: an expert is half as wide as the model."""
    transformers: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.OlmoeConfig(
        vocab_size=1024,
        hidden_size=width,
        intermediate_size=width // 2,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        num_experts=experts,
        num_experts_per_tok=active,
        eos_token_id=0,
    )
    model: nn.Module = transformers.OlmoeForCausalLM(config)
    return model


def forward(model: nn.Module, ids: Tensor) -> None:
    """A forward pass without gradients."""
    with torch.no_grad():
        model(ids, use_cache=False)


def step(model: nn.Module, ids: Tensor) -> None:
    """A forward and a backward pass."""
    model(ids, labels=ids, use_cache=False).loss.backward()
    model.zero_grad()


def seconds(run: Callable[[nn.Module, Tensor], None], model: nn.Module, ids: Tensor) -> float:
    """The CPU seconds of one call."""
    begin = time.process_time()
    run(model, ids)
    return time.process_time() - begin


def main() -> None:
    """Time all cases, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ids = torch.randint(0, 1024, (BATCH, LENGTH))
    rows = []
    for experts, active, width in SIZES:
        model = build(experts, active, width)
        for name, run in (("forward", forward), ("training step", step)):
            taken: dict[bool, list[float]] = {False: [], True: []}
            run(model, ids)
            for turn in range(2 * rounds):
                is_observed = turn % 4 in (1, 2)  # A B B A: neither is always first
                with ds.observe(model) if is_observed else nullcontext():
                    taken[is_observed].append(seconds(run, model, ids))
            ratios = np.log(taken[True]) - np.log(taken[False])
            half = stats.t.ppf(0.975, rounds - 1) * stats.sem(ratios)
            low, middle, high = np.exp(ratios.mean() + np.array([-half, 0, half]))
            rows.append(
                {
                    **{"experts": experts, "active": active, "width": width, "what": name},
                    "ms": 1e3 * np.mean(taken[False]),
                    **{"ratio": middle, "low": low, "high": high},
                }
            )
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
