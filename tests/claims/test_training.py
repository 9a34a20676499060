from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.budgets import flops_per_token, parameter_count
from dynamoe_search.claims import training
from dynamoe_search.claims.source import (
    CLAIMS,
    DENSE_ACTIVE,
    DENSE_TOTAL,
    DYNAMIC,
    FIRST_DENSE,
    FIXED,
    Unit,
)
from dynamoe_search.claims.training import Step, Trainer, networks, next_step
from dynamoe_search.claims.units import ClaimTable, claim_tables, load_runs
from dynamoe_search.claims.verdicts import judge
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.routing_variance import gradient_variance
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.specification import TopK, TopP
from dynamoe_search.training.loop import NonFiniteLoss, train
from tests.claims.studies import DENSE_LAYERS, TEXT, write
from tests.claims.test_verdicts import made_up
from tests.conftest import edit

OF_IMAGES = [claim for claim in CLAIMS if claim.about == "images"][:1]
BEST = [claim for claim in CLAIMS if claim.about == "tiny"]


@pytest.fixture
def table(tmp_path: Path) -> ClaimTable:
    write(tmp_path, "digits-compute")
    return claim_tables(tmp_path)[0]


def loaded(table: ClaimTable) -> pd.DataFrame:
    found = load_runs(table)
    assert found is not None
    return found


def step_of(table: ClaimTable, runs: pd.DataFrame, claims: list, most: int = 200) -> Step | None:
    of_unit = {table.unit: runs}
    return next_step(judge([table.unit], of_unit, claims), [table], of_unit, most)


def test_what_is_trained_next_for_one_rival(table: ClaimTable) -> None:
    verdicts = judge([table.unit], {}, OF_IMAGES)
    assert next_step(verdicts, [table], {}, 200) == Step(table, ("descending", "uniform"), 0, 0.0)
    assert next_step(verdicts, [], {}, 200) is None
    open_ = made_up({"descending": 1.0, "uniform": 1.005}, noise=30).assign(seconds=2.0)
    step = step_of(table, open_, OF_IMAGES)
    assert step is not None
    assert (step.baselines, step.place) == (("descending", "uniform"), 8)
    assert step.seconds > 100
    # The one that is behind comes first; and no question gets more than the most seeds.
    behind = open_[(open_["baseline"] == "descending") | (open_["place"] < 4)]
    step = step_of(table, behind, OF_IMAGES)
    assert step is not None
    assert (step.baselines, step.place) == (("uniform",), 4)
    assert step_of(table, open_, OF_IMAGES, most=8) is None
    decided = made_up({"descending": 1.0, "uniform": 1.02}).assign(seconds=2.0)
    assert step_of(table, decided, OF_IMAGES) is None


def test_the_best_of_all_is_refuted_by_the_one_rival(tmp_path: Path) -> None:
    write(tmp_path, "tiny", *TEXT, ('"small"', '"tiny"'))
    table = claim_tables(tmp_path)[0]
    rivals = dict.fromkeys(BEST[0].rivals, 1.1)
    worse = made_up({"descending": 1.0, **rivals, "wave": 0.99}, noise=12).assign(seconds=2.0)
    step = step_of(table, worse, BEST)
    assert step is not None
    assert step.baselines == ("descending", "wave")
    # Where all are alike, those that are not beaten are trained.
    alike = made_up({"descending": 1.0, **dict.fromkeys(rivals, 1.001), "wave": 1.5}, noise=6)
    step = step_of(table, alike.assign(seconds=2.0), BEST)
    assert step is not None
    assert set(step.baselines) == {"descending", *rivals} - {"wave"}


def test_the_question_that_is_decided_soonest_comes_next(tmp_path: Path) -> None:
    for name, data in (("a", "digits"), ("b", "mnist")):
        write(tmp_path, name, ('"digits"', f'"{data}"'))
    tables = [table for table in claim_tables(tmp_path) if table.unit.about == "images"]
    units = [table.unit for table in tables]
    open_ = made_up({"descending": 1.0, "uniform": 1.005}, noise=10)
    runs = {units[0]: open_.assign(seconds=9.0), units[1]: open_.assign(seconds=1.0)}
    step = next_step(judge(units, runs, OF_IMAGES), tables, runs, 200)
    assert step is not None
    assert step.table == tables[1]
    del runs[units[0]]  # what has no look yet comes before all
    step = next_step(judge(units, runs, OF_IMAGES), tables, runs, 200)
    assert step is not None
    assert step.table == tables[0]


