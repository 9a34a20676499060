"""What callbacks are told of a study, whatever they do."""

import logging
import threading
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.trackers import Decided, RunEnded
from dynamoe_search.trackers.following import following
from tests.processes import wait_for
from tests.report import made_up
from tests.trackers import told

Event = RunEnded | Decided


def test_each_seed_of_each_run_that_has_ended_is_told_once(small_study: Path) -> None:
    study, heard = told.begin(small_study), list[Event]()
    told.tell(study, [heard.append])
    *runs, decided = heard
    table = study.training_runs()
    ended = table[~table["state"].isin(["died", "running"])]
    assert [run.key for run in runs] == [
        f"search {row.run} {row.seed}" for row in ended.itertuples()
    ]
    states = [run.row["state"] for run in runs if isinstance(run, RunEnded)]
    assert states == ["complete"] * 4 + ["diverged"] * 2 + ["out of memory"] * 2 + ["error"] * 2
    assert isinstance(decided, Decided)
    assert (decided.found, decided.runs, decided.at) == (told.FOUND, 5, runs[-1].ended)
    assert len({event.study.identity for event in heard}) == 1


def test_an_event_has_what_the_study_knows(small_study: Path) -> None:
    study, heard = told.begin(small_study), list[Event]()
    told.tell(study, [heard.append])
    run, failed = heard[0], heard[-2]
    assert isinstance(run, RunEnded)
    assert isinstance(failed, RunEnded)
    row = study.training_runs().iloc[0]
    assert run.study.settings["router.k"] == run.parameters["router.k"] == 1
    assert run.parameters["candidate"] == row["candidate"]
    assert run.title == f"descending seed {row['seed']}"
    assert run.results["validation_loss"] == row["validation_loss"]
    assert run.results["training_seconds"] == 1.0
    assert "test_loss" not in run.results  # which a search does not measure
    assert [(step, found["loss"]) for step, _, found in run.curve] == [
        (point["samples"], point["loss"]) for point in row["curve"]
    ]
    first, *_, last = [at for _, at, _ in run.curve]
    assert run.began <= first <= last == pytest.approx(run.ended)
    assert run.tags["version_torch"] == "2.13"
    assert failed.tags["message"] == "why: error"
    assert failed.results == {}
    assert failed.curve == []


def test_what_happens_while_a_session_runs_is_told(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamoe_search.trackers.following._SECONDS_BETWEEN_READINGS", 0.01)
    study, heard = told.begin(small_study), list[Event]()
    with following([heard.append], study.storage, "search", "", lambda: told.FOUND):
        wait_for(lambda: len(heard) == 10)
        told.add(study, "complete")
        wait_for(lambda: len(heard) == 12)
    assert [event.key for event in heard[10:]] == ["search 7 5", "search 7 6", "search decision"]


def test_another_session_tells_all_again_under_the_same_names(small_study: Path) -> None:
    study = told.begin(small_study)
    first, second = list[Event](), list[Event]()
    told.tell(study, [first.append])
    told.add(study, "complete")
    told.tell(study, [second.append])
    assert {one.key for one in second} - {one.key for one in first} == {"search 7 5", "search 7 6"}
    assert first[0].key == second[0].key
    assert first[0].study == second[0].study


def test_a_callback_that_fails_is_warned_of_once_and_stops_nothing(
    small_study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study, heard, calls = told.begin(small_study), list[Event](), list[Event]()

    def fail(event: Event) -> None:
        calls.append(event)
        raise ConnectionError("no server\nand more")

    told.tell(study, [fail, heard.append])
    assert (len(calls), len(heard)) == (1, 11)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "failed (ConnectionError: no server). Training goes on" in record.message


def test_a_callback_that_hangs_is_not_waited_for(
    small_study: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamoe_search.trackers.following._MOST_SECONDS_FOR_AN_EVENT", 0.05)
    study, go_on = told.begin(small_study), threading.Event()
    told.tell(study, [lambda event: go_on.wait()])  # type: ignore[arg-type,return-value]
    (record,) = caplog.records
    assert "took no event for 0.05 seconds" in record.message
    go_on.set()


def test_an_error_of_the_session_is_raised_after_all_is_told(small_study: Path) -> None:
    study, heard = told.begin(small_study), list[Event]()
    with (
        pytest.raises(ZeroDivisionError),
        following([heard.append], study.storage, "search", "", lambda: told.FOUND),
    ):
        raise ZeroDivisionError
    assert len(heard) == 10  # without a decision


def test_a_study_without_results_has_no_decision(small_study: Path) -> None:
    study, heard = made_up.begin(small_study), list[Event]()

    def conclude() -> None:
        raise InvalidInput("nothing is known")

    with following([heard.append], study.storage, "search", "", conclude):  # type: ignore[arg-type]
        pass
    assert heard == []


@pytest.mark.slow
def test_a_study_tells_its_runs_its_decision_and_its_confirmation(small_study: Path) -> None:
    made_up.search(small_study)
    study, heard = told.Study(small_study), list[Event]()
    assert study.run(1, progress=False, callbacks=[heard.append]) == "finished"
    decision = study.decision()
    decided = heard[-1]
    assert isinstance(decided, Decided)
    assert decided.found.sentences == decision.sentences
    assert decided.found.numbers["expected_regret"] == decision.expected_regret
    assert (decided.runs, len(heard)) == (14, 15)

    made_up.confirm(small_study)
    heard.clear()
    assert study.confirm(workers=1, progress=False, callbacks=[heard.append]) == "finished"
    decided = heard[-1]
    assert isinstance(decided, Decided)
    assert decided.key == "confirmation decision"
    assert decided.found.candidate == study.confirmation()[1].reference
    tests = [event.results["test_loss"] for event in heard[:-1] if isinstance(event, RunEnded)]
    assert len(tests) == len(study.training_runs("confirmation"))
