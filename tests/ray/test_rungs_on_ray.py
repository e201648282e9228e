"""Early stopping on a real local Ray, under kills: always the decisions of an inline sweep."""

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import Sweep, find_sweep
from tests.ray.test_road import Sweeps
from tests.same_rows import differences

RUNGS = """
name: rungs
preset: tiny
method: tpe
run_cap: 10
seeds: [1, 2]
parameters: {{optimizer.muon.lr: {{distribution: log_uniform_values, min: 1e-3, max: 3e-1}}}}
stopping: {{rule: {rule}, rungs: [0.25, 0.5], calibrate: 4, trust: -0.9}}
"""
SMALL = (
    "budget.train_steps=24",
    "schedule.warmdown_steps=8",
    "averaging.use=none",
    "data.val_bytes=1",
    "evaluation.diagnose=false",
)
PATIENCE_S = 500
STOPPED = {"asha": 6, "median": 4}
"""Of ten configurations, how many are pruned after short runs."""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("rungs"))


@pytest.fixture(scope="module", params=list(STOPPED))
def rule(request, sweeps) -> str:
    (sweeps.folder / f"{request.param}.yaml").write_text(RUNGS.format(rule=request.param))
    return request.param


def words(rule: str, store: str, *options: str) -> tuple[str, ...]:
    made = ("sweep", f"{rule}.yaml", "--no-check", "--store", f"{store}-{rule}", "--snapshot-every-s", "0.2", *options)
    return (*made, *(word for change in SMALL for word in ("--set", change)))


def ended(sweeps: Sweeps, rule: str, store: str) -> Sweep:
    return find_sweep(sweeps.folder / f"{store}-{rule}", "rungs")


@pytest.fixture(scope="module")
def inline(sweeps, rule) -> Sweep:
    code, out = sweeps.run(*words(rule, "inline", "--inline"))
    assert code == 0, out
    return ended(sweeps, rule, "inline")


def same_decisions(one: Sweep, other: Sweep) -> bool:
    """Who was asked, which were pruned where, what ran short, and every row."""
    rows = [rows_of(sweep).drop(columns="commit") for sweep in (one, other)]  # a file saved meanwhile changes it
    assert differences(*rows) == []
    short = [set(sweep.short_records()) for sweep in (one, other)]
    return (
        one.asked() == other.asked()
        and one.state().pruning.pruned == other.state().pruning.pruned
        and short[0] == short[1]
    )


@pytest.mark.slow
def test_pruned_configurations_have_no_full_runs(inline, rule):
    pruning = inline.state().pruning
    assert len(pruning.pruned) == STOPPED[rule]
    assert len(inline.records()) == 2 * (11 - STOPPED[rule])
    full = {record.run_id.partition("-")[0] for record in inline.records().values()}
    assert not full & set(pruning.pruned)


def life(sweeps: Sweeps, rule: str, fault: Callable[[psutil.Process], None] | None) -> int:
    """One driver on the same store, disturbed once a few more runs have ended; its exit status."""
    records = sweeps.folder / f"ray-{rule}" / "sweeps" / "rungs"
    before, end = num_records(records), time.monotonic() + PATIENCE_S
    driver = sweeps.start(*words(rule, "ray"))
    while fault and driver.poll() is None and num_records(records) < before + 6:
        assert time.monotonic() < end, "nothing ends any more"
        time.sleep(0.05)
    if fault:
        fault(psutil.Process(driver.pid))
    driver.communicate(timeout=PATIENCE_S)
    return driver.returncode


def num_records(folder) -> int:
    return len([*folder.glob("runs/*.json"), *folder.glob("short/*.json")])


def kill_a_worker(driver: psutil.Process) -> None:
    for child in driver.children(recursive=True):
        if "RayTrainWorker" in " ".join(child.cmdline()[:1]):
            child.kill()
            return


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_the_same_are_pruned_whatever_is_killed_in_between(sweeps, rule, inline):
    assert life(sweeps, rule, psutil.Process.kill) == -signal.SIGKILL
    assert life(sweeps, rule, psutil.Process.terminate) == 130
    assert life(sweeps, rule, kill_a_worker) == 0
    assert same_decisions(inline, ended(sweeps, rule, "ray"))
