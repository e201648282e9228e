"""Slots: how many fit, and one thread for each that keeps its worker group alive."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from trainer.spec.environment import num_gpus
from trainer.spec.errors import UserError

GPUS_PER_NODE = 8


@dataclass(frozen=True)
class SlotPlan:
    """Shape of the slots on this cluster."""

    num_slots: int
    workers_per_slot: int
    use_gpu: bool

    @property
    def in_flight(self) -> int:
        """Trials kept in flight: one more than slots, so that a slot never waits for Tune."""
        return self.num_slots + 1


def plan_slots(
    cpus: float, gpus: float, num_runs: int, slots: int | None = None, workers: int | None = None
) -> SlotPlan:
    """Slots from what the cluster offers.

    GPUs: a slot is a node's 8 (or all there are, if fewer). CPU: a slot is one worker with one thread, so that the bits
    do not depend on the number of cores; more workers only on request. Raises UserError when the request does not fit.
    """
    use_gpu = gpus >= 1
    offered = int(gpus if use_gpu else cpus)
    per_slot = workers or (min(GPUS_PER_NODE, offered) if use_gpu else 1)
    fitting = offered // per_slot
    kind = "GPUs" if use_gpu else "CPUs"
    if fitting < 1:
        raise UserError(f"--workers {per_slot} needs {per_slot} {kind} for one slot, the cluster offers {offered}")
    if slots is not None and slots > fitting:
        raise UserError(
            f"--slots {slots} x {per_slot} workers needs {slots * per_slot} {kind}, the cluster offers {offered}"
        )
    return SlotPlan(slots or min(fitting, max(num_runs, 1)), per_slot, use_gpu)


def expected_ranks(workers: int | None) -> int:
    """Ranks of a slot on this machine, computed before Ray starts: a wall-clock budget's fingerprint needs it."""
    return workers or min(GPUS_PER_NODE, num_gpus()) or 1


def expected_slots(num_runs: int, slots: int | None = None, workers: int | None = None) -> int:
    """Slots of a sweep, computed before Ray starts: the number given, else as many as fit this machine."""
    offered = num_gpus() or len(os.sched_getaffinity(0))
    return (
        slots or plan_slots(offered, num_gpus(), num_runs, workers=min(workers, offered) if workers else None).num_slots
    )


class SlotThread(threading.Thread):
    """Keeps one slot alive until the board closes it; keeps the reason of its end.

    serve:      runs worker groups until the slot is closed; raises when too many of them died
    try_again:  whether a slot whose trainer ended deserves another one
    """

    def __init__(self, slot: int, serve: Callable[[int], None], try_again: Callable[[int], bool]):
        super().__init__(name=f"slot-{slot}", daemon=True)
        self._slot, self._serve, self._try_again = slot, serve, try_again
        self.fault = ""

    def run(self) -> None:
        while True:
            try:
                self._serve(self._slot)
                self.fault = ""
            except Exception:
                self.fault = traceback.format_exc()
                traceback.print_exc()  # into Ray's log: the board may start the slot again, or others go on without it
            if not self._try_again(self._slot):
                return
