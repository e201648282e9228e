"""The demo sweep on a head and three nodes with file systems of their own, over a shared folder and over a bucket."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from results.rows.machines import read_machines
from results.rows.tables import per_run
from tests.same_rows import differences
from tests.separate_nodes import ROOT, SeparateNodes, can_unshare
from trainer.store.mirror import store_folder

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not can_unshare(), reason="needs root, for mount namespaces"),
]
NANO = ("budget.train_steps=10", "schedule.warmdown_steps=4", "averaging.use=none", "data.val_bytes=9000")
NANO += ("evaluation.diagnose=false", "ttt.chunk_tokens=1024")
SETTINGS = [word for change in NANO for word in ("--set", change)]
TTT = [str(ROOT / "search_spaces" / "ttt.yaml"), "--no-check", "--slots", "3", *SETTINGS]
NAMES = {"alpha", "beta", "gamma"}
PATIENCE_S = 500


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, s3) -> Iterator[SeparateNodes]:
    made = SeparateNodes(tmp_path_factory.mktemp("nodes"), s3.settings)
    try:
        made.start(sorted(NAMES))
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def single_machine(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("single")
    command = [sys.executable, "-m", "orchestrator", "sweep", *TTT, "--inline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return table(folder / "runs")


def table(store: Path) -> pd.DataFrame:
    return per_run(rows_of(find_sweep(store, "ttt")))


def ended(driver: subprocess.Popen, status: int = 0) -> str:
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == status, said
    return said


def faults(store: Path, single_machine: pd.DataFrame) -> list[str]:
    """What is not as on a single machine: rows, a node without a part, a run that is lost, a stage computed twice."""
    rows, sweep = table(store), find_sweep(store, "ttt")
    machines, records = read_machines(sweep.folder), sweep.records().values()
    computed = Counter((stage, record.stages[stage].fingerprint) for record in records for stage in record.stages_run)
    hosts = {outcome.host for record in records for outcome in record.stages.values()}
    adapted = rows.loc[rows["ttt.mode"] == "score_first", "val_bpb"]
    checks = {
        f"{len(rows)} of 21 rows": len(rows) == 21,
        f"machines: {set(machines['machine'])}": set(machines["machine"]) == NAMES,
        f"{machines['runs'].sum()} of 21 runs by machine": machines["runs"].sum() == 21,
        f"computed more than once: {computed.most_common(1)}": set(computed.values()) == {1},
        f"hosts: {hosts}": hosts == NAMES,
        "test-time training changed no score": adapted.nunique() == len(adapted),
    }
    return [*differences(rows, single_machine), *(words for words, holds in checks.items() if not holds)]


def test_over_a_shared_folder_three_nodes_give_the_single_machines_results(nodes, single_machine):
    ended(nodes.orchestrator("sweep", *TTT, "--store", str(nodes.shared / "runs")))
    assert faults(nodes.shared / "runs", single_machine) == []


def test_over_a_bucket_too(nodes, single_machine, bucket, monkeypatch):
    ended(nodes.orchestrator("sweep", *TTT, "--store", bucket.url))
    monkeypatch.chdir(nodes.folder)
    assert faults(store_folder(bucket.url).absolute(), single_machine) == []


def test_a_folder_that_only_the_driver_sees_is_refused_by_the_name_of_each_node(nodes):
    said = ended(nodes.orchestrator("sweep", *TTT, "--name", "own", "--store", str(nodes.folder / "own")), status=2)
    assert "no node can compute" in said
    assert all(f"{name}: it does not see the store of this sweep" in said for name in NAMES)
