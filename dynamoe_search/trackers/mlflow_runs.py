"""Training runs and decisions as runs of MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import WITH_RESULTS
from dynamoe_search.trackers.happenings import Decided, RunEnded, StudyTold

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

_STUDY, _KEY = "dynamoe_search.study", "dynamoe_search.key"
_DESCRIPTION = "mlflow.note.content"  # which MLflow shows above a run
_ENDED = ("FINISHED", "FAILED")
_LONGEST_PARAMETER, _LONGEST_TAG = 500, 5000  # which every version of MLflow takes


class MlflowTracker:
    """Writes what happens in a study to MLflow, in an experiment of the study's name.

    Each seed of a training run is a run of MLflow. Its parameters are the candidate and the study's
    settings. Its metrics are what it found and cost, and, over samples, the learning curve:
    ``curve/loss``, ``curve/accuracy`` and ``curve/flops``. Its tags are its state and its stage.
    The decision is a run, too: its metrics are over the number of training runs, and its
    description is the decision in words. What MLflow has already is not written again.

    Parameters
    ----------
    uri : str, optional
        The tracking URI, such as ``sqlite:///mlflow.db`` or ``http://localhost:5000``; where it is
        None, what MLflow itself is set to (MLFLOW_TRACKING_URI).

    Raises
    ------
    InvalidInput
        Where MLflow is not installed.
    """

    title = "The tracker mlflow"

    def __init__(self, uri: str | None = None) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise InvalidInput(
                f"MLflow cannot be imported ({error}): pip install 'dynamoe-search[mlflow]'"
            ) from error
        # Made in the thread that writes: to make a store takes seconds, and it may not be there.
        self._make_client: Callable[[], MlflowClient] = partial(MlflowClient, uri)
        self._experiments: dict[str, str] = {}
        self._written: dict[str, dict[str, str]] = {}

    def __call__(self, event: RunEnded | Decided) -> None:
        """Write what has happened, where MLflow does not have it."""
        study = event.study
        if study.identity not in self._written:
            self._experiments[study.identity] = self._experiment(study.name)
            self._written[study.identity] = self._runs_of(study)
        if isinstance(event, Decided):
            self._write_decision(event)
        elif event.key not in self._written[study.identity]:
            self._write_run(event)

    @cached_property
    def _client(self) -> MlflowClient:
        return self._make_client()

    def _experiment(self, name: str) -> str:
        """The id of the experiment of a name, which is made where there is none."""
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _runs_of(self, study: StudyTold) -> dict[str, str]:
        """The id of each run of a study that MLflow has whole, by its key; others are deleted."""
        found: dict[str, str] = {}
        query, token = f"tags.`{_STUDY}` = '{study.identity}'", None
        while True:
            page = self._client.search_runs(
                [self._experiments[study.identity]], query, page_token=token
            )
            for run in page:
                if run.info.status in _ENDED:
                    found[run.data.tags[_KEY]] = run.info.run_id
                else:  # a session was killed while it wrote this one
                    self._client.delete_run(run.info.run_id)
            if not (token := page.token):
                return found

    def _begin(self, event: RunEnded | Decided, title: str, began: float) -> str:
        """Make a run, which is not whole yet; its id."""
        identity = event.study.identity
        run = self._client.create_run(
            self._experiments[identity],
            start_time=_milliseconds(began),
            tags={_STUDY: identity, _KEY: event.key},
            run_name=title,
        )
        return str(run.info.run_id)

    def _end(self, event: RunEnded | Decided, run_id: str, status: str, ended: float) -> None:
        """End a run: from now on it is whole."""
        self._client.set_terminated(run_id, status, _milliseconds(ended))
        self._written[event.study.identity][event.key] = run_id

    def _write_run(self, event: RunEnded) -> None:
        run_id = self._begin(event, event.title, event.began)
        metrics = _metrics(event.results, event.steps, event.ended)
        for samples, at, found in event.curve:
            named = {f"curve/{name}": value for name, value in found.items()}
            metrics += _metrics(named, samples, at)
        self._client.log_batch(run_id, metrics, _params(event.parameters), _tags(event.tags))
        status = "FINISHED" if event.row["state"] in WITH_RESULTS else "FAILED"
        self._end(event, run_id, status, event.ended)

    def _write_decision(self, event: Decided) -> None:
        run_id = self._written[event.study.identity].get(event.key)
        if run_id is None:
            run_id = self._begin(event, event.key, event.at)
        found = event.found
        # The same point twice, of two sessions without a training run between, counts once.
        metrics = _metrics(found.numbers, event.runs, event.at)
        texts = {"candidate": found.candidate, _DESCRIPTION: "\n\n".join(found.sentences)}
        self._client.log_batch(run_id, metrics, tags=_tags(texts))
        self._end(event, run_id, "FINISHED", event.at)


def _metrics(values: Mapping[str, float], step: int, at: float) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, _milliseconds(at), step) for name, value in values.items()]


def _params(values: Mapping[str, Any]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in values.items()]


def _tags(texts: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(name, text[:_LONGEST_TAG]) for name, text in texts.items()]


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
