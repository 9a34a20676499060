from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.claims import units
from dynamoe_search.claims.source import CLAIMS, DENSE_ACTIVE, DYNAMIC, Unit
from dynamoe_search.claims.units import (
    ClaimTable,
    claim_tables,
    export_runs,
    is_complete,
    load_runs,
    measure_routings,
)
from dynamoe_search.claims.verdicts import judge
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event
from dynamoe_search.log.storage import open_log
from dynamoe_search.measure.routing_variance import gradient_variance
from dynamoe_search.plan.confirmation import plan_confirmation
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.specification import TopK, TopP
from dynamoe_search.study import Study
from tests.claims.studies import PAPER, TEXT, write
from tests.conftest import edit
from tests.report import made_up


@pytest.fixture
def table(tmp_path: Path) -> ClaimTable:
    """A study of digits, whose made-up runs were searched and confirmed from 4 seeds."""
    path = write(tmp_path, "digits-compute")
    made_up.search(path)
    made_up.confirm(path)
    return claim_tables(tmp_path)[0]


def export(table: ClaimTable) -> None:
    study = Study(table.folder)
    export_runs(table, study.training_runs("confirmation"), study.confirmation()[1])


def loaded(table: ClaimTable) -> pd.DataFrame:
    found = load_runs(table)
    assert found is not None
    return found


