"""The table of a study's training runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.table import measurement_table, paired_results, runs_table
from tests.conftest import edit
from tests.search.driver import MemoryLog, Process, plan_of, run_alone


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


def test_a_study_without_runs_has_the_same_columns(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study))
    empty = runs_table([], process.plan.study)
    run_alone(process, most=8)
    some = runs_table(process.progress.runs, process.plan.study)
    assert empty.empty
    assert set(empty) <= set(some)
    assert all(name.startswith(("parameter_", "version_")) for name in set(some) - set(empty))
    assert list(some)[:2] == ["candidate", "run"]


def test_names_and_groups(small_study: Path) -> None:
    edit(small_study, ("blocks = 2", 'blocks = 2\npresets = ["pr_moe"]'))
    process = Process(MemoryLog(), plan_of(small_study))
    run_alone(process)
    table = runs_table(process.progress.runs, process.plan.study).set_index("candidate")
    baselines = {name: str(one) for name, one in process.plan.baselines.items()}
    for name, candidate in baselines.items():
        assert set(table.loc[[candidate], "pattern"]) >= {
            " = ".join(other for other, one in baselines.items() if one == candidate)
        }
        if name == "uniform":
            assert set(table.loc[[candidate], "group"]) == {"uniform"}
    searched = table[~table.index.isin(baselines.values())]
    assert set(searched["group"]) == {"searched"}
    assert set(searched["pattern"]) == {""}
    assert {"pattern", "uniform", "preset", "searched"} >= set(table["group"])


def test_measurements_in_detail(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study))
    start = process.start()
    assert start is not None
    rows = [{"layer": 1, "load": 3}, {"layer": 2, "load": 4}]
    process.finish(start, tables={"load": rows})
    runs = runs_table(process.progress.runs, process.plan.study)
    found = measurement_table(runs, "load")
    assert list(found) == ["candidate", "run", "block", "layer", "load"]
    assert found["load"].tolist() == [3, 4]
    assert measurement_table(runs, "gradients").empty
    with pytest.raises(InvalidInput, match="no measurements 'loads'"):
        measurement_table(runs, "loads")
