"""Ray with several node processes on this machine: nodes that die, nodes that come, nodes that do not see the files."""

from pathlib import Path

import pytest

from kdsearch import api
from tests.studies_for_tests import write_study

ray = pytest.importorskip("ray", reason="the engine ray needs the extra ray")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A head without processors of its own, to which nodes can be added, each a raylet of its own."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def tidy(results):
    """What does not depend on who trained when."""
    return {
        record.number: (record.state, record.params, record.measured, [line["loss"] for line in record.curve])
        for record in results.records
    }


def test_a_node_that_is_killed_in_the_middle_costs_its_segments_and_not_the_search(cluster, tmp_path):
    path = write_study(
        tmp_path, ("trials=4", 'trials=6, sampler="random", segment_epochs=1'), (", segment_epochs=2", "")
    )
    undisturbed = api.run(path, workspace=tmp_path / "a", engine="inline", track=False, confirm=False)
    doomed = cluster.add_node(num_cpus=2)
    killed = []

    def kill(event):
        if type(event).__name__ == "TrialEnded" and not killed:
            killed.append(event)
            cluster.add_node(num_cpus=2)
            cluster.remove_node(doomed, allow_graceful=False)

    results = api.run(
        path,
        workspace=tmp_path / "b",
        engine="ray",
        address=cluster.address,
        workers=2,
        track=False,
        confirm=False,
        listeners=[kill],
    )
    assert killed
    assert tidy(results) == tidy(undisturbed)
