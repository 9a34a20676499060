"""The page that follows a search."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html import server as serving
from dynamoe_search.report.html.server import Server, make_server
from dynamoe_search.study import Study
from tests.report import made_up


@contextmanager
def served(study: Study) -> Iterator[Server]:
    with make_server(study, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(server: Server, path: str, host: str = "") -> tuple[int, str]:
    connection = HTTPConnection(serving.HOST, server.server_port)
    connection.request("GET", path, headers={"Host": host} if host else {})
    found = connection.getresponse()
    text = found.read().decode()
    connection.close()
    return found.status, text


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions of the pages that were made, which takes no time here."""
    made: list[int] = []

    def make_report(study: Study, version: int) -> str:
        made.append(version)
        return f"page {version}"

    monkeypatch.setattr(serving, "make_report", make_report)
    return made


def test_the_page_is_made_again_where_the_log_has_grown(
    small_study: Path, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_REST", 0.0)
    study = made_up.begin(small_study)
    with served(study) as server:
        status, first = answer(server, "/version")
        assert status == 200
        assert answer(server, "/") == answer(server, "/") == (200, f"page {first}")
        made_up.search(small_study, most=1)  # while the server reads the log
        _, second = answer(server, "/version")
        assert int(second) > int(first)
        assert answer(server, "/") == (200, f"page {second}")
    assert pages == [int(first), int(second)]


def test_a_page_that_took_long_rests(
    small_study: Path, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_REST", 1e12)
    with served(made_up.begin(small_study)) as server:
        _, first = answer(server, "/")
        made_up.search(small_study, most=1)
        assert f"page {answer(server, '/version')[1]}" == first == answer(server, "/")[1]
    assert len(pages) == 1


def test_other_requests_are_refused(small_study: Path, pages: list[int]) -> None:
    study = made_up.begin(small_study)
    with served(study) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert answer(server, "/../study.toml")[0] == 404
        assert answer(server, "/", host="elsewhere.example:80")[0] == 403
        assert answer(server, "/", host=f"localhost:{server.server_port}")[0] == 200
        small_study.with_name("study.db").unlink()
        status, said = answer(server, "/version")
        assert status == 503
        assert "The report cannot be made now: " in said
        with pytest.raises(InvalidInput, match=f"--port {server.server_port} cannot be used"):
            make_server(made_up.begin(small_study), server.server_port)
