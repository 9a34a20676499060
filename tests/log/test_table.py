"""The table of a study's training runs."""

import numpy as np
import pandas as pd

from dynamoe_search.log.table import paired_results


def test_of_several_attempts_one_counts() -> None:
    runs = pd.DataFrame(
        {
            "run": [0, 1, 2, 3, 4, 5],
            "candidate": ["a", "a", "b", "b", "c", "d"],
            "block": [0, 0, 0, 0, 0, 0],
            "state": ["died", "complete", "complete", "interrupted", "diverged", "running"],
            "test_loss": [np.nan, 1.0, 2.0, np.nan, np.nan, np.nan],
        }
    )
    found = paired_results(runs).set_index("candidate")["loss"]
    assert found.index.is_unique
    assert found["a"] == 1.0
    assert found["b"] == 2.0
    assert found[["c", "d"]].isna().all()
