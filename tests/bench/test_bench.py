"""The table that comes with the package, and tables of one's own."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dynamoe_search import bench
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, enumerate_schedules
from dynamoe_search.statistics.pairwise import compare_pairs

NAME = "digits-4x12"
SEEDS = 32


@pytest.fixture(scope="module")
def table() -> bench.Bench:
    return bench.load(NAME)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(bench.TABLES, tmp_path / "tables")


def test_every_schedule_is_there_from_the_same_seeds(table: bench.Bench) -> None:
    assert list(table.schedules) == list(enumerate_schedules(total=12, depth=4))
    assert table.losses.shape == (165, SEEDS)
    assert not table.losses.isna().any(axis=None)
    assert (table.runs.groupby("block")["seed"].nunique() == 4).all()
    assert table.runs["seed"].nunique() == SEEDS
    assert (bench.TABLES / f"{NAME}.parquet").stat().st_size < 5_000_000


def test_every_column_is_described_and_filled(table: bench.Bench) -> None:
    kept = pq.read_schema(bench.TABLES / f"{NAME}.parquet").names
    assert kept == [column for column in bench.COLUMNS if column not in bench.OPTIONAL]
    assert kept == list(table.columns)
    assert not table.runs[kept].isna().any(axis=None)
    numbers = table.runs[kept].select_dtypes("number")
    assert np.isfinite(numbers).all(axis=None)
    points = pd.DataFrame([point for curve in table.runs["curve"] for point in curve])
    assert np.isfinite(points).all(axis=None)
    assert set(points) <= set(bench.COLUMNS["curve"].replace(",", " ").split()) | {"samples"}


def test_answers_are_those_of_the_file(table: bench.Bench) -> None:
    rows = pq.read_table(bench.TABLES / f"{NAME}.parquet").to_pandas()
    losses = rows.pivot(index="schedule", columns=["block", "seed"], values="validation_loss")
    found = compare_pairs(losses)
    for name in ("1-1-1-9", "3-3-3-3", "6-3-2-1"):
        mine = rows[rows["schedule"] == name].sort_values(["block", "seed"])
        answer = table.ask(name)
        assert answer.schedule == Schedule.parse(name)
        assert answer.losses == tuple(mine["validation_loss"])
        # Drawn to the mean of all by the share of noise in the means.
        own, of_all = mine["validation_loss"].mean(), losses.to_numpy().mean()
        assert answer.loss == pytest.approx(of_all + found.reliability * (own - of_all), abs=2e-4)
        assert answer.low < answer.loss < answer.high < answer.low + 0.08
        assert answer.means["flops_per_token"] == pytest.approx(mine["flops_per_token"].mean())
        middle = [curve[2]["loss"] for curve in mine["curve"]]
        assert answer.curve["loss"][2] == pytest.approx(np.mean(middle))
        assert answer.curve["loss"].iloc[-1] == pytest.approx(own)


def test_a_schedule_can_be_given_in_any_form(table: bench.Bench) -> None:
    losses = table.ask("6-3-2-1").losses
    assert table.ask((6, 3, 2, 1)).losses == losses
    assert table.ask(np.array([6, 3, 2, 1])).losses == losses
    assert table.ask(Schedule((6, 3, 2, 1))).losses == losses
    assert table.ask("1-2-3-6").losses != losses


def test_it_serves_as_a_study_does(table: bench.Bench) -> None:
    board = make_leaderboard(table.runs)
    assert len(board) == 165
    assert board["candidate"][0] == table.losses.mean(axis=1).idxmin()
    assert board.loc[board["group"] == "uniform", "candidate"].tolist() == ["3-3-3-3"]
    assert (board["group"] == "searched").equals(board["pattern"] == "")
    assert not table.runs.attrs
    found = table.ask(board["schedule"][0])
    columns = ["loss", "loss_low", "loss_high"]
    assert (found.loss, found.low, found.high) == pytest.approx(tuple(board.loc[0, columns]))


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ("5-5-5-5", r"4 layers and 20 experts, and the table holds the 165 schedules of 4 layers"),
        ("6-6", r"it has 2 layers and 12 experts.* that share 12 experts, 1 to 9 per layer"),
        ("descending", "is not a schedule; write the expert counts"),
        ((12, 0, 0, 0), "12-0-0-0 is not in .*, 1 to 9 per layer"),
    ],
)
def test_what_is_not_in_the_table_is_refused(
    table: bench.Bench, schedule: str, complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        table.ask(schedule)


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"did you mean '{NAME}'\? Tables there: {NAME}"):
        bench.load("digits-4x21")
    with pytest.raises(InvalidInput, match="Tables there: none; `dynamoe-search bench STUDY`"):
        bench.load(NAME, tmp_path)


def test_a_damaged_table_is_never_read(folder: Path) -> None:
    path = folder / f"{NAME}.parquet"
    content = path.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (changed, content[:-1], content + b"\0", b"", content + bytes(6_000_000)):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"another checksum than in .*SHA256SUMS; install"):
            bench.load(NAME, folder)
    path.unlink()
    with pytest.raises(InvalidInput, match=r"digits-4x12\.parquet is missing"):
        bench.load(NAME, folder)
    (folder / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(InvalidInput, match="SHA256SUMS is damaged"):
        bench.load(NAME, folder)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (b"{", "InvalidInput: its description is not valid JSON"),
        (b"1" * 5000, "InvalidInput: its description is not valid JSON"),
        (b"[" * 100_000, "InvalidInput: its description is nested too deep"),
        (b"[]", "TypeError"),
        (b"{}", "KeyError: 'study'"),
        (json.dumps({"study": "{}"}).encode(), "ValidationError"),
        (b"\xff", "UnicodeDecodeError"),
    ],
)
def test_a_table_of_anything_is_answered_with_one_line(
    folder: Path, about: bytes, message: str
) -> None:
    path = folder / f"{NAME}.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"about": about}), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
    with pytest.raises(InvalidInput, match=f"is no table of this version .{message}") as raised:
        bench.load(NAME, folder)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_file_that_is_no_table_is_told(folder: Path) -> None:
    path = folder / f"{NAME}.parquet"
    path.write_bytes(b"no table")
    digest = hashlib.sha256(b"no table").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
    with pytest.raises(InvalidInput, match=r"is no table of this version .ArrowInvalid"):
        bench.load(NAME, folder)


def test_what_is_written_is_what_is_read(table: bench.Bench, folder: Path) -> None:
    half = table.runs[table.runs["block"] < 2].reset_index(drop=True)
    written = bench.Bench.of("half", half, table.study, table.data, table.versions)
    path = bench.write_bench(written, folder)
    assert set(bench.names(folder)) == {*bench.names(), "half"}
    assert bench.load(NAME, folder).losses.equals(table.losses)
    found = bench.load("half", folder)
    columns = list(table.columns)
    pd.testing.assert_frame_equal(found.runs[columns], half[columns])
    about = (found.study, found.data, found.versions)
    assert about == (table.study, table.data, table.versions)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"{digest}  half.parquet" in (folder / "SHA256SUMS").read_text().splitlines()


def test_a_large_table_is_refused(table: bench.Bench, tmp_path: Path) -> None:
    many = pd.concat([table.runs] * 4, ignore_index=True)
    many["message"] = ""
    generator = np.random.default_rng(0)
    many["mean_active"] = list(generator.random((len(many), 40)))
    large = bench.Bench.of("large", many, table.study, table.data, table.versions)
    with pytest.raises(InvalidInput, match=r"large has .* bytes; a table has at most"):
        bench.write_bench(large, tmp_path)
    assert not list(tmp_path.iterdir())
