"""How often a confirmation until decided errs, and how many seeds it takes.

python benchmarks/confirmation_errors.py                       10,000 of each kind: ten minutes
python benchmarks/confirmation_errors.py --repetitions 2000    a quick look: two minutes

Nothing is trained. Ten candidates are compared with a reference: a loss is the candidate's own, the
seed's (which pairing removes) and noise; the noise of the reference is in all ten differences. The
code that a confirmation uses looks at the results after 4, 8, ..., 64 seeds. Counted are the
confirmations that ever claim any difference that is not there (or of the wrong sign), or any
equivalence that is not; the intervals that hold the true difference where their comparison has
stopped; what was decided; and the seeds per comparison, beside those of a confirmation with a fixed
number that decides as many.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.deciding_tables import percent
from dynamoe_search.statistics.comparison import (
    ERROR_RATE,
    difference_p_value,
    equivalence_p_value,
    holm,
)
from dynamoe_search.statistics.sequential import Findings, Looks, find, stop_when_decided

Floats = NDArray[np.float64]

MARGIN = 0.01
LOOKS = Looks(every=4, planned=64, most=64)
CANDIDATES = 10
_MOST_FIXED = 160
_LIKE_DIGITS = (0.0, 0.0, 0.002, 0.003, 0.005, 0.008, 0.012, 0.016, 0.02, 0.15)


@dataclass(frozen=True)
class World:
    """How differences come about, in nats.

    Parameters
    ----------
    means : tuple of float
        The true differences of the candidates to the reference.
    deviation : float
        Of a paired difference, where the noise is alike for all.
    reference : float
        The share of the reference in the variance of a difference.
    kind : {"normal", "t3", "exponential"}
        The noise.
    unequal : float
        The deviation of the logarithm of the noise's size between candidates.
    """

    means: tuple[float, ...] = (0.0,) * CANDIDATES
    deviation: float = 0.01
    reference: float = 0.5
    kind: str = "normal"
    unequal: float = 0.0

    def differences(self, generator: np.random.Generator, repetitions: int, seeds: int) -> Floats:
        """Draw differences, of shape (repetitions, candidates, seeds)."""
        count = len(self.means)
        own = self._noise(generator, (repetitions, count, seeds))
        shared = self._noise(generator, (repetitions, 1, seeds))
        size = np.exp(self.unequal * generator.standard_normal((repetitions, count, 1)))
        noise = math.sqrt(1 - self.reference) * size * own - math.sqrt(self.reference) * shared
        return np.asarray(np.array(self.means)[:, None] + self.deviation * noise)

    def _noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Noise of mean 0 and variance 1."""
        if self.kind == "t3":
            return generator.standard_t(3, shape) / math.sqrt(3)
        if self.kind == "exponential":
            return generator.exponential(size=shape) - 1
        return generator.standard_normal(shape)


AT_MARGIN = (MARGIN,) * CANDIDATES
WORLDS = {
    "no differences": World(),
    "no differences, deviation 0.03": World(deviation=0.03),
    "no differences, deviation 0.005": World(deviation=0.005),
    "all at the margin": World(AT_MARGIN),
    "all at the margin, deviation 0.005": World(AT_MARGIN, deviation=0.005),
    "like digits": World(_LIKE_DIGITS),
    "like digits, deviation 0.03": World(_LIKE_DIGITS, deviation=0.03),
    "like digits, deviation 0.005": World(_LIKE_DIGITS, deviation=0.005),
    "no differences, unequal noise": World(unequal=0.7),
    "all at the margin, unequal noise": World(AT_MARGIN, unequal=0.7),
    "like digits, unequal noise": World(_LIKE_DIGITS, unequal=0.7),
    "no differences, t3 noise": World(kind="t3"),
    "all at the margin, t3 noise": World(AT_MARGIN, kind="t3"),
    "no differences, the reference's noise in 90 %": World(reference=0.9),
    "all at the margin, the reference's noise in 90 %": World(AT_MARGIN, reference=0.9),
    "no differences, skewed noise": World(kind="exponential"),
    "all at the margin, skewed noise": World(AT_MARGIN, kind="exponential"),
    "all at the margin, skewed noise, the reference's in 10 %": World(
        AT_MARGIN, kind="exponential", reference=0.1
    ),
}


@dataclass(frozen=True)
class Score:
    """What held, in shares of confirmations (errors) or of comparisons; and the mean seeds."""

    false_difference: float
    false_equivalence: float
    coverage: float
    decided: float
    seeds: float
    fixed_seeds: int | None = field(default=None)


def score(world: World, repetitions: int, seed: int = 0) -> Score:
    """Simulate confirmations of one kind."""
    generator = np.random.default_rng(seed)
    differences = world.differences(generator, repetitions, LOOKS.most)
    true = np.array(world.means)

    def look_at(look: int, is_open: NDArray[np.bool_]) -> Findings:
        counts = tuple(range(LOOKS.every, look + 1, LOOKS.every))
        return find(differences[..., :look], MARGIN, counts, LOOKS.planned)

    found, seeds = stop_when_decided(look_at, LOOKS.until_most, differences.shape[:2])
    differs = holm(found["p_difference"]) <= ERROR_RATE
    equivalent = holm(found["p_equivalence"]) <= ERROR_RATE
    side = np.sign(found["low"] + found["high"])
    decided = float((differs | equivalent).mean())
    return Score(
        false_difference=float((differs & (side != np.sign(true))).any(axis=1).mean()),
        false_equivalence=float((equivalent & (np.abs(true) >= MARGIN)).any(axis=1).mean()),
        coverage=float(((found["low"] <= true) & (true <= found["high"])).mean()),
        decided=decided,
        seeds=float(seeds.mean()),
        fixed_seeds=_fixed_seeds(world, generator, min(repetitions, 1000), decided),
    )


def _fixed_seeds(
    world: World, generator: np.random.Generator, repetitions: int, wanted: float
) -> int | None:
    """The fewest seeds with which a fixed number decides as many; None above the most."""
    differences = world.differences(generator, repetitions, _MOST_FIXED)
    low, high = 1, _MOST_FIXED + 1
    while high - low > 1:
        middle = (low + high) // 2
        some = differences[..., :middle]
        p_values = difference_p_value(some), equivalence_p_value(some, MARGIN)
        decided = np.logical_or(*(holm(p) <= ERROR_RATE for p in p_values)).mean()
        low, high = (low, middle) if decided >= wanted else (middle, high)
    return high if high <= _MOST_FIXED else None


def main() -> None:
    """Simulate confirmations of each kind, and print the table."""
    parser = argparse.ArgumentParser(description="Error rates of a confirmation until decided.")
    parser.add_argument("--repetitions", type=int, default=10_000, help="of each kind")
    parser.add_argument("--only", default="", help="the kinds whose names hold this text")
    arguments = parser.parse_args()
    table = Table("confirmations", "false difference", "false equivalence", "intervals hold")
    for title in ("decided", "seeds", "fixed seeds"):
        table.add_column(title)
    for name, world in WORLDS.items():
        if arguments.only not in name:
            continue
        found = score(world, arguments.repetitions)
        table.add_row(
            name,
            percent(found.false_difference, arguments.repetitions),
            percent(found.false_equivalence, arguments.repetitions),
            f"{100 * found.coverage:.1f}",
            f"{100 * found.decided:.1f}",
            f"{found.seeds:.1f}",
            f"over {_MOST_FIXED}" if found.fixed_seeds is None else str(found.fixed_seeds),
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"In %, but for seeds per comparison; {arguments.repetitions} of each kind.")


if __name__ == "__main__":
    main()
