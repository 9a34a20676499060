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
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.run.observation import Observation
from dynamoe_search.run.progress import Progress
from dynamoe_search.run.ray import RayCluster, train_one
from dynamoe_search.run.session import Resources
from tests.conftest import edit
from tests.run.processes import (
    another_process,
    assert_accounted_for,
    begin,
    carry_out,
    hang_elsewhere,
    job_of,
    kill_in_training,
    wait_for_trials,
)

SLOWER = ("epochs = 2", "epochs = 40")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder:
        head = NODE | {"include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


def once_running(count: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Do something the first time that so many trainings are running."""
    done = []

    def look(progress: Progress) -> None:
        if not done and progress.ledger.running == count:
            done.append(act())

    return look


def test_every_training_is_a_task(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("trials = 14", "trials = 6"))
    outcome = run_study(small_study, Resources(ray=RayCluster(cluster.address)))
    assert outcome.reason == "finished"
    trials = assert_accounted_for(small_study, 6)
    assert "died" not in set(trials["state"])


def test_fractions_of_a_core(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("trials = 14", "trials = 6"))
    workers = []
    resources = Resources(ray=RayCluster(cluster.address, cpus=0.5))
    run_study(small_study, resources, on_progress=lambda seen: workers.append(seen.workers))
    assert_accounted_for(small_study, 6)
    assert max(workers) == 4


def test_a_killed_task_is_tried_again(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 5"))
    look = once_running(1, lambda: kill_in_training(small_study))
    run_study(small_study, Resources(ray=RayCluster(cluster.address)), on_progress=look)
    trials = assert_accounted_for(small_study, 5)
    assert (trials["state"] == "died").sum() == 1


def test_a_lost_node(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 5"))
    node = cluster.add_node(**NODE)
    look = once_running(3, lambda: cluster.remove_node(node))
    run_study(small_study, Resources(ray=RayCluster(cluster.address)), on_progress=look)
    trials = assert_accounted_for(small_study, 5)
    assert (trials["state"] == "died").sum() <= 1


def test_a_training_that_is_lost_elsewhere_is_tried_again(
    small_study: Path, cluster: Any, tmp_path: Path
) -> None:
    edit(small_study, ("trials = 14", "trials = 2"))
    url = f"sqlite:///{tmp_path / 'records'}"
    begin(small_study, url)
    prepare = partial(hang_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for_trials(small_study, 1, "running", url)
        process.kill()
    run_study(small_study, Resources(ray=RayCluster(cluster.address), grace=3.0), url)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["died", "complete", "complete"]


def test_interrupted_twice_the_tasks_say_so(small_study: Path, cluster: Any) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    interrupts = 0

    def interrupt(progress: Progress) -> None:
        nonlocal interrupts
        if progress.ledger.running == 2 and interrupts < 2:
            interrupts += 1
            os.kill(os.getpid(), signal.SIGINT)

    outcome = run_study(
        small_study, Resources(ray=RayCluster(cluster.address)), on_progress=interrupt
    )
    assert outcome.reason == "interrupted"
    trials = load_trials(small_study)
    assert trials["state"].tolist() == ["interrupted"] * 2


def test_a_canceled_task_says_so_wherever_it_is(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Observation:
        os.kill(os.getpid(), signal.SIGINT)  # as Ray cancels a task
        return Observation(*arguments)

    monkeypatch.setattr("dynamoe_search.run.worker.Observation", interrupted)
    monkeypatch.setattr("dynamoe_search.run.ray.one_thread", lambda: None)
    before = signal.getsignal(signal.SIGINT)
    begin(small_study)
    assert train_one(job_of(small_study), new_worker())
    assert load_trials(small_study)["state"].tolist() == ["interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


def test_sqlite_is_not_shared_by_machines(
    small_study: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"NodeManagerHostname": name, "Alive": True} for name in ("here", "there")]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    with pytest.raises(InvalidInput, match=r"SQLite .* cannot be shared by 2 machines; give"):
        run_study(small_study, Resources(ray=RayCluster(cluster.address)))


def test_without_ray_it_says_what_to_install(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidInput, match=r"pip install 'dynamoe-search\[ray\]'"):
        run_study(small_study, Resources(ray=RayCluster()))


def test_an_address_without_a_cluster(small_study: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InvalidInput, match="--address: no Ray cluster at localhost:1"):
        run_study(small_study, Resources(ray=RayCluster("localhost:1")))