def test_runs_are_those_of_the_networks_and_seeds(table: ClaimTable) -> None:
    trainer, told = Trainer(table), []
    trainer.train(Step(table, ("uniform", DENSE_TOTAL), 0, 0.0), told.append)
    assert told == ["uniform", DENSE_TOTAL]
    found = loaded(table)
    by_baseline = found.groupby("baseline")["place"].agg(list)
    assert by_baseline.to_dict() == {"uniform": [0, 1, 2, 3], DENSE_TOTAL: [0, 1, 2, 3]}
    seeds = trainer.plan.confirmation_seeds(0)
    own = found[found["baseline"] == "uniform"]
    assert own["seed"].tolist() == list(seeds)
    network = networks(trainer.plan)["uniform"]
    expected = train(network, embedded_digits(seed=0), table.study.training, seeds).of_seeds
    curves = [np.mean([point.loss for point in one.curve]) for one in expected]
    assert own["curve_loss"].tolist() == pytest.approx(curves)
    assert own["test_loss"].between(1, 3).all()
    assert own["total_parameters"].eq(parameter_count(network).total).all()
    assert found["seconds"].gt(0).all()
    found.assign(data_fingerprint="other").to_parquet(table.path)
    with pytest.raises(InvalidInput, match="was made from other data"):
        Trainer(table).train(Step(table, ("uniform",), 4, 0.0))


def test_networks_that_are_the_same_are_trained_once(tmp_path: Path) -> None:
    write(tmp_path, "flat", ("depth = 4", "depth = 3"), ("experts = 16", "experts = 12"))
    table, told = claim_tables(tmp_path)[0], []
    Trainer(table).train(Step(table, ("uniform",), 0, 0.0), told.append)
    assert told == ["wave, inverted_wave, uniform"]
    assert loaded(table).groupby("place")["test_loss"].nunique().eq(1).all()
    assert loaded(table)["candidate"].unique().tolist() == ["4-4-4"]


def test_blocks_that_diverge_are_failed_runs(
    table: ClaimTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object, **others: object) -> None:
        raise NonFiniteLoss("the loss is not finite", 1.0)

    monkeypatch.setattr(training, "train", diverge)
    Trainer(table).train(Step(table, ("uniform",), 0, 0.0))
    assert len(loaded(table)) == 4
    assert loaded(table)["test_loss"].isna().all()


def test_the_networks_of_claims(tmp_path: Path) -> None:
    write(tmp_path, "a")
    found = networks(Trainer(claim_tables(tmp_path)[0]).plan)
    assert list(found) == [*PATTERNS_AND_UNIFORM, DENSE_ACTIVE, DENSE_TOTAL]
    edit(tmp_path / "a" / "study.toml", *DENSE_LAYERS)
    found = networks(Trainer(claim_tables(tmp_path)[0]).plan)
    of_claims = [found[name] for name in ("late", "early", FIRST_DENSE, "uniform")]
    schedules = [network.blocks.schedule.counts for network in of_claims]
    assert schedules[2] == (0, 4, 5, 5)
    assert [one.count(0) for one in schedules] == [2, 2, 1, 0]
    parameters = {parameter_count(network).total for network in of_claims}
    assert max(parameters) / min(parameters) < 1.01
    flops = {flops_per_token(network).expected for network in of_claims}
    assert max(flops) / min(flops) < 1.05


@pytest.mark.slow
def test_routings_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "GRADIENT_SAMPLES", 16)
    write(tmp_path, "a")
    table = claim_tables(tmp_path)[2]
    assert table.unit == Unit("routing", "digits", "descending")
    trainer = Trainer(table)
    trainer.train(Step(table, (DYNAMIC, FIXED), 0, 0.0))
    plan = trainer.plan
    claim = gradient_variance(
        plan.network_with(plan.baselines["descending"]),
        *(embedded_digits(seed=0), table.study.training, TopP(), TopK(), 2.0),
        plan.confirmation_seeds(0),
        samples=16,
        every=2,
    )
    variance = [claim for claim in CLAIMS if claim.about == "routing"]
    verdict = judge([table.unit], {table.unit: loaded(table)}, variance).iloc[0]
    assert np.exp(-verdict["effect"]) == pytest.approx(claim.comparison["ratio"][0])
    assert loaded(table)["candidate"].unique().tolist() == ["top_p", "top_k"]