def test_units_come_in_the_order_in_which_more_is_held_equal(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", *PAPER)
    write(tmp_path, "c", *TEXT)
    write(tmp_path, "d", *TEXT, ('"small"', '"tiny"'))
    tables = claim_tables(tmp_path)
    assert [(table.folder.name, table.unit) for table in tables] == [
        ("b", Unit("images", "digits", "paper")),
        ("a", Unit("images", "digits", "compute")),
        ("a", Unit("routing", "digits", "uniform")),
        ("a", Unit("routing", "digits", "descending")),
        ("d", Unit("tiny", "topics", "compute")),
        ("c", Unit("small", "topics", "compute")),
    ]
    assert len({table.path for table in tables}) == 6


def test_folders_that_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no folder with a study\.toml"):
        claim_tables(tmp_path)
    write(tmp_path, "a")
    write(tmp_path, "b")
    with pytest.raises(InvalidInput, match="both of digits in the regime compute"):
        claim_tables(tmp_path)
    edit(tmp_path / "b" / "study.toml", ("seeds = 1", "seeds = 4"))
    with pytest.raises(InvalidInput, match=r"b.study\.toml: training\.seeds is 4; claims are"):
        claim_tables(tmp_path)
    edit(tmp_path / "b" / "study.toml", ("seeds = 4", "seeds = 1"), ('"digits"', '"topics"'))
    with pytest.raises(InvalidInput, match=r"model\.scale is missing"):
        claim_tables(tmp_path)


def test_a_row_for_each_baseline_and_seed_of_the_confirmation(table: ClaimTable) -> None:
    export(table)
    found = loaded(table)
    assert len(found) == 9 * 4
    assert set(PATTERNS_AND_UNIFORM) < set(found["baseline"])
    study = Study(table.folder)
    runs, (_, confirmation) = study.training_runs("confirmation"), study.confirmation()
    losses = runs.set_index(["candidate", "block"])["test_loss"]
    curves = runs.set_index(["candidate", "block"])["curve"]
    for row in found.itertuples():
        key = (row.candidate, row.block)
        assert row.test_loss == losses[key]
        assert row.curve_loss == pytest.approx(np.mean([p["loss"] for p in curves[key]]))
        name = confirmation.names[row.candidate]
        assert name.startswith(row.baseline) or row.baseline in name.split(" = ")
    assert found["ended"].all()
    assert (found["looks"] == 1).all()
    assert found["data_fingerprint"].eq(embedded_digits(seed=0).fingerprint).all()
    assert found["commit"].eq("0123456789abcdef").all()
    assert found["version_torch"].eq("2.13").all()
    # The made-up losses fall with the experts of early layers, whatever the seed.
    verdicts = judge([table.unit], {table.unit: found}, CLAIMS)
    assert verdicts.loc[verdicts["outcome"] == "test_loss", "verdict"].tolist() == ["supported"]
    assert table.path.stat().st_size < 60_000


def test_baselines_that_are_one_network_have_a_row_each(tmp_path: Path) -> None:
    path = write(tmp_path, "flat", ("depth = 4", "depth = 3"), ("experts = 16", "experts = 12"))
    made_up.search(path)
    made_up.confirm(path, 2)
    table = claim_tables(tmp_path)[0]
    export(table)
    found = loaded(table)
    by_baseline = found.groupby("baseline")["candidate"].first()
    assert by_baseline["wave"] == by_baseline["inverted_wave"] == by_baseline["uniform"] == "4-4-4"
    assert len(found) == 9 * 2


@pytest.mark.slow
def test_runs_to_come_are_rows_too(table: ClaimTable) -> None:
    made_up.confirm(table.folder / "study.toml", 5)
    export(table)
    whole = loaded(table)
    assert (whole["looks"] == 2).all()
    assert is_complete(whole, 5)
    assert not is_complete(whole, 6)
    assert not is_complete(None, 2)
    # A confirmation that was raised and not trained yet; the table that has more is kept.
    table.path.unlink()
    raise_seeds(Study(table.folder), 7)
    export(table)
    found = loaded(table)
    assert len(found) == 9 * 7
    to_come = found[~found["ended"]]
    assert to_come["block"].unique().tolist() == [5, 6]
    assert (to_come["state"] == "to come").all()
    assert to_come["test_loss"].isna().all()
    assert not is_complete(found, 5)
    more = pd.concat([whole, whole.assign(block=whole["block"] + 5)])
    more.to_parquet(table.path)
    export(table)
    assert len(loaded(table)) == 9 * 10


def raise_seeds(study: Study, seeds: int) -> None:
    """As `Study.confirm` does before its first run."""
    begun = study.confirmation()[1]
    confirmation = plan_confirmation(begun, study.plan, [begun.reference], {}, seeds, None)
    with open_log(study.storage, create=False) as log:
        log.append(Event("confirmation", confirmation.dump()))


def test_tables_of_something_else_are_refused(table: ClaimTable, tmp_path: Path) -> None:
    assert load_runs(table) is None
    export(table)
    written = table.path.read_bytes()
    table.path.write_bytes(written[:-20])
    with pytest.raises(InvalidInput, match=r"runs\.parquet is no parquet file"):
        load_runs(table)
    table.path.write_bytes(written)
    pd.read_parquet(table.path).drop(columns="ended").to_parquet(table.path)
    with pytest.raises(InvalidInput, match="has no column 'ended'"):
        load_runs(table)
    table.path.write_bytes(written)
    other = claim_tables(tmp_path)[1]
    other.path.write_bytes(written)
    with pytest.raises(InvalidInput, match=r"routing-uniform\.parquet is not of"):
        load_runs(other)


@pytest.mark.slow
def test_routings_are_measured_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "GRADIENT_SAMPLES", 16)
    write(tmp_path, "a")
    table = claim_tables(tmp_path)[2]
    done: list[int] = []

    def stop_before_the_second(seeds: int) -> None:
        done.append(seeds)
        if seeds == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_routings(table, 4, on_progress=stop_before_the_second)
    half = loaded(table)
    assert half.groupby("baseline")["ended"].sum().tolist() == [2, 2]
    assert half.groupby("baseline").size().tolist() == [4, 4]
    assert not is_complete(half, 4)
    variance = [claim for claim in CLAIMS if claim.about == "routing"]
    assert set(judge([table.unit], {table.unit: half}, variance)["verdict"]) == {"not run yet"}
    measure_routings(table, 4, on_progress=done.append)
    whole = loaded(table)
    assert done == [0, 2, 2]
    assert is_complete(whole, 4)
    assert (whole["looks"] == 1).all()

    plan = make_plan(table.study, embedded_digits(seed=0))
    network = plan.network_with(plan.baselines["descending"])
    seeds = [plan.confirmation_seeds(block)[0] for block in range(4)]
    data, settings = embedded_digits(seed=0), table.study.training
    claim = gradient_variance(
        *(network, data, settings, TopP(), TopK(), 2.0, seeds), samples=16, every=2
    )
    verdict = judge([table.unit], {table.unit: whole}, variance).iloc[0]
    expected = claim.comparison.iloc[0]
    assert np.exp(-verdict["effect"]) == pytest.approx(expected["ratio"])
    assert verdict["p"] == pytest.approx(expected["p"])
    assert whole["seed"].tolist() == [*seeds[:2] * 2, *seeds[2:] * 2]
    assert whole.loc[whole["baseline"] == DYNAMIC, "candidate"].eq("top_p").all()
    assert DENSE_ACTIVE not in set(whole["baseline"])

    whole.assign(data_fingerprint="other").to_parquet(table.path)
    with pytest.raises(InvalidInput, match="was made from other data"):
        measure_routings(table, 6)
