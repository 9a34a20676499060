"""Losses of made-up candidates whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd


def study(tried=10, blocks=2, untried=60, noise=0.01, gap=0.02, seed=0):
    """Results of the first candidates on blocks of 4 seeds, features of all, and the truth."""
    rng = np.random.default_rng(seed)
    places = rng.standard_normal((tried + untried, 3))
    truth = 1 + gap * (np.tanh(places @ [1.0, 0.5, 0.0]) + 0.3 * places[:, 2] ** 2)
    names = [f"c{number:03}" for number in range(len(truth))]
    of_seeds = 0.02 * rng.standard_normal(4 * blocks)
    rows = [
        (names[candidate], seed, truth[candidate] + of_seeds[seed] + noise * rng.standard_normal())
        for candidate in range(tried)
        for seed in range(4 * blocks)
    ]
    results = pd.DataFrame(rows, columns=["candidate", "seed", "loss"])
    return results, pd.DataFrame(places, index=names), pd.Series(truth, names)
