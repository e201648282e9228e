"""Machines that share nothing but a bucket, each with real Ray and two slots: killed here, resumed there.

A machine is a folder of its own, so its mirror begins empty. The undisturbed table comes from an inline sweep and a
store on disk.
"""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.commands.cache import entries
from orchestrator.sweep.sweep import Sweep, find_sweep
from tests.overlapping import settings, space
from tests.same_rows import differences
from trainer.store.mirror import store_folder
from trainer.store.shared import stage_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PATIENCE_S = 400


class Machine:
    """A folder with a search space in it; commands run there."""

    def __init__(self, folder: Path, store: str):
        self.folder, self.store = folder, store
        folder.mkdir()
        (folder / "q.yaml").write_text(space("q", [0.001, 0.002, 0.004]))
        (folder / "other.yaml").write_text(space("other", [0.002, 0.004, 0.008]))

    def start(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words, "--store", self.store]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def sweep(self, file: str, *options: str) -> subprocess.Popen:
        return self.start("sweep", file, "--no-check", *options, *settings(train_steps=100))

    def said(self) -> str:
        return (self.folder / "log").read_text()[-3000:]

    def find(self, name: str) -> Sweep:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            return find_sweep(store_folder(self.store).absolute(), name)


def wait_for(condition: Callable[[], object], process: subprocess.Popen, machine: Machine) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, machine.said()
        assert time.monotonic() < end_s
        time.sleep(0.1)


def ends_well(process: subprocess.Popen, machine: Machine) -> None:
    assert process.wait(PATIENCE_S) == 0, machine.said()


def workers_of(driver: subprocess.Popen) -> list[psutil.Process]:
    family = psutil.Process(driver.pid).children(recursive=True)
    return [member for member in family if "RayTrainWorker" in " ".join(member.cmdline()[:1])]


def computed(*sweeps: Sweep) -> Counter[tuple[str, str]]:
    """How often each stage was computed, by the records."""
    records = [record for sweep in sweeps for record in sweep.records().values()]
    return Counter((stage, record.stages[stage].fingerprint) for record in records for stage in record.stages_run)


@pytest.fixture
def undisturbed(tmp_path) -> Sweep:
    machine = Machine(tmp_path / "calm", "runs")
    ends_well(machine.sweep("q.yaml", "--inline"), machine)
    return machine.find("q")


def test_killed_worker_and_driver_on_one_machine_resumed_on_another(tmp_path, bucket, undisturbed):
    here, there = (Machine(tmp_path / name, bucket.url) for name in ("here", "there"))
    first = here.sweep("q.yaml", "--slots", "2")
    wait_for(lambda: bucket.list("claims/train"), first, here)
    workers_of(first)[0].kill()
    wait_for(lambda: bucket.list("sweeps/q/runs"), first, here)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = set(bucket.list("sweeps/q/runs"))

    ends_well(there.start("resume", "q", "--slots", "2"), there)
    shared = there.find("q")
    rows = [
        rows_of(sweep).drop(columns="commit") for sweep in (undisturbed, shared)
    ]  # a file saved meanwhile changes it
    assert differences(*rows) == []
    assert kept <= {f"sweeps/q/runs/{run_id}.json" for run_id in shared.records()}
    assert set(computed(shared).values()) == {1}
    assert bucket.list("claims") == {}
    assert [entry for entry in entries(stage_store(shared.store), verify=True) if entry.damage] == []


def test_two_machines_sweep_overlapping_spaces_at_once_on_ray(tmp_path, bucket):
    here, there = (Machine(tmp_path / name, bucket.url) for name in ("here", "there"))
    drivers = [(here.sweep("q.yaml", "--slots", "1"), here), (there.sweep("other.yaml", "--slots", "1"), there)]
    for driver, machine in drivers:
        ends_well(driver, machine)
    times = computed(here.find("q"), there.find("other"))
    assert set(times.values()) == {1}
    assert Counter(stage for stage, _ in times) == {
        "train_text": 1, "val_text": 1, "train": 2, "export": 2, "evaluate": 2, "adapt": 2 * 4,
    }  # fmt: skip
