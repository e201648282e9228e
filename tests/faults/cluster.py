"""Faults of a cluster whose nodes have file systems of their own; afterwards the table must be the single machine's.

    python -m tests.faults.cluster --log results/LOG.md          each fault once; needs root, about 40 minutes
    python -m tests.faults.cluster --faults node-killed head-killed

Each fault gets a head and three nodes of its own over one shared folder. Counted: runs without a record, stages that
were computed twice by the records, and the time beyond that of the undisturbed sweep ("none") on such nodes.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from results.rows.layout import RAY_LOG, SPACE_FILE
from results.rows.tables import per_run
from tests.same_rows import differences
from tests.separate_nodes import ROOT, Node, SeparateNodes

SPACE = """
name: faults
preset: tiny
seeds: [1, 2, 3]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {values: [0.001, 0.002, 0.004]}
compare: {baseline: {ttt.mode: off}}
"""
NANO = ("budget.train_steps=120", "schedule.warmdown_steps=30", "averaging.use=none", "data.val_bytes=9000")
NANO += ("evaluation.diagnose=false", "ttt.chunk_tokens=1024")
SETTINGS = [word for change in NANO for word in ("--set", change)]
NUM_RUNS = 12
NAMES = ("alpha", "beta", "gamma")
PATIENCE_S = 900
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Result:
    """What a fault cost."""

    fault: str
    seconds: float
    lives: int
    """Drivers that it took."""
    lost: int
    twice: int
    """Computations beyond the first of a stage, by the records."""
    unlike: list[str]
    """What its table and the single machine's disagree about."""


class Sweep:
    """The small sweep on nodes of its own."""

    def __init__(self, folder: Path):
        self.nodes = SeparateNodes(folder, {})
        self.store = self.nodes.shared / "runs"
        self.lives = 0
        (folder / "faults.yaml").write_text(SPACE, encoding="utf-8")

    @property
    def folder(self) -> Path:
        """Of the sweep in the store."""
        return self.store / "sweeps" / "faults"

    def start(self) -> subprocess.Popen[str]:
        """A driver: the first one sweeps, later ones resume."""
        self.lives += 1
        asked = ["sweep", "faults.yaml"] if self.lives == 1 else ["resume", "faults"]
        words = [*asked, "--no-check", "--slots", "3", "--snapshot-every-s", "2", "--store", str(self.store)]
        self.driver = self.nodes.orchestrator(*words, *(SETTINGS if self.lives == 1 else ()))
        return self.driver

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Raises with what the driver said when it ends first."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if self.driver.poll() is not None or time.monotonic() > end:
                self.driver.kill()
                raise AssertionError(f"before {what}: {self.driver.communicate()[0]}")
            time.sleep(0.2)

    def end(self, status: int = 0) -> str:
        """Waits for the driver's end."""
        said, _ = self.driver.communicate(timeout=PATIENCE_S)
        assert self.driver.returncode == status, said
        return said

    def computes(self) -> bool:
        """Whether a training has left a snapshot."""
        return any(self.store.glob("stages/train/*.snapshot"))

    def busy_node(self) -> Node:
        """A node on which a slot's worker runs."""
        return next(node for node in self.nodes.nodes.values() if node.works)

    def records(self) -> int:
        """Runs that are done."""
        return len(list(self.folder.glob("runs/*.json")))

    def twice(self) -> int:
        """Computations beyond the first of each stage."""
        records = find_sweep(self.store, "faults").records().values()
        counts = Counter((name, record.stages[name].fingerprint) for record in records for name in record.stages_run)
        return sum(count - 1 for count in counts.values())


def table(store: Path) -> pd.DataFrame:
    """A row per run, whatever commit it was made on: the checkout may change while faults go on."""
    return per_run(rows_of(find_sweep(store, "faults"))).drop(columns=["commit"])


