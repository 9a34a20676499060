"""A small study to be told of, with runs that were complete, failed, or are under way."""

from collections.abc import Sequence
from pathlib import Path

from dynamoe_search.log.runs import RunResult, Start, finished, lost, started
from dynamoe_search.log.storage import open_log
from dynamoe_search.study import Study
from dynamoe_search.trackers import Callback
from dynamoe_search.trackers.following import following
from dynamoe_search.trackers.happenings import Conclusion
from tests.conftest import edit
from tests.report import made_up

FOUND = Conclusion("6-3-2-1", ("Take it.", "It is sure."), {"expected_regret": 0.25, "margin": 0.5})


def begin(path: Path) -> Study:
    """Two runs of two seeds each are complete, and one of each other kind has ended."""
    edit(path, ("seeds = 1", "seeds = 2"))
    made_up.search(path, most=2)
    study = Study(path)
    add(study, "diverged", "out of memory", "error", "died", "")
    return study


def add(study: Study, *states: str) -> None:
    """A run for each state, of two seeds; "" for one that is under way."""
    have = study.training_runs()["run"].nunique()
    with open_log(study.storage, create=False) as log:
        for number, state in enumerate(states, have):
            start = Start("search", "3-3-3-3", number, 0, (5, 6), "w", "s", number)
            log.append(started(start))
            if state == "died":
                log.append(lost(start, "died"))
            elif state == "complete":
                results = [made_up.made_up_result("3-3-3-3", seed, "data") for seed in (5, 6)]
                log.append(finished(start, "complete", results))
            elif state:
                spent = [RunResult(training_flops=1e6)] if state == "diverged" else []
                log.append(finished(start, state, spent, f"why: {state}"))  # type: ignore[arg-type]


def tell(study: Study, callbacks: Sequence[Callback], found: Conclusion = FOUND) -> None:
    """A session in which nothing is trained."""
    with following(callbacks, study.storage, "search", study.title, lambda: found):
        pass
