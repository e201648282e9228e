"""Several raylets on this machine as the nodes of a cluster: what each may take, and what a sweep says of the others.

A test device stands for what a node lacks: `sitecustomize` gives every process of a node its own view, by its name.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from results.rows.tables import per_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SPACE = """
name: spread
preset: tiny
seeds: [1, 2, 3]
parameters: {ttt.mode: {value: score_first}, ttt.epochs: {values: [1]}}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = ("schedule.warmdown_steps=5", "averaging.use=none", "data.val_bytes=1", "data.micro_batches=8")
PATIENCE_S = 400
BLIND = """
import os
if os.environ.get("FAIRWAY_TEST_BLIND"):  # a node of its own file system: the driver's store is not there
    from trainer.store import visible
    visible.is_visible = lambda path: False
"""
DEVICE = """
import importlib.abc, importlib.util, sys
class OnCpu(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "ray.air._internal.device_manager.nvidia_gpu":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module
            def changed(module):
                load(module)
                module.CUDATorchDeviceManager.get_devices = lambda manager: [module.torch.device("cpu")]
            spec.loader.exec_module = changed
            return spec
if os.environ.get("FAIRWAY_TEST_GPUS"):  # a node whose ranks compute on the CPU where they would on their GPU
    sys.meta_path.insert(0, OnCpu())
    if "torch.cuda.device_count()" in sys.orig_argv[-1]:
        import torch
        torch.cuda.device_count = lambda: int(os.environ["FAIRWAY_TEST_GPUS"])
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Any]:
    """A head that takes no runs, as one that scales from zero, and asks for a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # before Ray is imported, which reads it once
    monkeypatch.setenv("RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN", "ab" * 32))
    from ray.cluster_utils import Cluster

    (tmp_path / "sitecustomize.py").write_text(BLIND + DEVICE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_name": "head"})
    yield made
    made.shutdown()


def started(cluster, folder: Path, *words: str, steps: int = 20) -> subprocess.Popen:
    """A sweep on the cluster, in a process of its own."""
    (folder / "spread.yaml").write_text(SPACE)
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "sweep", "spread.yaml", "--no-check"]
    command += ["--address", cluster.address, *words]
    command += [word for change in (*SMALL, f"budget.train_steps={steps}") for word in ("--set", change)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(driver: subprocess.Popen, status: int = 0) -> str:
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == status, said
    return said


def read_until(driver: subprocess.Popen, text: str) -> str:
    said = ""
    for line in driver.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(said)


def test_a_slot_of_8_gpus_is_refused_on_two_nodes_of_4_with_their_list(cluster, tmp_path):
    for name in ("alpha", "beta"):
        cluster.add_node(num_cpus=8, num_gpus=4, node_name=name)
    said = ended(started(cluster, tmp_path, "--workers", "8"), status=2)
    assert "a slot of 8 GPUs fits on no node: alpha 4, beta 4, head 0" in said
    assert not list((tmp_path / "runs" / "sweeps").iterdir())  # it never started, so nothing is left
    said = ended(started(cluster, tmp_path, "--workers", "4"), status=2)  # fake GPUs: PyTorch sees none
    assert "node alpha takes no runs: Ray counts 4 GPUs there, PyTorch" in said
    assert "install PyTorch's CUDA build there" in said


def test_a_slot_of_8_gpus_starts_its_8_ranks_on_the_one_node_of_8(cluster, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRWAY_TEST_GPUS", "8")
        for name, gpus in (("alpha", 4), ("beta", 4), ("gamma", 8)):
            cluster.add_node(num_cpus=8, num_gpus=gpus, node_name=name)
    said = ended(started(cluster, tmp_path, "--workers", "8", steps=10))
    assert "takes no runs" not in said
    records = find_sweep(tmp_path / "runs", "spread").records().values()
    assert [record.status for record in records] == ["done"] * 6
    assert {record.num_ranks for record in records} == {8}
    assert {outcome.host for record in records for outcome in record.stages.values()} == {"gamma"}


def test_nodes_are_waited_for_and_one_that_does_not_see_the_store_takes_no_runs(cluster, tmp_path, monkeypatch):
    driver = started(cluster, tmp_path)
    said = read_until(driver, "waiting for nodes, 30 min 00 s at most: a slot of 1 CPU fits on no node: head 0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRWAY_TEST_BLIND", "1")
        cluster.add_node(num_cpus=1, node_name="blind")
    said += ended(driver, status=2)
    assert "blind: it does not see the store of this sweep" in said
    cluster.add_node(num_cpus=1, node_name="sound")
    said = ended(started(cluster, tmp_path))
    assert "node blind takes no runs: it does not see the store" in said
    sweep = find_sweep(tmp_path / "runs", "spread")
    assert set(per_run(rows_of(sweep))["status"]) == {"done"}
    assert {outcome.host for record in sweep.records().values() for outcome in record.stages.values()} == {"sound"}


def test_two_lost_nodes_fail_no_run_and_a_signal_acts_while_nodes_are_awaited(cluster, tmp_path):
    lost = [cluster.add_node(num_cpus=1, node_name=f"spot-{number}") for number in range(2)]
    driver = started(cluster, tmp_path, "--slots", "1", steps=400)
    for _ in range(2):
        snapshot_of_training(tmp_path, driver)
        remove_the_busy_one(cluster, lost)
    read_until(driver, "is gone; its run goes on elsewhere")
    driver.send_signal(signal.SIGTERM)
    asked_s = time.monotonic()
    ended(driver, status=130)
    assert time.monotonic() - asked_s < 40
    cluster.add_node(num_cpus=1, node_name="steady")
    (tmp_path / "spread.yaml").unlink()
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "resume", "spread", "--no-check"]
    done = subprocess.run([*command, "--address", cluster.address], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = find_sweep(tmp_path / "runs", "spread")
    assert set(per_run(rows_of(sweep))["status"]) == {"done"}


def snapshot_of_training(folder: Path, driver: subprocess.Popen) -> None:
    """Waits until a worker trains."""
    end = time.monotonic() + PATIENCE_S
    while not workers():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.2)
    time.sleep(6)


def workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def remove_the_busy_one(cluster, nodes: list[Any]) -> None:
    """Takes away the node on which a worker runs, without a farewell."""
    raylets = {worker.ppid() for worker in workers()}
    for node in list(nodes):
        if node.all_processes["raylet"][0].process.pid in raylets:
            cluster.remove_node(node, allow_graceful=False)
            nodes.remove(node)
            return
    raise AssertionError("no node has a worker")
