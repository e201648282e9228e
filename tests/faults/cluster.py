"""Faults of a cluster whose nodes have file systems of their own; afterwards the table must be the undisturbed one.

    python -m tests.faults.cluster --log results/LOG.md          each fault once; needs root, about 40 minutes
    python -m tests.faults.cluster --faults node-killed head-killed

Each fault gets a head and three nodes of its own over one shared folder. Counted: runs without a record, stages that
were computed twice by the records, and the time beyond that of the undisturbed sweep on the same nodes.
"""

from __future__ import annotations

import argparse
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
from results.rows.tables import per_run
from tests.same_rows import differences
from tests.separate_nodes import Node, SeparateNodes

SPACE = """
name: faults
preset: tiny
seeds: [1, 2, 3]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {values: [0.001, 0.002, 0.004]}
compare: {baseline: {ttt.mode: off}}
"""
NANO = ("budget.train_steps=120", "schedule.warmdown_steps=30", "averaging.use=none", "data.val_bytes=1")
NANO += ("evaluation.diagnose=false", "ttt.chunk_tokens=1024")
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
    """What its table and the undisturbed one disagree about."""


class Sweep:
    """The small sweep on nodes of its own."""

    def __init__(self, folder: Path):
        self.nodes = SeparateNodes(folder, {})
        self.store = self.nodes.shared / "runs"
        self.lives = 0
        (folder / "faults.yaml").write_text(SPACE, encoding="utf-8")

    def start(self) -> subprocess.Popen[str]:
        """A driver: the first one sweeps, later ones resume."""
        self.lives += 1
        asked = ["sweep", "faults.yaml"] if self.lives == 1 else ["resume", "faults"]
        words = [*asked, "--no-check", "--slots", "3", "--snapshot-every-s", "2", "--store", str(self.store)]
        changes = [word for change in NANO for word in ("--set", change)] if self.lives == 1 else []
        self.driver = self.nodes.orchestrator(*words, *changes)
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
        return len(list(self.store.glob("sweeps/faults/runs/*.json")))

    def table(self) -> pd.DataFrame:
        """A row per run, whatever commit it was made on: the checkout may change while faults go on."""
        return per_run(rows_of(find_sweep(self.store, "faults"))).drop(columns=["commit"])

    def twice(self) -> int:
        """Computations beyond the first of each stage."""
        records = find_sweep(self.store, "faults").records().values()
        counts = Counter((name, record.stages[name].fingerprint) for record in records for name in record.stages_run)
        return sum(count - 1 for count in counts.values())


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


def terminated_after(seconds: float) -> Callable[[Sweep], None]:
    """SIGTERM so many seconds after the start of the driver, then resume."""

    def fault(sweep: Sweep) -> None:
        sweep.start()
        time.sleep(seconds)
        sweep.driver.send_signal(signal.SIGTERM)
        asked_s = time.monotonic()
        said, _ = sweep.driver.communicate(timeout=PATIENCE_S)
        print(f"SIGTERM after {seconds:g} s: ended after {time.monotonic() - asked_s:.1f} s, {sweep.driver.returncode}")
        assert sweep.driver.returncode in (0, EXIT_INTERRUPTED), said
        if sweep.driver.returncode:
            if not (sweep.store / "sweeps" / "faults" / "space.yaml").exists():
                sweep.lives = 0  # it never started, so nothing is left to resume
            sweep.start()
            sweep.end()

    return fault


FAULTS: dict[str, Callable[[Sweep], None]] = {
    "node-killed": node_killed,
    "node-cut-off-30s": node_cut_off,
    "node-cut-off-for-good": node_cut_off_for_good,
    "head-killed": head_killed,
    "store-refuses-20s": store_refuses,
    "slow-node": slow_node,
    "sigterm-imports": terminated_after(1),
    "sigterm-ray-starts": terminated_after(6),
    "sigterm-slots-start": terminated_after(15),
    "sigterm-runs": terminated_after(45),
}


def one(fault: str, act: Callable[[Sweep], None], calm: pd.DataFrame | None) -> tuple[Result, pd.DataFrame]:
    """A fault on new nodes."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    sweep = Sweep(folder)
    try:
        sweep.nodes.start(NAMES)
        started_s = time.monotonic()
        act(sweep)
        seconds, rows = time.monotonic() - started_s, sweep.table()
        unlike = [] if calm is None else differences(rows, calm)
        return Result(fault, seconds, sweep.lives, NUM_RUNS - len(rows), sweep.twice(), unlike), rows
    finally:
        sweep.nodes.stop()


def main() -> int:
    """Prints a table; returns 1 if a fault changed a result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--log", type=Path, help="append the table to this file")
    asked = parser.parse_args()
    calm, rows = one("none", undisturbed, None)
    lines = ["", "| fault | sweep | beyond undisturbed | drivers | runs lost | stages doubled | table |"]
    lines += ["|---|---|---|---|---|---|---|", f"| none | {calm.seconds:.0f} s | | 1 | {calm.lost} | {calm.twice} | |"]
    failed = 0
    for fault in asked.faults:
        try:
            result, _ = one(fault, FAULTS[fault], rows)
        except (AssertionError, subprocess.TimeoutExpired) as wrong:
            failed += 1
            lines.append(f"| {fault} | | | | | | did not end: {str(wrong)[-300:]!r} |")
            continue
        failed += bool(result.unlike or result.lost or result.twice)
        same = "equal" if not result.unlike else "; ".join(result.unlike)
        lines.append(
            f"| {fault} | {result.seconds:.0f} s | {result.seconds - calm.seconds:+.0f} s | {result.lives} "
            f"| {result.lost} | {result.twice} | {same} |"
        )
        print(lines[-1], flush=True)
    print("\n".join(lines))
    if asked.log:
        with asked.log.open("a", encoding="utf-8") as log:
            log.write("\n".join(lines) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
