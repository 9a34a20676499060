"""Networks of a study: those that were kept, and the same trained again."""

from pathlib import Path

import pytest
import torch

from dynamoe_search.errors import InvalidInput
from dynamoe_search.study import Study
from dynamoe_search.training.checkpoint import read_about, save_model
from dynamoe_search.training.evaluation import evaluate
from tests.conftest import edit

SHORT = [("runs = 14", "runs = 4"), ("epochs = 2", "epochs = 1")]


def run(path: Path, allow_changes: bool = False) -> Study:
    study = Study(path)
    study.run(workers=1, progress=False, allow_changes=allow_changes)
    return study


@pytest.fixture
def begun(small_study: Path) -> Study:
    edit(small_study, *SHORT)
    return run(small_study)


@pytest.mark.slow
def test_a_network_that_was_not_kept_is_trained_again_and_is_the_same(begun: Study) -> None:
    started = list[tuple[int, str]]()

    def begin(number: int, candidate: str) -> None:
        started.append((number, candidate))

    runs = begun.training_runs()
    found = begun.network(run=2, on_start=begin)
    assert started == [(2, runs["candidate"][2])]
    assert found.loss_again == found.recorded_loss == runs["validation_loss"][2]
    assert found.seed == runs["seed"][2]
    again = begun.network(run=2, on_start=begin)
    assert len(started) == 1
    assert again.loss_again is None
    assert evaluate(again.model, again.data.validation).loss == pytest.approx(found.recorded_loss)


@pytest.mark.slow
def test_it_is_the_same_in_a_process_of_several_threads(begun: Study) -> None:
    torch.set_num_threads(2)
    try:
        found = begun.network(run=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert found.loss_again == found.recorded_loss
    assert begun.network(run=2).loss_again is None


@pytest.mark.slow
def test_what_lies_in_its_place_but_is_another_is_not_taken_for_it(begun: Study) -> None:
    found = begun.network(run=1)
    save_model(found.model, found.path, read_about(found.path) | {"seed": 0})
    assert begun.network(run=1).loss_again == found.recorded_loss


@pytest.mark.slow
def test_what_the_search_kept_is_not_trained_again(small_study: Path) -> None:
    edit(small_study, *SHORT, ("blocks = 2", "blocks = 2\nkeep_models = true"))
    assert run(small_study).network(run=3).loss_again is None


@pytest.mark.slow
def test_the_network_of_a_log_that_is_gone_is_not_taken_for_it(
    begun: Study, small_study: Path
) -> None:
    before = begun.network(run=1)
    small_study.with_name("study.db").unlink()
    edit(small_study, ("epochs = 1", "epochs = 3"))
    after = run(small_study).network(run=1)
    assert (after.candidate, after.seed, after.path) == (before.candidate, before.seed, before.path)
    assert after.loss_again == after.recorded_loss != before.recorded_loss


@pytest.mark.slow
def test_another_network_does_not_take_its_place(begun: Study, small_study: Path) -> None:
    kept = begun.network(run=1)
    written = kept.path.stat().st_mtime_ns
    edit(small_study, ("epochs = 1", "epochs = 2"))
    run(small_study, allow_changes=True)
    followed = begun.network(run=1, on_evaluation=lambda *seen: None)
    assert followed.loss_again != kept.recorded_loss
    assert kept.path.stat().st_mtime_ns == written
    assert begun.network(run=1).loss_again is None


@pytest.mark.slow
def test_the_leader_comes_first_and_a_schedule_by_its_first_block(begun: Study) -> None:
    runs = begun.training_runs()
    leader = runs.loc[runs["validation_loss"].idxmin()]
    found = begun.network()
    assert (found.run, found.candidate) == (leader["run"], leader["candidate"])
    by_schedule = begun.network(candidate=runs["schedule"][0])
    assert (by_schedule.run, by_schedule.block) == (0, 0)


@pytest.mark.slow
def test_following_it_trains_it_again(begun: Study) -> None:
    kept, fractions = begun.network(run=0), list[float]()
    found = begun.network(
        run=0, on_evaluation=lambda point, *seen: fractions.append(point.fraction)
    )
    assert fractions[-1] == 1
    assert found.loss_again == kept.recorded_loss


@pytest.mark.slow
def test_what_is_not_there_is_told(begun: Study) -> None:
    with pytest.raises(InvalidInput, match="run 99 is missing; choose one that is complete"):
        begun.network(run=99)
    with pytest.raises(InvalidInput, match="run -1 is missing; choose one that is complete"):
        begun.network(run=-1)
    with pytest.raises(InvalidInput, match="9-1-1-1 was not trained to its end in this study; 4"):
        begun.network(candidate="9-1-1-1")
    with pytest.raises(InvalidInput, match="no candidate"):
        begun.network(candidate="nonsense")
    with pytest.raises(InvalidInput, match="--device nonsense cannot be used"):
        begun.network(device="nonsense")
