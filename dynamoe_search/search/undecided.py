"""How far each candidate of a confirmation is trained, as far as its results tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dynamoe_search.log.state import Progress
from dynamoe_search.log.table import decided_table
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.statistics.sequential import Looks


@dataclass(frozen=True)
class BlocksToTrain:
    """The blocks of each candidate of a confirmation.

    Parameters
    ----------
    most : dict of str to int
        On how many blocks it may be trained, as of now: 0 where its comparison is decided.
    expected : dict of str to int
        On how many it probably will be trained, where there are to be more; at most the same.
    """

    most: dict[str, int]
    expected: dict[str, int]

    def runs_to_come(self, progress: Progress) -> int:
        """The runs that are expected, without those that have ended."""
        ended = Counter(candidate for candidate, _ in progress.done)
        return sum(max(0, blocks - ended[name]) for name, blocks in self.expected.items())


def blocks_to_train(progress: Progress, confirmation: Confirmation) -> BlocksToTrain:
    """How far each candidate is trained; it depends on the results alone.

    With a fixed number of seeds all are trained on as many blocks. Else a candidate goes on until
    its comparison is decided, and the reference as long as any does. What is expected follows from
    the last look; before the first one, that is the most.
    """
    looks = confirmation.looks
    if looks is None:
        blocks = dict.fromkeys(confirmation.names, confirmation.blocks)
        return BlocksToTrain(blocks, blocks)
    table = decided_table(progress, confirmation).set_index("candidate")
    seeds = {
        row.Index: _expected_seeds(row, looks) if row.is_open else 0 for row in table.itertuples()
    }
    expected = {name: -(-count // confirmation.seeds_per_block) for name, count in seeds.items()}
    most = {name: confirmation.blocks if count else 0 for name, count in seeds.items()}
    return BlocksToTrain(
        most | {confirmation.reference: max(most.values())},
        expected | {confirmation.reference: max(expected.values())},
    )


def _expected_seeds(row: Any, looks: Looks) -> int:
    """Of an open comparison: a whole number of looks, at least one more, if there is one."""
    if row.looked_at == 0 or pd.isna(row.seeds_to_decide):
        return looks.most
    wanted = max(int(row.seeds_to_decide), int(row.looked_at) + 1)
    return min(-(-wanted // looks.every) * looks.every, looks.most)
