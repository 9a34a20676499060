"""The report as a page that this machine serves to itself, and that follows the search."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html.page import make_report

if TYPE_CHECKING:
    from dynamoe_search.study import Study

HOST = "127.0.0.1"
# A page is made again after this many times as long as making it took, so that it leaves the
# search nine tenths of a core.
_REST = 9.0


class LivePage:
    """The report of a study, made again where its log has grown; the log is only read.

    Parameters
    ----------
    study : Study
    """

    def __init__(self, study: Study) -> None:
        self._study, self._lock = study, threading.Lock()
        self._version, self._html, self._not_before = -1, "", 0.0

    def version(self) -> int:
        """The version of the page that would be served now; it grows with the log."""
        with self._lock:
            return self._version_now()

    def html(self) -> str:
        """The page."""
        with self._lock:
            version = self._version_now()
            if version != self._version:
                start = time.monotonic()
                self._html, self._version = make_report(self._study, version=version), version
                now = time.monotonic()
                self._not_before = now + _REST * (now - start)
            return self._html

    def _version_now(self) -> int:
        if time.monotonic() < self._not_before:
            return self._version
        return self._study.position


class Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own, and says nothing of what goes wrong there."""

    daemon_threads = True

    def __init__(self, port: int, page: LivePage) -> None:
        super().__init__((HOST, port), _Handler)
        self.page = page

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer with the page, or its version."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a name that someone else has given this machine
            return self._answer(403, "This page is for the machine that makes it.")
        try:
            if self.path == "/version":
                return self._answer(200, str(self.server.page.version()))
            if self.path == "/":
                return self._answer(200, self.server.page.html(), "text/html")
        except Exception as error:  # such as a log that was moved: the next request may go well
            return self._answer(503, f"The report cannot be made now: {error}")
        return self._answer(404, "The report is at /.")

    def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not news."""


def make_server(study: Study, port: int) -> Server:
    """A server of a study's report, for this machine alone; call its `serve_forever`.

    Parameters
    ----------
    study : Study
    port : int
        0 for a free one, which is then its ``server_port``.

    Raises
    ------
    InvalidInput
        Where the study has not begun, or the port is taken.
    """
    study.training_runs()
    try:
        return Server(port, LivePage(study))
    except OSError as error:
        raise InvalidInput(f"--port {port} cannot be used: {error.strerror}") from error
