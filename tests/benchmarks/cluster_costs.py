"""What orchestration costs on this machine, on a real Ray: the numbers that `cluster_simulation.Costs` holds.

    python -m tests.benchmarks.cluster_costs

Processor seconds, so that other work on the machine hardly matters.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from orchestrator.run.board_messages import RunStatus
from tests.benchmarks.test_overhead import Runs, sleep_half_a_second, slots

CALLS = 3000
TRIALS = 3
MIB = 2**20


class BusyBoard:
    """A board on which every run ends after so many reports, each of which is answered at once."""

    def __init__(self, reports: int):
        self._reports, self._asked = reports, dict[str, int]()

    def submit(self, request: Any) -> None: ...

    def cancel(self, *_: object) -> None: ...

    def wait(self, request: Any, wait_s: float, owner: str) -> RunStatus:
        self._asked[request.run_id] = self._asked.get(request.run_id, 0) + 1
        return RunStatus(self._asked[request.run_id] >= self._reports, 0.5)


def driver_s(folder: Path, reports: int) -> float:
    """Processor seconds of this process for TRIALS runs of so many reports, through Tune."""
    import ray

    from orchestrator.run.tuner import run_trials

    name = f"busy-{reports}"
    board = ray.remote(BusyBoard).options(num_cpus=0, name=name).remote(reports)
    started_s = time.process_time()
    run_trials(Runs(folder, TRIALS), (), board, name, TRIALS, Path(tempfile.mkdtemp()), threading.Event())  # type: ignore[arg-type]
    return time.process_time() - started_s


def processes(title: str) -> list[psutil.Process]:
    """Processes of this Ray that run an actor of this class."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if (process.cmdline() or [""])[0].startswith(f"ray::{title}")
    ]


def own_bytes(found: list[psutil.Process]) -> float:
    """Mean memory that no other process shares."""
    return sum(process.memory_full_info().uss for process in found) / max(len(found), 1)


def main() -> None:
    """Prints each cost."""
    from orchestrator.run.board import Board
    from orchestrator.run.ray_session import ray_session

    folder = Path(tempfile.mkdtemp())
    with ray_session(None):
        import ray  # after its settings are made

        ray.cloudpickle.register_pickle_by_value(sys.modules["tests.benchmarks.test_overhead"])
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        few_s, many_s = driver_s(folder, 50), driver_s(folder, 350)
        print(f"result_s          {(many_s - few_s) / (300 * TRIALS):.5f} s of the driver for each report of a trial")
        board: Any = ray.remote(Board).options(num_cpus=0, max_concurrency=1000).remote(1)
        ray.get(board.progress.remote("none", None))
        process = processes("Board")[0]
        before = sum(process.cpu_times()[:2])
        ray.get([board.progress.remote("none", None) for _ in range(CALLS)])
        print(f"call_s            {(sum(process.cpu_times()[:2]) - before) / CALLS:.5f} s of the board for each call")
        ray.kill(board)
        with slots(1, sleep_half_a_second) as send:
            feed = Runs(folder, 60)
            sending = threading.Thread(target=send, args=(feed,))
            sending.start()
            while len(feed.ends_s) < 2:
                time.sleep(0.2)
            print(f"trial_bytes       {own_bytes(processes('ResourceTrainable')) / MIB:.0f} MiB for each trial")
            print(f"controller_bytes  {own_bytes(processes('TrainController')) / MIB:.0f} MiB for each slot")
            sending.join()


if __name__ == "__main__":
    main()
