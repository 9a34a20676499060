"""Tables of active schedules: from made-up studies to searches that are replayed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search import bench
from dynamoe_search.bench.known import known_losses, known_losses_of_bench
from dynamoe_search.bench.replay import replay
from dynamoe_search.bench.tabulation import tabulate
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import RunResult
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.report.bench_card import bench_card
from dynamoe_search.statistics.pairwise import compare_pairs
from dynamoe_search.study import Study
from tests.bench.exhaustive import DIGITS, keep_study, write_study
from tests.report.made_up import made_up_result

ACTIVE = (
    ("experts = 8", 'experts = 9\nregime = "compute"\nactive = 2'),
    ('family = "blend"', 'family = "none"\nactive_family = "blend"'),
    ("seeds = 1", "seeds = 2"),
    ("blocks = 3", 'blocks = 3\nmeasure = ["utilization"]'),
)
EVERY = ["1-2-3", "1-3-2", "2-1-3", "2-2-2", "2-3-1", "3-1-2", "3-2-1"]


def distance(active: Sequence[int]) -> float:
    return 0.05 * float(np.abs(np.array(active) - (3, 1, 2)).sum())


def result_of(candidate: str, seed: int) -> RunResult:
    made_up = made_up_result(candidate, seed, DIGITS.fingerprint, measured=True)
    measured = {key: value for key, value in made_up.measured.items() if "gradient" not in key}
    tables = {key: rows for key, rows in made_up.tables.items() if key != "gradients"}
    noise = 0.005 * np.random.default_rng([seed, *candidate.encode()]).standard_normal()
    loss = distance(parse_candidate(candidate).active) + 0.01 * (seed % 7) + noise
    text = {"validation_bits_per_byte": loss / np.log(2), "validation_perplexity": np.exp(loss)}
    rest = {"measured": measured, "tables": tables, "versions": {"dynamoe_search": "0.2.0"}}
    return replace(made_up, validation_loss=loss, **text, **rest)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = write_study(tmp_path_factory.mktemp("study"), *ACTIVE)
    return keep_study(path, result_of=result_of)


@pytest.fixture(scope="module")
def table(study: Study) -> bench.Bench:
    return tabulate(study.training_runs(), study.file, (), "it")


def test_active_schedules_are_looked_up(table: bench.Bench) -> None:
    assert table.name == "digits-3x9-active"
    assert table.moving == "active_schedule"
    assert list(map(str, table.schedules)) == EVERY
    assert table.losses.shape == (7, 6)
    assert table.losses.index.tolist() == EVERY
    for active in EVERY:
        found = table.ask(active)
        assert set(found.runs["active_schedule"]) == {active}
        expected = distance(parse_candidate(active).schedule) + 0.01 * (found.runs["seed"] % 7)
        assert found.losses == pytest.approx(tuple(expected), abs=0.02)
        assert found.losses == tuple(table.losses.loc[active])
    assert table.means["validation_loss"].idxmin() == "3-1-2"
    message = "the 7 schedules of 3 layers that share 6 active experts, 1 to 3 per layer"
    with pytest.raises(InvalidInput, match=message):
        table.ask("3-3-3")


def test_it_is_written_with_what_only_text_has(table: bench.Bench, tmp_path: Path) -> None:
    bench.write_bench(table, tmp_path)
    found = bench.load(table.name, tmp_path)
    assert found.columns == table.columns
    assert set(bench.COLUMNS) - set(found.columns) == {
        *("gradient_noise", "gradient_trace", "gradient_squared_norm")
    }
    pd.testing.assert_frame_equal(found.losses, table.losses, check_column_type=False)
    board = make_leaderboard(found.runs)
    assert board["candidate"][0] == "3-3-3 active=3-1-2"
    assert board.loc[board["group"] == "uniform", "active_schedule"].tolist() == ["2-2-2"]
    losses = found.runs["validation_loss"]
    assert found.runs["validation_perplexity"].to_numpy() == pytest.approx(np.exp(losses))


def test_its_card_speaks_of_active_schedules(table: bench.Bench) -> None:
    card = " ".join(bench_card(table, "it").split())
    assert "# digits-3x9-active: every active schedule of mean K = 2 in 3-3-3" in card
    assert "All 7 active schedules, each trained from the same 6 seeds: 21 training runs" in card
    assert "3 blocks of 2, the same for every schedule" in card
    assert "`active_schedule`" in card
    assert "`gradient_noise`" not in card
    assert "part of what one active expert costs may be that" in card
    pairs = compare_pairs(table.losses)
    together = f"**{pairs.distinguishable} of the 21 pairs** ({pairs.distinguishable / 21:.1%})"
    alone = f"**{pairs.distinguishable_alone} pairs** ({pairs.distinguishable_alone / 21:.1%})"
    assert f"{together} differ significantly, at 95 % for all pairs together" in card
    assert f"{alone} differ significantly at 95 % for each pair by itself" in card


@pytest.mark.parametrize("family", [None, "free"])
def test_searches_of_active_schedules_are_replayed(
    study: Study, table: bench.Bench, family: str | None
) -> None:
    known = known_losses_of_bench(table, family)
    own = known_losses(study.training_runs(), study.file, study.data, "it", family)
    assert known.losses == own.losses
    assert known.family == own.family == (family or "blend")
    assert own.coverage == 1
    assert (known.blocks, known.block_size) == (3, 2)
    for sampler in ("posterior", "random"):
        search = replay(known, sampler, 14, repetition=0)
        assert search["unknown"].iloc[-1] == 0
        assert search["recommended"].iloc[-1] == "3-3-3 active=3-1-2"
        assert search["regret"].iloc[-1] == 0
