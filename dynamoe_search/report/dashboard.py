"""Optuna's dashboard on a study: a mirror in memory that follows the log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref import simple_server

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.errors import InvalidInput

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from dynamoe_search.study import Study


class Server(ThreadingMixIn, simple_server.WSGIServer):
    """Answers each request in a thread of its own."""

    daemon_threads = True


def make_server(study: Study, port: int) -> simple_server.WSGIServer:
    """A server of the dashboard, for this machine alone; call its `serve_forever`.

    Parameters
    ----------
    study : Study
    port : int
        0 for a free one, which is then its ``server_port``.

    Raises
    ------
    InvalidInput
        Where the study has not begun, `optuna-dashboard` is not installed, or the port is taken.
    """
    application = mirror(study)
    study.training_runs()
    try:
        return simple_server.make_server("127.0.0.1", port, application, Server, _QuietHandler)
    except OSError as error:
        raise InvalidInput(f"--port {port} cannot be used: {error.strerror}") from error


def mirror(study: Study) -> WSGIApplication:
    """The dashboard as a WSGI application that shows the study as its log is now.

    It is built again from the log when that has grown, as Optuna cannot change the value of a
    complete trial, and a candidate's mean changes with each block. An open page asks for new
    candidates by itself; it keeps the values of earlier ones until it is reloaded. Requests that
    would change something are refused.
    """
    try:
        import optuna_dashboard
    except ImportError:
        raise InvalidInput(
            "the dashboard needs optuna-dashboard; install the extra:"
            " pip install 'dynamoe-search[dashboard]'"
        ) from None
    lock = threading.Lock()
    position, application = -1, cast("WSGIApplication | None", None)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        nonlocal position, application
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Content-Type", "application/json")])
            return [json.dumps({"reason": "This dashboard only shows the study."}).encode()]
        with lock:
            now = study.position
            if application is None or now != position:
                storage = _Storage()
                study.to_optuna(storage)
                position, application = now, optuna_dashboard.wsgi(storage)
            current = application
        return current(environ, start_response)

    return serve


class _Storage(InMemoryStorage):
    """Optuna's, whose best trial is feasible: the dashboard itself does not look at that."""

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best of the feasible candidates; of all where none is feasible."""
        trials = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        feasible = [trial for trial in trials if trial.user_attrs["feasible"]]
        if not feasible:
            return super().get_best_trial(study_id)
        is_minimized = self.get_study_directions(study_id)[0] == StudyDirection.MINIMIZE
        best = min if is_minimized else max
        return best(feasible, key=lambda trial: trial.values[0])


class _QuietHandler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not news."""
