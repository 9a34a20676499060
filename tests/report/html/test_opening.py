"""What the page begins with, whatever a study has so far."""

from pathlib import Path

import pytest

from dynamoe_search.log.runs import finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.opening import Opening, make_opening
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.report import made_up
from tests.report.html.conftest import WithLadder


def opening(study: Study | Path) -> Opening:
    study = study if isinstance(study, Study) else Study(study)
    return make_opening(Evidence(study, study.training_runs()))


def commands(found: Opening) -> list[str]:
    return [step.command for step in found.steps if step.command]


def test_of_a_study_that_has_only_begun(small_study: Path) -> None:
    found = opening(made_up.begin(small_study))
    assert found.statement == "Nothing is decided yet: no training run is complete."
    assert found.costs["Training runs"] == "none yet; at most 14"
    assert commands(found) == ["dynamoe-search run study.toml"]
    assert found.steps[0].text == "Begin the search."


def test_of_a_study_whose_runs_all_failed(small_study: Path) -> None:
    study = made_up.begin(small_study)
    policy, state = SearchPolicy(study.plan), State()
    with open_log(study.storage, create=False) as log:
        for _ in range(2):
            catch_up(log, state, policy.follow)
            start = policy.ask(state, worker="", session="")
            assert start is not None
            log.append(started(start), finished(start, "error", message="no memory is left"))
    found = opening(study)
    assert found.statement == "Nothing can be decided: all 2 training runs have failed."
    assert found.sentences == ["The message: no memory is left"]
    assert found.steps[0].text == "Mend what failed, and go on."


def test_of_a_single_loss(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    found = opening(small_study)
    assert found.statement == (
        "Nothing is decided yet: descending (5-4-2-1) is the only candidate whose loss is known."
    )
    assert not found.figures
    assert commands(found)[0] == "dynamoe-search run study.toml"


@pytest.mark.slow
def test_of_a_study_that_is_decided(small_study: Path) -> None:
    edit(small_study, ("blocks = 2", "blocks = 2\nmargin = 0.1"))
    made_up.search(small_study)
    found = opening(small_study)
    assert found.statement == (
        "Take descending (5-4-2-1): with a probability of 95 % it is within 0.1 nats of the best"
        " of 81 candidates."
    )
    assert found.costs["Still to train"] == "nothing: the bound is within the margin"
    assert commands(found) == ["dynamoe-search confirm study.toml"]
    (figure,) = found.figures.values()
    assert figure.axes[0].get_yticklabels()[0].get_text() == "descending"


@pytest.mark.slow
def test_of_a_study_that_is_not_decided(small_study: Path) -> None:
    edit(small_study, ("blocks = 2", "blocks = 2\nmargin = 1e-5"))
    made_up.search(small_study)
    found = opening(small_study)
    assert "Take descending (5-4-2-1) for now: it may still be 0.0" in found.statement
    assert found.statement.endswith("81 candidates, more than the margin of 1e-05.")
    assert "after you have raised the limit of the section search" in found.steps[0].text
    assert commands(found)[0] == "dynamoe-search run study.toml"


@pytest.mark.slow
def test_of_a_study_that_is_confirmed(rich_study: Path) -> None:
    found = opening(rich_study)
    said = found.sentences[-1]
    assert said.startswith("Confirmed on the test split from up to 4 fresh seeds: of ")
    table, _ = Study(rich_study).confirmation()
    undecided = int((table["verdict"] == "undecided").sum())
    assert ("confirm --seeds 8" in " ".join(commands(found))) == (undecided > 0)
    assert "dynamoe-search ladder study.toml" in commands(found)
    assert "dynamoe-search ladder study.toml" not in commands(opening(WithLadder(rich_study)))


@pytest.mark.slow
def test_of_several_objectives(small_study: Path) -> None:
    edit(small_study, ("blocks = 2", 'blocks = 2\nobjectives = ["loss", "active_flops"]'))
    made_up.search(small_study, most=6)
    found = opening(small_study)
    assert " on the Pareto front of validation loss and " in found.statement
    assert len(found.figures) == 1
    assert commands(found)[0] == "dynamoe-search leaderboard study.toml"


@pytest.mark.slow
def test_of_the_source_s_regime(small_study: Path) -> None:
    edit(small_study, ("experts = 12", 'regime = "paper"\nminimum = 2\nmaximum = 4'))
    made_up.search(small_study, most=4)
    assert any('regime = "compute"' in step.text for step in opening(small_study).steps)
