"""A ladder is trained scale by scale, and goes on where it was stopped."""

from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.ladder import scale_storage
from dynamoe_search.log.storage import storage_of
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.plan import Plan
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.report import made_up


class Killed(Exception):
    """In place of a process that ends."""


@pytest.fixture
def searched(small_study: Path) -> Study:
    edit(small_study, ("runs = 14", "runs = 10"), ("epochs = 2", "epochs = 1"))
    made_up.search(small_study)
    return Study(small_study)


@pytest.fixture
def quick(searched: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose ladder is made up, and not trained."""
    monkeypatch.setattr("dynamoe_search.run.session._carry_on", made_up.carry_on)
    return searched


@pytest.mark.slow
def test_every_scale_compares_the_same_from_the_same_seeds(quick: Study) -> None:
    said = []
    ending = quick.train_ladder(
        seeds=3,
        finalists=2,
        progress=False,
        on_scale=lambda scale, plan, found: said.append((scale, plan.depth, found.seeds)),
    )
    assert ending == "finished"
    assert said == [(1, 4, (3,)), (2, 6, (3,)), (3, 8, (3,))]
    results = quick.ladder()
    assert results.groupby("scale")["label"].nunique().nunique() == 1
    assert {"uniform", "descending", "wave"} <= set(results["label"])
    assert results.groupby(["scale", "label"])["seed"].agg(frozenset).nunique() == 1
    assert set(results["seed"]).isdisjoint(quick.training_runs()["seed"])
    by_scale = results.groupby("scale")["candidate"].agg(lambda texts: texts.str.len().max())
    assert by_scale.tolist() == [7, 11, 15]  # such as 5-4-2-1
    # A scale is a study like any other.
    table, confirmation = Study(quick.folder / "ladder" / "scale-2").confirmation()
    assert confirmation.reference == "3-3-3-3-3-3"
    assert len(table) == results["candidate"][results["scale"] == 2].nunique() - 1


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(quick: Study) -> None:
    def kill(scale: int, plan: Plan, found: Confirmation) -> None:
        if scale == 2:
            raise Killed

    options = {"seeds": 2, "finalists": 1, "baselines": ["ascending"], "progress": False}
    with pytest.raises(Killed):
        quick.train_ladder(**options, on_scale=kill)
    first = quick.ladder()
    assert set(first["scale"]) == {1}
    assert set(first["label"]) == {"descending", "uniform", "ascending"}
    quick.train_ladder(**options)
    whole = quick.ladder()
    assert set(whole["scale"]) == {1, 2, 3}
    pd.testing.assert_frame_equal(whole[whole["scale"] == 1], first)
    # More seeds and more scales keep what there is.
    quick.train_ladder(scales=4, seeds=4, progress=False)
    more = quick.ladder()
    assert (more.groupby(["scale", "label"])["seed"].nunique() == 4).all()
    assert set(more["scale"]) == {1, 2, 3, 4}
    kept = more.merge(whole, on=["scale", "label", "seed"])
    assert len(kept) == len(whole)
    assert kept["loss_x"].equals(kept["loss_y"])


@pytest.mark.slow
def test_what_is_fixed_cannot_be_changed(quick: Study) -> None:
    quick.train_ladder(seeds=2, finalists=0, baselines=["ascending"], progress=False)
    with pytest.raises(InvalidInput, match="has begun without 'wave'"):
        quick.train_ladder(baselines=["wave"], progress=False)
    with pytest.raises(InvalidInput, match="give the --growth of that ladder"):
        quick.train_ladder(growth=2.0, progress=False)


def test_sizes_that_cannot_be_are_refused_before_anything_is_written(quick: Study) -> None:
    with pytest.raises(InvalidInput, match="two scales of one size"):
        quick.train_ladder(growth=1.01, progress=False)
    with pytest.raises(InvalidInput, match="at least 3"):
        quick.train_ladder(scales=2, progress=False)
    with pytest.raises(InvalidInput, match="seeds is 1"):
        quick.train_ladder(seeds=1, progress=False)
    assert not (quick.folder / "ladder").exists()
    with pytest.raises(InvalidInput, match="no ladder with results yet; begin with"):
        quick.ladder()


def test_a_log_elsewhere_holds_the_scales_too(tmp_path: Path) -> None:
    assert scale_storage(storage_of(tmp_path), tmp_path, 2) == storage_of(
        tmp_path / "ladder" / "scale-2"
    )
    named = storage_of(tmp_path, None, "x")
    assert scale_storage(named, tmp_path / "x", 2) == storage_of(tmp_path / "x/ladder/scale-2")
    shared = storage_of(tmp_path, "jsonl:////shared/a.jsonl", "x")
    found = scale_storage(shared, tmp_path / "x", 3)
    assert (found.file, found.name) == (shared.file, "x-scale-3")


@pytest.mark.slow
def test_a_ladder_is_trained(searched: Study) -> None:
    searched.train_ladder(3, 1.3, 2, 1, finalists=0, baselines=["ascending"], progress=False)
    results = searched.ladder()
    assert len(results) == 3 * 2 * 2
    losses = results.groupby("scale")["loss"].mean()
    assert losses.is_monotonic_decreasing
    assert results.groupby("scale")["training_flops"].mean().is_monotonic_increasing
