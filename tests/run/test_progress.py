"""How a study stands, against what its table of trials says."""

from pathlib import Path

import pytest
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study
from dynamoe_search.search.agenda import SearchAgenda

from dynamoe_search.cli.console import open_study
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run.progress import Overview, Progress
from dynamoe_search.run.session import Resources
from dynamoe_search.run.worker import load_study_data
from tests.conftest import edit


def overview_of(path: Path, seen: list[Progress]) -> Overview:
    study_file = read_study_file(path)
    plan = make_plan(study_file, load_study_data(study_file, None))
    study = open_study(place_of(path.parent))
    return Overview(study, plan, SearchAgenda(study_file.search), seen.append)


def test_the_best_are_those_of_the_smallest_mean_loss(small_study: Path) -> None:
    run_study(small_study, Resources(workers=1))
    trials = load_trials(small_study)
    trials = trials[trials["state"] == "complete"]
    means = trials.groupby("schedule")["validation_loss"].mean()
    patterns = trials[trials["pattern"] != ""].groupby("pattern")["validation_loss"].mean()
    seen: list[Progress] = []
    overview = overview_of(small_study, seen)
    overview.report(overview.ledger(), under_way=0.5, workers=2, finishing=True)
    (progress,) = seen
    assert (progress.workers, progress.finishing, progress.fraction) == (2, True, 1.0)
    for found, expected in ((progress.best, means), (progress.best_pattern, patterns)):
        assert found is not None
        assert found[0] == expected.idxmin()
        assert found[1] == pytest.approx(expected.min())
    assert progress.best is not None
    assert progress.best[2] == (trials["schedule"] == progress.best[0]).sum()


def test_the_records_are_read_no_oftener_than_asked(small_study: Path) -> None:
    edit(small_study, ("trials = 14", "trials = 1"))
    run_study(small_study, Resources(workers=1))
    seen: list[Progress] = []
    overview = overview_of(small_study, seen)
    before = overview.ledger()
    edit(small_study, ("trials = 1", "trials = 2"))
    run_study(small_study, Resources(workers=1))
    assert overview.ledger(age=3600) is before
    overview.report(before, under_way=0.0, workers=1, finishing=False)
    assert overview.ledger().trained == before.trained + 1
    overview.report(overview.ledger(age=3600), under_way=0.0, workers=1, finishing=False)
    assert [progress.ledger.trained for progress in seen] == [1, 2]
