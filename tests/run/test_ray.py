"""The Ray engine on a cluster of two nodes, whose tasks and nodes are really killed."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.run.observation import Observation
from dynamoe_search.run.progress import Snapshot
from dynamoe_search.run.ray import RayCluster, train_one
from dynamoe_search.run.session import Ending, Resources
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.processes import another_process
from tests.run.processes import (
    assert_accounted_for,
    begin,
    carry_out,
    hang_elsewhere,
    job_of,
    kill_in_training,
    training,
    wait_for_runs,
)

SLOWER = ("epochs = 2", "epochs = 40")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()  # the cluster notes its address there
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


def run_on(
    cluster: Any,
    study: Study,
    progress: Callable[[Snapshot], None] = lambda snapshot: None,
    cpus: float = 1.0,
    **resources: Any,
) -> Ending:
    """Run a study on a cluster."""
    ray = RayCluster(cluster.address, cpus=cpus)
    return study.run(resources=Resources(ray=ray, **resources), progress=progress)


def once_running(count: int, act: Callable[[], object]) -> Callable[[Snapshot], None]:
    """Do something the first time that so many training runs are under way."""
    done = []

    def look(snapshot: Snapshot) -> None:
        if not done and snapshot.running == count:
            done.append(act())

    return look


@pytest.mark.slow
def test_every_training_run_is_a_task(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("runs = 14", "runs = 6"))
    study = Study(small_study)
    assert run_on(cluster, study) == "finished"
    runs = assert_accounted_for(study, 6)
    assert "died" not in set(runs["state"])


@pytest.mark.long
def test_fractions_of_a_core(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("runs = 14", "runs = 6"))
    study, workers = Study(small_study), []
    run_on(cluster, study, lambda snapshot: workers.append(snapshot.workers), cpus=0.5)
    assert_accounted_for(study, 6)
    assert max(workers) == 4


@pytest.mark.slow
def test_a_killed_task_is_tried_again(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("runs = 14", "runs = 5"))
    study = Study(small_study)
    # It looks from a study of its own.
    run_on(cluster, study, once_running(1, lambda: kill_in_training(Study(small_study))))
    runs = assert_accounted_for(study, 5)
    assert (runs["state"] == "died").sum() == 1


@pytest.mark.long
def test_a_stopped_task_is_ended_and_tried_again(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("runs = 14", "runs = 5"))
    study, stopped = Study(small_study), list[int]()

    def stop(snapshot: Snapshot) -> None:
        if not stopped:
            stopped.extend([*training(Study(small_study)).values()][:1])
            for process in stopped:
                os.kill(process, signal.SIGSTOP)

    assert run_on(cluster, study, stop, grace=5.0) == "finished"
    runs = assert_accounted_for(study, 5)
    assert (runs["state"] == "died").sum() == 1


@pytest.mark.long
def test_a_lost_node(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("runs = 14", "runs = 5"))
    study, node = Study(small_study), cluster.add_node(**NODE)
    run_on(cluster, study, once_running(3, lambda: cluster.remove_node(node)))
    runs = assert_accounted_for(study, 5)
    assert (runs["state"] == "died").sum() <= 1


@pytest.mark.long
def test_a_run_that_is_lost_elsewhere_is_tried_again(
    small_study: Path, cluster: Any, tmp_path: Path
) -> None:
    edit(small_study, ("runs = 14", "runs = 2"))
    url = f"sqlite:///{tmp_path / 'log'}"
    study = begin(small_study, url)
    prepare = partial(hang_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for_runs(study, 1, "running")
        process.kill()
    run_on(cluster, study, grace=3.0)
    runs = assert_accounted_for(study, 2)
    # On a busy machine a worker that lives can seem to be dead, too: it is tried again likewise.
    assert runs["state"].iloc[0] == "died"
    assert runs["state"].value_counts()["complete"] == 2


@pytest.mark.long
def test_interrupted_twice_the_tasks_say_so(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    study, interrupts = Study(small_study), 0

    def interrupt(snapshot: Snapshot) -> None:
        nonlocal interrupts
        if snapshot.running == 2 and interrupts < 2:
            interrupts += 1
            os.kill(os.getpid(), signal.SIGINT)

    assert run_on(cluster, study, interrupt) == "interrupted"
    assert study.training_runs()["state"].tolist() == ["interrupted"] * 2


def test_a_canceled_task_says_so_wherever_it_is(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Observation:
        os.kill(os.getpid(), signal.SIGINT)  # as Ray cancels a task
        return Observation(*arguments)

    monkeypatch.setattr("dynamoe_search.run.worker.Observation", interrupted)
    monkeypatch.setattr("dynamoe_search.run.ray.one_thread", lambda: None)
    before = signal.getsignal(signal.SIGINT)
    study = begin(small_study)
    assert train_one(job_of(small_study), new_worker())
    assert study.training_runs()["state"].tolist() == ["interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_sqlite_is_not_shared_by_machines(
    small_study: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"NodeManagerHostname": name, "Alive": True} for name in ("here", "there")]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    with pytest.raises(InvalidInput, match=r"SQLite .* cannot be shared by 2 machines; give"):
        run_on(cluster, Study(small_study))


def test_without_ray_it_says_what_to_install(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidInput, match=r"pip install 'dynamoe-search\[ray\]'"):
        Study(small_study).run(resources=Resources(ray=RayCluster()), progress=False)


@pytest.mark.slow
def test_an_address_without_a_cluster(small_study: Path) -> None:
    pytest.importorskip("ray")
    resources = Resources(ray=RayCluster("localhost:1"))
    with pytest.raises(InvalidInput, match="--address: no Ray cluster at localhost:1"):
        Study(small_study).run(resources=resources, progress=False)
