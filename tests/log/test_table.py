"""The training runs of a study as a table, against the events that it is made of."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import Run, RunResult, Start
from dynamoe_search.log.table import (
    TABLES,
    confirmation_table,
    measurement_table,
    paired_results,
    runs_table,
)
from dynamoe_search.plan.confirmation import Confirmation, Contender
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.statistics.comparison import compare_with_reference
from tests.search.driver import MemoryLog, Process, made_up, plan_of, run_alone

MEASURED = {
    "load": [{"layer": 1, "expert": 1, "load": 5}, {"layer": 1, "expert": 2, "load": 3}],
    "gradients": [{"fraction": 1.0, "group": "router", "trace": 2.0}],
}


def table_of(process: Process) -> pd.DataFrame:
    return runs_table(process.progress.runs, process.plan.study)


def begin(path: Path, *changes: tuple[str, str]) -> Process:
    return Process(MemoryLog(), plan_of(path, *changes))


def run_of(candidate: str, number: int = 0, block: int = 0, state: str = "complete", **of) -> Run:
    start = Start("search", candidate, block, 0, (10 + block,), "w", "a", number)
    return Run(number, start, float(number), state, number + 1.0, "", (RunResult(**of),))  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_row_for_each_seed_is_what_its_events_say(small_study: Path, seeds: int) -> None:
    process = begin(small_study, ("seeds = 1", f"seeds = {seeds}"))
    done = run_alone(process)
    table = table_of(process)
    assert list(table.columns[:4]) == ["candidate", "run", "schedule", "settings"]
    assert table["run"].tolist() == [run for run in range(14) for _ in range(seeds)]
    assert list(zip(table["candidate"], table["block"], table["seed"], strict=True)) == [
        (start.candidate, start.block, seed) for start in done for seed in start.seeds
    ]
    assert set(table["state"]) == {"complete"}
    results = [result for start in done for result in made_up(start, process.plan)]
    for column in ("validation_loss", "utilization_entropy", "training_flops", "fraction"):
        assert table[column].tolist() == [getattr(result, column) for result in results]
    assert table["gradient_noise"].tolist() == [r.measured["gradient_noise"] for r in results]
    assert table["test_loss"].isna().all()
    assert [[point["loss"] for point in curve] for curve in table["curve"]] == [
        [point.loss for point in result.curve] for result in results
    ]
    assert table["mean_active"].tolist() == [list(result.mean_active) for result in results]
    assert (table["finished"] - table["started"] == pd.Timedelta(seconds=1)).all()
    of_seeds = [start.parameters or {} for start in done for _ in start.seeds]
    parameters = [
        {name: row[f"parameter_{name}"] for name in of_seed}
        for of_seed, (_, row) in zip(of_seeds, table.iterrows(), strict=True)
    ]
    assert parameters == of_seeds
    assert table.attrs == {}


def test_no_runs_have_the_columns_of_some(small_study: Path) -> None:
    process = begin(small_study)
    empty = table_of(process)
    assert empty.empty
    run_alone(process, most=8)
    some = table_of(process)
    assert list(some.columns[: len(empty.columns)]) == list(empty.columns)
    more = some.columns[len(empty.columns) :]
    assert all(column.startswith(("version_", "parameter_")) for column in more)
    assert len(more) == 6
    for column in ("block", "seed", "fraction", "validation_loss", "feasible", "run"):
        assert empty[column].dtype == some[column].dtype
    pd.testing.assert_frame_equal(some[:0][empty.columns], empty, check_dtype=False)


def test_a_row_of_each_state(small_study: Path) -> None:
    process = begin(small_study, ('"random"', '"random"\npruner = "median"'))
    starts = [process.start() for _ in range(9)]
    first, second, third, fourth, fifth, sixth, *rest = [one for one in starts if one is not None]
    process.finish(first)
    process.finish(second, "diverged", training_flops=5.0)
    process.lose(third)
    process.lose(fourth, "interrupted")
    process.finish(fifth, "out of memory")
    process.finish(sixth, "error")
    process.prune(rest[-1], 3)
    again = process.start()
    assert again is not None
    process.finish(third)
    table = table_of(process).set_index("run")
    assert table["state"].tolist() == [
        *("complete", "diverged", "complete", "interrupted", "out of memory", "error"),
        *("running", "running", "pruned", "superseded"),
    ]
    assert table["message"][1] == "diverged, made up"
    complete = table["state"] == "complete"
    assert (table["validation_loss"].notna() == complete).all()
    assert table.loc[complete, "fraction"].tolist() == [1.0, 1.0]
    assert table["fraction"][8] == 0.3
    assert table["fraction"].notna().sum() == 3
    assert (table["feasible"] == complete).all()
    assert (table["finished"].isna() == (table["state"] == "running")).all()
    assert table["curve"].map(lambda curve: len(curve or [])).tolist() == [
        *(10, 0, 10, 0, 0, 0, 0, 0, 3, 0)
    ]


def test_a_block_that_ended_early_has_a_row_for_each_seed(small_study: Path) -> None:
    process = begin(
        small_study, ("seeds = 1", "seeds = 2"), ('"random"', '"random"\npruner = "median"')
    )
    starts = [one for _ in range(9) if (one := process.start()) is not None]
    process.finish(starts[0], "diverged", training_flops=5.0)
    process.lose(starts[1])
    process.prune(starts[-1], 3)
    table = table_of(process)
    assert table["seed"].tolist() == [seed for start in starts for seed in start.seeds]
    assert table["state"].tolist() == [
        *("diverged", "diverged", "died", "died"),
        *["running"] * 12,
        *("pruned", "pruned"),
    ]
    pruned = made_up(starts[-1], process.plan)
    assert [curve[-1]["loss"] for curve in table["curve"][-2:]] == [
        result.curve[2].loss for result in pruned
    ]
    assert table["fraction"].notna().sum() == 2
    assert table["validation_loss"].isna().all()


def test_names_and_groups(small_study: Path) -> None:
    process = begin(
        small_study,
        ("blocks = 2", 'blocks = 2\npresets = ["mola"]\nalpha_lora = [4.0, 2.0, 2.0, 3.0]'),
        ("runs = 14", "runs = 20"),
    )
    run_alone(process)
    table = table_of(process)
    rows = table.drop_duplicates("candidate").set_index("candidate")
    for name, candidate in process.plan.baselines.items():
        row = rows.loc[str(candidate)]
        assert name in row["pattern"].split(" = ")
        group = {"uniform": "uniform", "mola": "preset", "alpha_lora": "preset"}
        if row["pattern"] == name:
            assert row["group"] == group.get(name, "pattern")
    baselines = {str(candidate) for candidate in process.plan.baselines.values()}
    others = rows[~rows.index.isin(baselines)]
    assert len(others) > 0
    assert set(others["pattern"]) == {""}
    assert set(others["group"]) == {"searched"}
    assert set(table["settings"]) == {""}


def test_patterns_that_coincide_share_a_row_and_uniform_comes_first(small_study: Path) -> None:
    # Of two layers, all shapes are one of descending, ascending and flat.
    process = begin(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 7"))
    run_alone(process, most=3)
    rows = table_of(process).set_index("candidate")
    expected: dict[str, list[str]] = {}
    for name, candidate in process.plan.baselines.items():
        expected.setdefault(str(candidate), []).append(name)
    assert len(expected) == 3
    assert rows["pattern"].to_dict() == {key: " = ".join(same) for key, same in expected.items()}
    (flat,) = [candidate for candidate, same in expected.items() if "uniform" in same]
    assert len(expected[flat]) > 1
    assert rows["group"][flat] == "uniform"
    assert set(rows["group"].drop(flat)) == {"pattern"}


def test_presets_that_are_patterns_are_patterns(small_study: Path) -> None:
    process = begin(small_study, ("blocks = 2", "blocks = 2\nalpha_lora = [1.0, 1.0, 1.0, 1.0]"))
    run_alone(process)
    rows = table_of(process).drop_duplicates("candidate").set_index("candidate")
    uniform = rows.loc[str(process.plan.baselines["uniform"])]
    assert uniform["pattern"] == "uniform = alpha_lora"
    assert uniform["group"] == "uniform"


def test_settings_are_apart_from_the_schedule(small_study: Path) -> None:
    process = begin(
        small_study,
        ("hidden = 8", "hidden = 52"),
        ('"blend"', '"blend"\nalso = { hidden = [52, 17, 31], k = [1, 3] }'),
        ("runs = 14", "runs = 30"),
    )
    run_alone(process)
    table = table_of(process)
    assert (table["schedule"] + " " + table["settings"] == table["candidate"]).all()
    assert table["settings"].str.fullmatch(r"hidden=\d+ k=[123]").all()
    named = table[table["pattern"] != ""]
    baselines = {str(candidate) for candidate in process.plan.baselines.values()}
    assert set(named["candidate"]) == baselines
    assert set(named["settings"]) == {"hidden=52 k=1"}
    assert set(table["settings"]) > {"hidden=52 k=1"}


def test_a_search_without_the_files_own_width_has_no_names(small_study: Path) -> None:
    plan = plan_of(
        small_study,
        ("hidden = 8", "hidden = 52"),
        ('"blend"', '"blend"\nalso.hidden = [52, 17]'),
    )
    table = runs_table([run_of("9-9-9-9 hidden=17")], plan.study)
    assert table["group"].tolist() == ["searched"]
    table = runs_table([run_of("9-9-9-9 hidden=17"), run_of("3-3-3-3 hidden=52", 1)], plan.study)
    assert table["group"].tolist() == ["searched", "uniform"]


def test_the_paper_regime_names_by_the_range(small_study: Path) -> None:
    plan = plan_of(small_study, ("experts = 12", 'regime = "paper"\nminimum = 2\nmaximum = 8'))
    table = runs_table([run_of("8-6-4-2"), run_of("5-5-5-5", 1), run_of("8-8-2-2", 2)], plan.study)
    assert table["pattern"].tolist() == ["descending", "uniform", ""]


def test_dense_baselines_are_a_group(small_study: Path) -> None:
    table = runs_table([run_of("dense 96x4", test_loss=0.5)], read_study_file(small_study))
    row = table.iloc[0]
    assert (row["group"], row["schedule"], row["pattern"]) == ("dense", "dense 96x4", "")
    assert row["test_loss"] == 0.5


def test_feasible_is_who_meets_all_constraints(small_study: Path) -> None:
    process = begin(
        small_study,
        ('"blend"', '"blend"\nconstraints = ["utilization_entropy >= 0.5", "active_experts <= 1"]'),
    )
    run_alone(process)
    table = table_of(process)
    expected = (table["utilization_entropy"] >= 0.5) & (table["active_experts"] <= 1)
    assert table["feasible"].tolist() == expected.tolist()
    assert set(expected) == {True, False}
    # What is not known meets nothing.
    unknown = runs_table([run_of("3-3-3-3", active_experts=1.0)], process.plan.study)
    assert unknown["feasible"].tolist() == [False]


def test_measurements_in_detail(small_study: Path) -> None:
    process = begin(small_study)
    first, second, third = process.start(), process.start(), process.start()
    assert first is not None
    assert second is not None
    assert third is not None
    process.finish(first, tables=MEASURED)
    process.finish(second, "diverged", tables=MEASURED)
    process.finish(third, tables={"load": MEASURED["load"][:1]})
    runs = table_of(process)
    load = measurement_table(runs, "load")
    assert load.to_dict("list") == {
        "candidate": [first.candidate] * 2 + [third.candidate],
        "run": [0, 0, 2],
        "block": [0, 0, 0],
        "seed": [first.seeds[0]] * 3,
        "layer": [1, 1, 1],
        "expert": [1, 2, 1],
        "load": [5, 3, 5],
    }
    assert len(measurement_table(runs, "gradients")) == 1
    assert measurement_table(runs, "representation").empty
    with pytest.raises(InvalidInput, match=r"no measurements 'loads'; choose from gradients, ut"):
        measurement_table(runs, "loads")


@pytest.mark.parametrize("kind", TABLES)
def test_nothing_measured_is_an_empty_table(small_study: Path, kind: str) -> None:
    process = begin(small_study)
    for _ in range(2):
        assert measurement_table(table_of(process), kind).empty
        run_alone(process, most=1)


# Confirmations.


def test_of_several_attempts_one_counts() -> None:
    runs = pd.DataFrame(
        {
            "run": [0, 1, 2, 3, 4, 5],
            "candidate": ["a", "a", "b", "b", "c", "d"],
            "seed": [7, 7, 7, 7, 7, 7],
            "state": ["died", "complete", "complete", "interrupted", "diverged", "running"],
            "test_loss": [np.nan, 1.0, 2.0, np.nan, np.nan, np.nan],
        }
    )
    found = paired_results(runs.sample(frac=1, random_state=0)).set_index("candidate")["loss"]
    assert found["a"] == 1.0
    assert found["b"] == 2.0
    assert found[["c", "d"]].isna().all()


@pytest.fixture
def plan(small_study: Path) -> Plan:
    return plan_of(small_study)


CONFIRMATION = Confirmation(
    "6-3-2-1",
    (Contender("6-3-2-1"), Contender("3-3-3-3", "uniform", "uniform", ("uniform",))),
    0.01,
    (4,),
    {},
)


def confirmed(losses: dict[str, list[float]]) -> list[Run]:
    cells = [(name, block) for name, found in losses.items() for block in range(len(found))]
    return [
        run_of(name, number, block, test_loss=losses[name][block])
        for number, (name, block) in enumerate(cells)
    ]


def test_contenders_are_compared_with_the_reference(plan: Plan) -> None:
    losses = {"6-3-2-1": [0.5, 0.6, 0.55, 0.4], "3-3-3-3": [0.6, 0.72, 0.64, 0.51]}
    runs = runs_table(confirmed(losses), plan.study)
    table = confirmation_table(runs, CONFIRMATION)
    assert table[["candidate", "name", "group"]].values.tolist() == [
        ["3-3-3-3", "uniform", "uniform"]
    ]
    expected = compare_with_reference(paired_results(runs), "6-3-2-1", 0.01)
    pd.testing.assert_frame_equal(table.drop(columns=["name", "group"]), expected)


@pytest.mark.parametrize("trained", [[], ["6-3-2-1"], ["3-3-3-3"]])
def test_there_may_be_nothing_to_compare_yet(plan: Plan, trained: list[str]) -> None:
    runs = runs_table(confirmed({name: [0.5, 0.6] for name in trained}), plan.study)
    with pytest.raises(InvalidInput, match="has nothing to compare yet"):
        confirmation_table(runs, CONFIRMATION)
