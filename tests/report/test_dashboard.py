"""Optuna's dashboard on a study whose log grows, also in a real browser."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import RunResult, Start, finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log
from dynamoe_search.report.dashboard import make_server, mirror
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.report import made_up

pytest.importorskip("optuna_dashboard")
STUDY = "/api/studies/0"
BROWSER = Path("/usr/bin/chromium")


@pytest.fixture
def study(small_study: Path) -> Study:
    """A study with a run of three candidates."""
    study = made_up.begin(small_study)
    for candidate, loss in (("3-3-3-3", 0.21), ("5-4-2-1", 0.1375), ("1-2-4-5", 0.3)):
        train(study, candidate, loss)
    return study


def train(study: Study, candidate: str, loss: float, block: int = 0, active: float = 1.0) -> None:
    """Log a complete run."""
    state = State()
    with open_log(study.storage, create=False) as log:
        catch_up(log, state)
        start = Start("search", candidate, block, 0, (block,), "", "", len(state.search.runs))
        result = RunResult(validation_loss=loss, active_experts=active, total_parameters=1000)
        log.append(started(start), finished(start, "complete", [result]))


def ask(application: WSGIApplication, path: str, method: str = "GET") -> tuple[str, Any]:
    """The status of an answer, and its JSON."""
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": path}
    setup_testing_defaults(environ)
    told: list[str] = []

    def start_response(status: str, headers: object, error: object = None) -> None:
        told.append(status)

    body = b"".join(application(environ, start_response))  # type: ignore[arg-type]
    return told[0], json.loads(body)


def test_a_trial_is_a_candidate_and_follows_its_estimate(study: Study) -> None:
    application = mirror(study)
    status, before = ask(application, STUDY)
    assert status == "200 OK"
    assert [trial["values"] for trial in before["trials"]] == [[0.21], [0.1375], [0.3]]
    assert [trial["number"] for trial in before["best_trials"]] == [1]
    train(study, "5-4-2-1", 0.2389, block=1)
    train(study, "4-4-2-2", 0.12)
    _, after = ask(application, STUDY)
    values = [trial["values"] for trial in after["trials"]]
    assert values == [[0.21], [pytest.approx(0.1882)], [0.3], [0.12]]
    assert [trial["number"] for trial in after["best_trials"]] == [3]
    # Addresses of pages stay valid.
    ids = [[(t["trial_id"], t["study_id"]) for t in shown["trials"]] for shown in (before, after)]
    assert ids[1][:3] == ids[0] == [(0, 0), (1, 0), (2, 0)]
    _, listed = ask(application, "/api/studies")
    assert [(one["study_id"], one["study_name"]) for one in listed["study_summaries"]] == [
        (0, study.title)
    ]


def test_it_is_made_again_only_when_the_log_has_grown(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    to_optuna = study.to_optuna

    def counted(storage: Any) -> Any:
        made.append(study.position)
        return to_optuna(storage)

    monkeypatch.setattr(study, "to_optuna", counted)
    application = mirror(study)
    for _ in range(3):
        ask(application, STUDY)
    assert len(made) == 1
    train(study, "4-4-2-2", 0.12)
    ask(application, STUDY)
    ask(application, "/api/studies")
    assert made == [made[0], study.position]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(study: Study, method: str) -> None:
    application = mirror(study)
    before = ask(application, STUDY)
    status, answer = ask(application, STUDY, method)
    assert status == "405 Method Not Allowed"
    assert answer == {"reason": "This dashboard only shows the study."}
    assert ask(application, STUDY) == before


def test_the_best_trial_meets_the_constraints(small_study: Path) -> None:
    edit(small_study, ('"blend"', '"blend"\nconstraints = ["active_experts <= 1.5"]'))
    study = made_up.begin(small_study)
    application = mirror(study)
    assert ask(application, STUDY)[1]["best_trials"] == []

    def best() -> list[int]:
        return [trial["number"] for trial in ask(application, STUDY)[1]["best_trials"]]

    train(study, "3-3-3-3", 0.2, active=2)
    train(study, "5-4-2-1", 0.1, active=2)
    assert best() == [1]  # where none meets them, the best of all
    train(study, "1-2-4-5", 0.3, active=1)
    train(study, "4-4-2-2", 0.4, active=1)
    assert best() == [2]
    # Most seeds decide, as in the leaderboard.
    for block in (1, 2):
        train(study, "5-4-2-1", 0.1, block, active=1)
    assert best() == [1]
    assert study.leaderboard()["candidate"][0] == "5-4-2-1"


def test_the_best_of_what_is_maximized(small_study: Path) -> None:
    edit(small_study, ('"blend"', '"blend"\nobjectives = ["utilization_entropy"]'))
    study, state = made_up.begin(small_study), State()
    with open_log(study.storage, create=False) as log:
        catch_up(log, state)
        for number, (candidate, entropy) in enumerate([("3-3-3-3", 0.9), ("5-4-2-1", 0.8)]):
            start = Start("search", candidate, 0, 0, (0,), "", "", number)
            result = RunResult(validation_loss=0.5, utilization_entropy=entropy)
            log.append(started(start), finished(start, "complete", [result]))
    assert [trial["number"] for trial in ask(mirror(study), STUDY)[1]["best_trials"]] == [0]


def test_nothing_is_said_in_the_terminal(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with served(study) as address:
        assert b"Optuna Dashboard" in get(f"{address}/dashboard")
    said = capsys.readouterr()
    assert said.out + said.err == ""


def test_what_cannot_be_served(study: Study, small_study: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"--port {port} cannot be used: Address already"):
            make_server(study, port)
    (small_study.parent / "study.db").unlink()
    with pytest.raises(InvalidInput, match="holds no results yet"):
        make_server(Study(small_study), 0)


def test_without_the_extra_it_is_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(InvalidInput, match=r"pip install 'dynamoe-search\[dashboard\]'"):
        make_server(study, 0)


def get(address: str) -> bytes:
    from urllib.request import urlopen

    with urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


@contextmanager
def served(study: Study, on_question: Callable[[int], None] = lambda number: None) -> Iterator[str]:
    """The address of a server; `on_question` is told before each answer how many were asked."""
    with make_server(study, 0) as server:
        application = server.get_app()
        assert application is not None
        asked = 0

        def counting(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
            nonlocal asked
            if environ["PATH_INFO"] == STUDY:
                asked += 1
                on_question(asked)
            return application(environ, start_response)

        server.set_app(counting)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def page(address: str, seconds: int) -> str:
    """The text of a page that was open for so long by the browser's own, virtual, clock."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--virtual-time-budget={1000 * seconds}", address]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    shown = re.sub(r"<(style|script).*?</\1>", "", shown, flags=re.DOTALL)
    return re.sub(r"[|\s]*\|[|\s]*", "|", re.sub(r"<[^>]+>", "|", shown))


@pytest.mark.long
@pytest.mark.skipif(not BROWSER.exists(), reason=f"{BROWSER} is not installed")
def test_a_browser_follows_a_search(study: Study) -> None:
    def go_on(questions: int) -> None:
        if questions == 3:  # the page is open, and asks again by itself
            train(study, "5-4-2-1", 0.2389, block=1)
            train(study, "4-4-2-2", 0.12)

    candidate = "/dashboard/studies/0/trials?numbers=1"
    with served(study) as address:
        assert "|Value|0.1375|" in page(f"{address}{candidate}", seconds=5)
    with served(study, go_on) as address:
        shown = page(f"{address}/dashboard/studies/0", seconds=45)
        assert study.title in shown
        found = "Best Trial (number=3)|0.12|Params = [experts_1: 4, experts_2: 4, experts_3: 2"
        assert found in shown
        # Reloaded, it shows the changed estimate.
        shown = page(f"{address}{candidate}", seconds=5)
        assert "|Value|0.1882" in shown
        for attribute in ("schedule 5-4-2-1", "pattern descending", "group pattern", "seeds 2"):
            assert f"|{attribute}|" in shown
