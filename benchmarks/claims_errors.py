"""How often verdicts on claims err over a whole folder, and how many seeds they take.

python benchmarks/claims_errors.py                       1,000 folders of each kind
python benchmarks/claims_errors.py --repetitions 200     a quick look

Nothing is trained. A folder has 39 questions, as that of the source's claims: 30 with one rival and
9 with six, of which the better baseline's noise is half of the variance. All are looked at after 4,
8, ..., 200 seeds, each until it has a verdict, with Holm's correction over all of them. Counted are
the folders with any verdict of a difference that is not there (or of the wrong sign), and with any
equivalence that is not; the questions that got a verdict; and their seeds.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.deciding_tables import percent
from dynamoe_search.claims.verdicts import LOOKS
from dynamoe_search.statistics.comparison import ERROR_RATE, holm
from dynamoe_search.statistics.least_advantage import of_least_advantage, p_values_at_look

Floats = NDArray[np.float64]

MARGIN = 0.01
RIVALS = (1,) * 30 + (6,) * 9
_MIXED = (0.0, 0.002, -0.002, 0.005, -0.005, 0.008, -0.008, 0.012, -0.012, 0.02, -0.02, 0.04, -0.04)


@dataclass(frozen=True)
class World:
    """How advantages come about, in nats.

    Parameters
    ----------
    least : tuple of float
        The true least advantages, one question after another.
    deviation : float
        Of a paired difference.
    others : float
        By how much the other rivals are further off than the strongest.
    heavy : bool
        Whether the noise is Student's with 3 degrees of freedom, else normal.
    """

    least: tuple[float, ...] = (0.0,)
    deviation: float = 0.01
    others: float = 0.0
    heavy: bool = False

    @property
    def truths(self) -> Floats:
        """The true least advantage of each question."""
        return np.resize(np.array(self.least), len(RIVALS))

    def advantages(self, generator: np.random.Generator, repetitions: int) -> list[Floats]:
        """Of each question, in shape (repetitions, rivals, seeds)."""
        found = []
        for truth, rivals in zip(self.truths, RIVALS, strict=True):
            shape = (repetitions, rivals + 1, LOOKS.most)
            noise = generator.standard_normal(shape)
            if self.heavy:
                noise = generator.standard_t(3, shape) / math.sqrt(3)
            means = np.full((rivals, 1), truth + self.others)
            means[0] = truth
            paired = (noise[:, 1:] - noise[:, :1]) / math.sqrt(2)
            found.append(means + self.deviation * paired)
        return found


AT_MARGIN = (MARGIN, -MARGIN)
WORLDS = {
    "no differences": World(),
    "no differences, deviation 0.03": World(deviation=0.03),
    "no differences, t3 noise": World(heavy=True),
    "as good as one rival, better than the others": World(others=0.02),
    "all at the margin": World(AT_MARGIN),
    "all at the margin, t3 noise": World(AT_MARGIN, heavy=True),
    "at the margin of one rival, better than the others": World(AT_MARGIN, others=0.02),
    "from -0.04 to 0.04": World(_MIXED),
    "from -0.04 to 0.04, deviation 0.03": World(_MIXED, deviation=0.03),
    "from -0.04 to 0.04, t3 noise": World(_MIXED, heavy=True),
}


@dataclass(frozen=True)
class Score:
    """Shares of folders (errors) and of questions (decided), and the mean seeds of a question."""

    false_difference: float
    false_equivalence: float
    decided: float
    seeds: float


def score(world: World, repetitions: int, seed: int = 0) -> Score:
    """Simulate folders of one kind."""
    advantages = world.advantages(np.random.default_rng(seed), repetitions)
    shape = (repetitions, len(RIVALS))
    is_open, seeds = np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64)
    # By center (0, below the margin, above it), then above and below, then question.
    p_values = [np.ones((3, 2, repetitions, rivals)) for rivals in RIVALS]
    verdicts = np.zeros((3, *shape), dtype=np.bool_)  # better, worse, equivalent
    for look in LOOKS.until_most:
        counts = tuple(range(LOOKS.every, look + 1, LOOKS.every))
        for question, of_rivals in enumerate(advantages):
            goes_on = is_open[:, question]
            some = of_rivals[goes_on, :, :look]
            for place, center in enumerate((0.0, -MARGIN, MARGIN)):
                found = p_values_at_look(some, center, counts, LOOKS.planned)
                least = p_values[question][place][:, goes_on]
                p_values[question][place][:, goes_on] = np.minimum(least, found)
        seeds[is_open] = look
        verdicts = _verdicts(p_values)
        is_open &= ~verdicts.any(axis=0)
        if not is_open.any():
            break
    better, worse, equivalent = verdicts
    wrong = (better & (world.truths <= 0)) | (worse & (world.truths >= 0))
    unequal = equivalent & (np.abs(world.truths) >= MARGIN)
    return Score(
        float(wrong.any(axis=1).mean()),
        float(unequal.any(axis=1).mean()),
        float(verdicts.any(axis=0).mean()),
        float(seeds.mean()),
    )


def _verdicts(p_values: list[Floats]) -> NDArray[np.bool_]:
    """As `dynamoe_search.claims.verdicts.judge`, of many folders at once."""
    sides = [[of_least_advantage(*of_center) for of_center in one] for one in p_values]
    above, below = (np.stack([one[0][side] for one in sides], axis=-1) for side in (0, 1))
    over = np.stack([one[1][0] for one in sides], axis=-1)
    under = np.stack([one[2][1] for one in sides], axis=-1)
    differs = holm(np.minimum(1, 2 * np.minimum(above, below))) <= ERROR_RATE
    equivalent = holm(np.maximum(over, under)) <= ERROR_RATE
    return np.stack([differs & (above <= below), differs & (above > below), equivalent])


def main() -> None:
    """Simulate folders of each kind, and print the table."""
    parser = argparse.ArgumentParser(description="Error rates of verdicts on claims.")
    parser.add_argument("--repetitions", type=int, default=1000, help="of each kind")
    parser.add_argument("--only", default="", help="the kinds whose names hold this text")
    arguments = parser.parse_args()
    table = Table("folders", "false difference", "false equivalence", "decided", "seeds")
    for name, world in WORLDS.items():
        if arguments.only not in name:
            continue
        found = score(world, arguments.repetitions)
        table.add_row(
            name,
            percent(found.false_difference, arguments.repetitions),
            percent(found.false_equivalence, arguments.repetitions),
            f"{100 * found.decided:.1f}",
            f"{found.seeds:.1f}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"In %, but for seeds per question; {arguments.repetitions} of each kind.")


if __name__ == "__main__":
    main()
