"""Blocks of several seeds: trained at once, recorded once, with a result for each seed."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.study import Study
from dynamoe_search.training import loop
from dynamoe_search.training.checkpoint import load_model, read_about
from dynamoe_search.training.evaluation import evaluate
from tests.conftest import edit
from tests.run.processes import KEY, begin, carry_out, die_at_append, dies

pytestmark = pytest.mark.slow

DIGITS = embedded_digits(seed=0)
SEEDS = 3


@pytest.fixture
def path(small_study: Path) -> Path:
    """A study of two runs of three seeds."""
    blocks = ("seeds = 1", f"seeds = {SEEDS}")
    edit(small_study, blocks, ("epochs = 2", "epochs = 1"), ("runs = 14", "runs = 2"))
    return small_study


def run(path: Path) -> Study:
    study = Study(path)
    assert study.run(workers=1, progress=False) == "finished"
    return study


def test_each_seed_has_the_result_of_its_place_in_the_block(path: Path) -> None:
    study = run(path)
    runs, plan = study.training_runs(), study.plan
    assert runs["run"].tolist() == [0] * SEEDS + [1] * SEEDS
    assert runs["seed"].tolist() == list(plan.seeds(0)) * 2
    candidate = runs["candidate"][0]
    found = loop.train(
        plan.network_with(parse_candidate(candidate)), DIGITS, plan.study.training, plan.seeds(0)
    )
    for row, seed in zip(runs.to_dict("records"), found.of_seeds, strict=False):
        assert row["validation_loss"] == seed.validation.loss
        assert [point["loss"] for point in row["curve"]] == [point.loss for point in seed.curve]
        assert row["training_flops"] == seed.flops


@pytest.mark.parametrize("moment", [1, 2])
def test_a_killed_block_is_recorded_once_for_each_seed(path: Path, url: str, moment: int) -> None:
    """Killed before its results are recorded, or after."""
    study = begin(path, url)
    killer = partial(die_at_append, 2, moment == 1, Path(os.devnull))
    assert dies(path, url, prepare=killer)
    before = study.training_runs()
    assert before["state"].tolist() == [["running", "complete"][moment - 1]] * SEEDS
    carry_out(path, url)
    runs = study.training_runs()
    complete = runs[runs["state"] == "complete"]
    assert len(complete) == 2 * SEEDS
    assert not complete.duplicated([*KEY, "seed"]).any()
    assert runs["state"].tolist() == ["died"] * SEEDS * (2 - moment) + ["complete"] * 2 * SEEDS
    with open_log(study.storage, create=False) as log:
        ends = [event for _, event in log.read() if event.kind == "finished"]
    assert [len(end.content["results"]) for end in ends] == [SEEDS, SEEDS]


def test_one_seed_that_diverges_takes_its_block_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_seeds = loop.evaluate_seeds

    def one_diverges(*arguments: Any) -> list[Any]:
        first, *others = evaluate_seeds(*arguments)
        return [replace(first, loss=float("nan")), *others]

    monkeypatch.setattr(loop, "evaluate_seeds", one_diverges)
    study = begin(path)
    carry_out(path)
    runs, seeds = study.training_runs(), study.plan.seeds(0)
    assert runs["state"].tolist() == ["diverged"] * 2 * SEEDS
    assert runs["seed"].tolist() == list(seeds) * 2
    assert runs["validation_loss"].isna().all()
    assert set(runs["message"]) == {
        f"the validation loss of seed {seeds[0]} is nan at 12% of the training"
    }
    with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
        study.leaderboard()


def test_a_block_is_pruned_as_a_whole_by_its_mean(path: Path) -> None:
    edit(path, ('"random"', '"random"\npruner = "median"'), ("runs = 2", "runs = 16"))
    study = run(path)
    runs = study.training_runs()
    assert (runs.groupby("run")["state"].nunique() == 1).all()
    pruned = runs[runs["state"] == "pruned"]
    assert len(pruned) >= SEEDS
    assert (pruned.groupby("run").size() == SEEDS).all()
    assert (pruned.groupby("run")["fraction"].nunique() == 1).all()
    with open_log(study.storage, create=False) as log:
        events = [event.content for _, event in log.read() if event.kind == "reported"]
    for (candidate, block), own in runs.groupby(KEY):
        reported = [e["loss"] for e in events if (e["candidate"], e["block"]) == (candidate, block)]
        curves = [[point["loss"] for point in curve] for curve in own["curve"]]
        assert reported == pytest.approx(np.mean(curves, axis=0))


def test_the_network_of_each_seed_is_kept_and_found(path: Path) -> None:
    edit(path, ("blocks = 2", "blocks = 2\nkeep_models = true"))
    study = run(path)
    runs = study.training_runs()
    kept = sorted((path.parent / "models").iterdir())
    names = [f"search-{row.run:05d}-{row.seed}.safetensors" for row in runs.itertuples()]
    assert [file.name for file in kept] == sorted(names)
    for row in runs.itertuples():
        found = study.network(run=row.run, seed=row.seed)
        assert found.loss_again is None
        assert (found.run, found.candidate, found.seed) == (row.run, row.candidate, row.seed)
        assert found.recorded_loss == row.validation_loss
        loss = evaluate(found.model, DIGITS.validation).loss
        assert loss == pytest.approx(row.validation_loss, rel=1e-6)
        about = read_about(found.path)
        assert (about["seed"], about["candidate"]) == (row.seed, row.candidate)
        assert load_model(found.path).specification == found.model.specification
    # Without a seed it is the first of the block.
    assert study.network(run=1).seed == study.plan.seeds(0)[0]
    seeds = ", ".join(map(str, study.plan.seeds(0)))
    with pytest.raises(InvalidInput, match=f"run 1 has no seed 7; it has {seeds}"):
        study.network(run=1, seed=7)


def test_one_seed_is_trained_again_within_its_block(path: Path) -> None:
    study = run(path)
    last = study.plan.seeds(0)[-1]
    followed: list[float] = []
    found = study.network(
        run=1, seed=last, on_evaluation=lambda point, model: followed.append(point.loss)
    )
    runs = study.training_runs()
    (row,) = runs[(runs["run"] == 1) & (runs["seed"] == last)].to_dict("records")
    assert found.loss_again == found.recorded_loss == row["validation_loss"]
    assert followed == [point["loss"] for point in row["curve"]]
    # Only the one that was asked for is kept.
    assert [file.name for file in found.path.parent.iterdir()] == [found.path.name]
    assert study.network(run=1, seed=last).loss_again is None


def test_a_confirmation_trains_whole_blocks(path: Path) -> None:
    study = run(path)
    assert study.confirm(4, workers=1, progress=False) == "finished"
    table, confirmation = study.confirmation()
    runs = study.training_runs("confirmation")
    # Four seeds take two blocks of three.
    seeds = [*study.plan.confirmation_seeds(0), *study.plan.confirmation_seeds(1)]
    assert runs.groupby("candidate")["seed"].apply(list).tolist() == [seeds] * len(
        confirmation.names
    )
    assert runs["test_loss"].notna().all()
    assert runs.groupby("candidate")["test_loss"].nunique().eq(6).all()
    assert (table["seeds"] == 6).all()
    # One seed more needs nothing more.
    assert study.confirm(5, workers=1, progress=False) == "finished"
    assert study.training_runs("confirmation").equals(runs)
