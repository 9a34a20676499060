from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.claims.source import Unit
from dynamoe_search.claims.units import ClaimTable, add_runs, claim_tables, load_runs
from dynamoe_search.errors import InvalidInput
from tests.claims.studies import DENSE_LAYERS, PAPER, TEXT, write
from tests.conftest import edit


def rows(places: range) -> pd.DataFrame:
    """Runs of one baseline, without what this module does not look at."""
    columns = {"candidate": "5-3", "baseline": "uniform", "seed": 1, "seconds": 0.5}
    origin = {"data_fingerprint": "digest", "commit": "0123abc", "made_with": "torch 2.13"}
    return pd.DataFrame({"place": list(places)}).assign(**columns, **origin, test_loss=0.25)


@pytest.fixture
def table(tmp_path: Path) -> ClaimTable:
    write(tmp_path, "a")
    return claim_tables(tmp_path)[0]


def test_units_come_in_the_order_in_which_more_is_held_equal(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", *PAPER)
    write(tmp_path, "c", *TEXT)
    write(tmp_path, "d", *TEXT, ('"small"', '"tiny"'))
    write(tmp_path, "e", *DENSE_LAYERS)
    tables = claim_tables(tmp_path)
    assert [(table.folder.name, table.unit) for table in tables] == [
        ("b", Unit("images", "digits", "paper")),
        ("a", Unit("images", "digits", "compute")),
        ("a", Unit("routing", "digits", "uniform")),
        ("a", Unit("routing", "digits", "descending")),
        ("d", Unit("tiny", "topics", "compute")),
        ("c", Unit("small", "topics", "compute")),
        ("e", Unit("placement", "digits", "compute")),
    ]
    assert len({table.path for table in tables}) == 7


def test_folders_that_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no folder with a study\.toml"):
        claim_tables(tmp_path)
    write(tmp_path, "a")
    write(tmp_path, "b")
    with pytest.raises(InvalidInput, match="both of digits in the regime compute"):
        claim_tables(tmp_path)
    edit(tmp_path / "b" / "study.toml", ("seeds = 4", "seeds = 3"))
    with pytest.raises(InvalidInput, match=r"b.study\.toml: training\.seeds is 3; claims are"):
        claim_tables(tmp_path)
    edit(tmp_path / "b" / "study.toml", ("seeds = 3", "seeds = 2"), ('"digits"', '"topics"'))
    with pytest.raises(InvalidInput, match=r"model\.scale is missing"):
        claim_tables(tmp_path)


def test_runs_are_added_to_a_table(table: ClaimTable) -> None:
    assert load_runs(table) is None
    add_runs(table, rows(range(4)))
    add_runs(table, rows(range(4, 8)))
    found = load_runs(table)
    assert found is not None
    assert found["place"].tolist() == list(range(8))
    assert found["about"].eq("images").all()
    names = {path.name for path in table.folder.iterdir()}
    assert names == {"study.toml", "runs.parquet"}


def test_tables_of_something_else_are_refused(table: ClaimTable, tmp_path: Path) -> None:
    add_runs(table, rows(range(4)))
    written = table.path.read_bytes()
    table.path.write_bytes(written[:-20])
    with pytest.raises(InvalidInput, match=r"runs\.parquet is no parquet file"):
        load_runs(table)
    table.path.write_bytes(written)
    pd.read_parquet(table.path).drop(columns="seconds").to_parquet(table.path)
    with pytest.raises(InvalidInput, match="has no column 'seconds'"):
        load_runs(table)
    table.path.write_bytes(written)
    other = claim_tables(tmp_path)[1]
    other.path.write_bytes(written)
    with pytest.raises(InvalidInput, match=r"routing-uniform\.parquet is not of"):
        load_runs(other)


def test_a_study_file_that_was_changed_is_refused(table: ClaimTable, tmp_path: Path) -> None:
    add_runs(table, rows(range(4)))
    path = tmp_path / "a" / "study.toml"
    edit(path, ("runs = 7", "runs = 9"))  # which changes no result
    assert load_runs(claim_tables(tmp_path)[0]) is not None
    edit(path, ("epochs = 1", "epochs = 2"))
    with pytest.raises(InvalidInput, match=r"was changed after the runs of runs\.parquet"):
        load_runs(claim_tables(tmp_path)[0])
