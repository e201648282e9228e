"""Two nodes of one cluster, one of them with other versions: it is sent home, and the sweep ends on the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.conclude import rows_of
from orchestrator.journal import find_sweep
from results.machines import quarantined
from results.tables import per_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SPACE = """
name: guarded
preset: tiny
seeds: [1, 2, 3, 4]
parameters: {ttt.mode: {value: score_first}, ttt.epochs: {values: [1]}}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = ("budget.train_steps=20", "schedule.warmdown_steps=5", "averaging.use=none", "data.val_bytes=1")
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
    from ray.cluster_utils import Cluster

    (tmp_path / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "node_name": "alpha"})
    made.add_node(num_cpus=1, node_name="beta")
    yield made
    made.shutdown()


def test_a_node_with_other_versions_takes_no_more_runs_and_the_sweep_ends_on_the_other(cluster, tmp_path):
    (tmp_path / "guarded.yaml").write_text(SPACE)
    words = ["sweep", "guarded.yaml", "--address", cluster.address, "--slots", "2"]
    words += [word for change in SMALL for word in ("--set", change)]
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = find_sweep(tmp_path / "runs", "guarded")
    assert list(quarantined(sweep.folder)) == ["beta"]
    assert "machine beta is quarantined, its runs are repeated elsewhere: torch = 0.0.1" in done.stdout
    assert {record.machine.get("name", "alpha") for record in sweep.records().values()} == {"alpha"}
    assert set(per_run(rows_of(sweep))["status"]) == {"done"}
    hosts = {outcome.host for record in sweep.records().values() for outcome in record.stages.values()}
    assert hosts == {"alpha"}
