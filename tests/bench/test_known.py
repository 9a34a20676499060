"""What is known of all schedules of a budget: from made-up studies, and from a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search import bench
from dynamoe_search.bench.known import KnownLosses, known_losses, known_losses_of_bench
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import RunResult
from dynamoe_search.study import Study
from tests.bench.exhaustive import keep_study, known_of, write_study
from tests.report import made_up


def known_of_study(study: Study, family: str | None = None) -> KnownLosses:
    return known_losses(study.training_runs(), study.file, study.data, study.title, family)


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [1, 4])
def test_a_study_is_read_for_any_family(tmp_path: Path, block_size: int) -> None:
    study = keep_study(write_study(tmp_path, ("seeds = 1", f"seeds = {block_size}")))
    known = known_of_study(study)
    assert known.coverage == 1
    assert len(known.losses) == 21
    assert (known.blocks, known.seeds, known.block_size) == (3, 3 * block_size, block_size)
    assert known.baselines == len({str(c) for c in known.plan.baselines.values()})
    for block in range(3):
        of_block = known.losses["4-2-2"][block * block_size : (block + 1) * block_size]
        expected = [0.1 + 0.01 * (seed % 7) for seed in sorted(known.plan.seeds(block))]
        assert of_block == pytest.approx(expected)
    assert known.regrets["4-2-2"] == pytest.approx(0.1)
    for family in ("mixture", "spline", "free"):
        assert known_of_study(study, family).plan.family.name == family


@pytest.mark.slow
def test_only_blocks_that_all_have_are_used(tmp_path: Path) -> None:
    path = write_study(tmp_path, ("seeds = 1", "seeds = 2"))
    known = known_of_study(keep_study(path, most=50, diverging="1-1-6"))
    assert known.blocks == 2
    assert known.losses["1-1-6"] == ()
    assert {len(losses) for losses in known.losses.values()} == {0, 4}
    assert "1-1-6" not in known.regrets


@pytest.mark.slow
def test_schedules_trained_once_are_taken_as_they_are(tmp_path: Path) -> None:
    known = known_of_study(keep_study(write_study(tmp_path), most=21))
    assert known.blocks == 1
    assert known.regrets["4-2-2"] == pytest.approx(0.1)


def test_regret_is_less_than_the_means_make_it_look(tmp_path: Path) -> None:
    known = known_of(tmp_path, noise=0.05, blocks=3)
    means = np.array([np.mean(losses) for losses in known.losses.values()])
    regrets = np.array(list(known.regrets.values()))
    assert (np.argsort(regrets) == np.argsort(means)).all()
    assert regrets.max() < np.ptp(means)
    once = known_of(tmp_path, noise=0.05, blocks=1)
    losses = np.array(list(once.losses.values()))[:, 0]
    assert list(once.regrets.values()) == pytest.approx(losses - losses.min())


def test_a_table_is_read_for_any_family() -> None:
    table = bench.load("digits-4x12")
    known = known_losses_of_bench(table, "free")
    assert known.coverage == 1
    assert (known.blocks, known.block_size) == (8, 4)
    assert known.plan.family.name == "free"
    assert set(known.losses) == set(map(str, table.schedules))
    assert all(table.ask(name).losses == losses for name, losses in known.losses.items())
    with pytest.raises(InvalidInput, match="unknown family 'blond'"):
        known_losses_of_bench(table, "blond")


@pytest.mark.slow
def test_too_few_schedules_are_refused(tmp_path: Path) -> None:
    study = keep_study(write_study(tmp_path), most=12)
    message = r"results of 12 of the budget's 21 schedules, and \d"
    with pytest.raises(InvalidInput, match=message) as error:
        known_of_study(study, "free")
    assert 'sampler "exhaustive" and runs = 21' in str(error.value)


@pytest.mark.slow
def test_a_missing_named_schedule_is_refused_whatever_the_coverage(tmp_path: Path) -> None:
    study = made_up.begin(write_study(tmp_path))
    message = r"results of 0 of the budget's 21 schedules, and 0\.0%"
    with pytest.raises(InvalidInput, match=message):
        known_of_study(study)
    known = known_of(tmp_path)
    named = str(known.plan.baselines["descending"])
    rows = [
        {"candidate": name, "block": 0, "seed": 7, "state": "complete", "validation_loss": loss}
        for name, (loss,) in known.losses.items()
        if name != named
    ]
    with pytest.raises(InvalidInput, match="results of 20 of the budget's 21 schedules"):
        known_losses(pd.DataFrame(rows), study.file, study.data, "it")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('constraints = ["active_experts <= 2"]', "by the loss alone"),
        ('objectives = ["loss", "active_flops"]', "by the loss alone"),
        ("also = { k = [1, 2] }", "not all that can be asked for can be known"),
    ],
)
def test_other_studies_are_refused(tmp_path: Path, change: str, complaint: str) -> None:
    path = write_study(
        tmp_path, ('"exhaustive"', '"random"'), ("blocks = 3", f"blocks = 3\n{change}")
    )
    with pytest.raises(InvalidInput, match=complaint):
        known_of_study(made_up.begin(path))


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    study = keep_study(write_study(tmp_path), most=1)
    with pytest.raises(InvalidInput, match="unknown family 'blond'; choose from blend"):
        known_of_study(study, "blond")


@pytest.mark.slow
def test_schedules_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = write_study(tmp_path)
    study = keep_study(
        path, result_of=lambda candidate, seed: RunResult(validation_loss=noise.normal())
    )
    message = r"nothing shows that the schedules in .* differ \(p = 0"
    with pytest.raises(InvalidInput, match=message):
        known_of_study(study)
