"""The Ray engine on a cluster of two nodes, whose tasks and nodes are really killed."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search import Progress, RayCluster, Resources, run_study
from tests.conftest import edit
from tests.search.processes import assert_accounted_for, processes_training

SLOWER = ("epochs = 2", "epochs = 40")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


def once(when: Callable[[Progress], bool], action: Callable[[], object]) -> Callable[[Progress], None]:
    """Do something the first time that a run stands like that."""
    done = []

    def look(progress: Progress) -> None:
        if not done and when(progress):
            done.append(action())

    return look


def test_every_training_is_a_task(small_study: Path, cluster: Any) -> None:
    outcome = run_study(small_study, Resources(ray=RayCluster(cluster.address)))
    assert outcome.reason == "finished"
    trials = assert_accounted_for(small_study, 14)
    assert "died" not in set(trials["state"])


def test_fractions_of_a_core(small_study: Path, cluster: Any) -> None:
    workers = []
    resources = Resources(ray=RayCluster(cluster.address, cpus=0.5))
    run_study(small_study, resources, on_progress=lambda seen: workers.append(seen.workers))
    assert_accounted_for(small_study, 14)
    assert max(workers) == 4


def test_a_killed_task_is_tried_again(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 8"))

    def kill() -> None:
        os.kill(processes_training(small_study, 1)[0], signal.SIGKILL)

    look = once(lambda progress: progress.ledger.running > 0, kill)
    run_study(small_study, Resources(ray=RayCluster(cluster.address)), on_progress=look)
    trials = assert_accounted_for(small_study, 8)
    assert (trials["state"] == "died").sum() == 1


def test_a_lost_node(small_study: Path, cluster: Any) -> None:
    edit(small_study, SLOWER, ("trials = 14", "trials = 8"))
    node = cluster.add_node(**NODE)
    look = once(lambda progress: progress.ledger.running == 3, lambda: cluster.remove_node(node))
    run_study(small_study, Resources(ray=RayCluster(cluster.address)), on_progress=look)
    trials = assert_accounted_for(small_study, 8)
    assert (trials["state"] == "died").sum() == 1