def single_machine() -> pd.DataFrame:
    """The table of this machine alone, one run after another, without Ray."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        (Path(folder) / "faults.yaml").write_text(SPACE, encoding="utf-8")
        words = [sys.executable, "-m", "orchestrator", "sweep", "faults.yaml", "--no-check", "--inline", *SETTINGS]
        variables = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return table(Path(folder) / "runs")


def undisturbed(sweep: Sweep) -> None:
    sweep.start()
    sweep.end()


def node_killed(sweep: Sweep) -> None:
    """The processes of a busy node are gone; another node comes, as an autoscaler would bring it."""
    sweep.start()
    sweep.wait_until(sweep.computes, "training")
    lost = sweep.busy_node()
    lost.kill()
    del sweep.nodes.nodes[lost.name]
    sweep.nodes.add("delta")
    sweep.end()


def node_cut_off(sweep: Sweep) -> None:
    """No process of a busy node answers for 30 s."""
    sweep.start()
    sweep.wait_until(sweep.computes, "training")
    with sweep.busy_node().cut_off():
        time.sleep(30)
    sweep.end()


def node_cut_off_for_good(sweep: Sweep) -> None:
    """No process of a busy node ever answers again."""
    sweep.start()
    sweep.wait_until(sweep.computes, "training")
    with sweep.busy_node().cut_off():
        sweep.end()


def head_killed(sweep: Sweep) -> None:
    """The head and, with it, the cluster is gone; on a new one the sweep is resumed."""
    sweep.start()
    sweep.wait_until(sweep.computes, "training")
    names = list(sweep.nodes.nodes)
    sweep.nodes.kill_all()
    sweep.driver.wait(PATIENCE_S)
    assert "go on with: orchestrator resume faults" in sweep.driver.communicate()[0]
    sweep.nodes.start(names)
    sweep.start()
    sweep.end()


def store_refuses(sweep: Sweep) -> None:
    """The shared folder takes no byte for 20 s, as a full disk: the sweep stops with the reason, and is resumed."""
    sweep.start()
    sweep.wait_until(lambda: sweep.records() >= 2, "two records")
    ballast = sweep.nodes.shared / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=64k"], capture_output=True, check=False)
    time.sleep(20)
    ballast.unlink()
    said, _ = sweep.driver.communicate(timeout=PATIENCE_S)
    if sweep.driver.returncode:
        assert "go on" in said, said
        sweep.start()
        sweep.end()


def slow_node(sweep: Sweep) -> None:
    """One node stops for half of each second, for a minute."""
    sweep.start()
    sweep.wait_until(sweep.computes, "training")
    node, end = sweep.busy_node(), time.monotonic() + 60
    while time.monotonic() < end and sweep.driver.poll() is None:
        with node.cut_off():
            time.sleep(0.5)
        time.sleep(0.5)
    sweep.end()


def terminated(what: str, condition: Callable[[Sweep], object]) -> Callable[[Sweep], None]:
    """SIGTERM once the condition holds, then the same again: resume, or sweep if it had left nothing yet."""

    def fault(sweep: Sweep) -> None:
        sweep.start()
        sweep.wait_until(lambda: condition(sweep), what)
        sweep.driver.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        said, _ = sweep.driver.communicate(timeout=PATIENCE_S)
        print(f"SIGTERM while {what}: ended after {time.monotonic() - asked_s:.1f} s, {sweep.driver.returncode}")
        assert sweep.driver.returncode in (EXIT_INTERRUPTED, -signal.SIGTERM), said
        if not (sweep.folder / SPACE_FILE).exists():
            sweep.lives = 0  # it never started, so nothing is left to resume
        sweep.start()
        sweep.end()

    return fault


def second_after_start() -> Callable[[Sweep], bool]:
    started_s: list[float] = []

    def condition(sweep: Sweep) -> bool:
        started_s.append(time.monotonic())
        return started_s[-1] - started_s[0] >= 1

    return condition


FAULTS: dict[str, Callable[[Sweep], None]] = {
    "none": undisturbed,
    "node-killed": node_killed,
    "node-cut-off-30s": node_cut_off,
    "node-cut-off-for-good": node_cut_off_for_good,
    "head-killed": head_killed,
    "store-refuses-20s": store_refuses,
    "slow-node": slow_node,
    "sigterm-imports": terminated("it imports", second_after_start()),
    "sigterm-ray-starts": terminated("it starts Ray", lambda sweep: (sweep.folder / RAY_LOG).exists()),
    "sigterm-slots-start": terminated(
        "slots start", lambda sweep: any(node.works for node in sweep.nodes.nodes.values())
    ),
    "sigterm-runs": terminated("runs train", Sweep.computes),
}


def one(fault: str, act: Callable[[Sweep], None], alone: pd.DataFrame) -> Result:
    """A fault on new nodes.

    alone:  the single machine's table
    """
    sweep = Sweep(Path(tempfile.mkdtemp(prefix="faults-")))
    try:
        sweep.nodes.start(NAMES)
        started_s = time.monotonic()
        act(sweep)
        seconds, rows = time.monotonic() - started_s, table(sweep.store)
        return Result(fault, seconds, sweep.lives, NUM_RUNS - len(rows), sweep.twice(), differences(rows, alone))
    finally:
        sweep.nodes.stop()
        shutil.rmtree(sweep.nodes.folder, ignore_errors=True)


def main() -> int:
    """Prints a table; returns 1 if a fault changed a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--log", type=Path, help="append the table to this file")
    asked = parser.parse_args()
    alone = single_machine()
    lines = ["", "| fault | sweep | beyond undisturbed | drivers | runs lost | stages doubled | table |"]
    lines.append("|---|---|---|---|---|---|---|")
    failed, calm_s = 0, math.nan
    for fault in asked.faults:
        try:
            result = one(fault, FAULTS[fault], alone)
        except (AssertionError, subprocess.TimeoutExpired) as wrong:
            failed += 1
            lines.append(f"| {fault} | | | | | | did not end: {str(wrong)[-300:]!r} |")
            print(f"{fault}: {wrong}", flush=True)
            continue
        failed += bool(result.unlike or result.lost or result.twice)
        same = "equal" if not result.unlike else "; ".join(result.unlike)
        calm_s = result.seconds if fault == "none" else calm_s
        beyond = "" if fault == "none" or math.isnan(calm_s) else f"{result.seconds - calm_s:+.0f} s"
        counts = f"{result.lives} | {result.lost} | {result.twice}"
        lines.append(f"| {fault} | {result.seconds:.0f} s | {beyond} | {counts} | {same} |")
        print(lines[-1], flush=True)
    print("\n".join(lines))
    if asked.log:
        with asked.log.open("a", encoding="utf-8") as log:
            log.write("\n".join(lines) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
