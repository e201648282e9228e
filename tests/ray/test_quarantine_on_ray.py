"""Two nodes of one cluster, one of them with other versions: it is sent home, and the sweep ends on the other."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from results.rows.machines import quarantined
from results.rows.tables import per_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SPACE = """
name: guarded
preset: tiny
seeds: [1, 2, 3, 4]
parameters: {ttt.mode: {value: score_first}, ttt.epochs: {values: [1]}}
compare: {baseline: {ttt.mode: off}}
"""
PATIENCE_S = 550
SMALL = ("schedule.warmdown_steps=5", "averaging.use=none", "data.val_bytes=1")
FAULT = """
from trainer.spec import environment
honest = environment.machine_facts

def machine_facts(name=""):
    return honest(name) | ({"torch": "0.0.1"} if name == "beta" else {})

environment.machine_facts = machine_facts
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Node alpha as it is, and node beta that says it has another torch: every process of Ray imports the fault."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # before Ray is imported, which reads it once
    monkeypatch.setenv("RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN", "ab" * 32))
    from ray.cluster_utils import Cluster

    (tmp_path / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "node_name": "alpha"})
    made.add_node(num_cpus=1, node_name="beta")
    yield made
    made.shutdown()


def started(cluster, folder: Path, space: str, steps: int) -> subprocess.Popen:
    """A sweep on two slots of the cluster."""
    (folder / "guarded.yaml").write_text(space)
    words = ["sweep", "guarded.yaml", "--address", cluster.address, "--slots", "2", "--no-check"]
    words += [word for change in (*SMALL, f"budget.train_steps={steps}") for word in ("--set", change)]
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_node_with_other_versions_takes_no_more_runs_and_the_sweep_ends_on_the_other(cluster, tmp_path):
    driver = started(cluster, tmp_path, SPACE, steps=20)
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    sweep = find_sweep(tmp_path / "runs", "guarded")
    assert list(quarantined(sweep.folder)) == ["beta"]
    assert "machine beta is quarantined, its runs are repeated elsewhere: torch = 0.0.1" in said
    assert {record.machine.get("name", "alpha") for record in sweep.records().values()} == {"alpha"}
    assert set(per_run(rows_of(sweep))["status"]) == {"done"}
    hosts = {outcome.host for record in sweep.records().values() for outcome in record.stages.values()}
    assert hosts == {"alpha"}


class Other:
    """Another job's actor."""

    def ready(self) -> None: ...


@pytest.fixture
def free_gamma(cluster):
    """A third node, held by somebody else; this makes it free."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = cluster.add_node(num_cpus=1, node_name="gamma")
    ray.init(address=cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a file of tests
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    other = ray.remote(Other).options(num_cpus=1, scheduling_strategy=there).remote()
    ray.get(other.ready.remote())
    yield lambda: ray.kill(other)
    ray.shutdown()


def test_the_slot_of_a_quarantined_node_starts_again_on_one_that_has_room(cluster, free_gamma, tmp_path):
    driver = started(cluster, tmp_path, SPACE.replace("[1, 2, 3, 4]", str(list(range(1, 15)))), steps=60)
    folder = tmp_path / "runs" / "sweeps" / "guarded"
    while not quarantined(folder):
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    free_gamma()
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    sweep = find_sweep(tmp_path / "runs", "guarded")
    assert {record.machine["name"] for record in sweep.records().values() if record.stages_run} == {"alpha", "gamma"}
    assert set(per_run(rows_of(sweep))["status"]) == {"done"}
