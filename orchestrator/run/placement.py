"""Where slots go: how many fit on each node. Pure functions of a list of nodes; starts no Ray.

A slot lies on one node: its ranks meet over a file and exchange gradients all the time. Plan and driver ask here, so
that both count the same slots.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.spec.environment import num_gpus
from trainer.spec.errors import UserError

GPUS_PER_NODE = 8
LISTED_NODES = 12
"""Nodes that a refusal names; a large cluster has more."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of CPU that a container may use in a period, and the period; 'max' without a limit."""


@dataclass(frozen=True)
class NodeOffer:
    """What one node offers to slots."""

    name: str
    cpus: int
    gpus: int

    def num_slots(self, workers: int, use_gpu: bool) -> int:
        """Slots of so many workers that fit; a worker takes a CPU, and a GPU if GPUs are used."""
        return (min(self.cpus, self.gpus) if use_gpu else self.cpus) // workers


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


def this_machine() -> NodeOffer:
    """What this machine offers to this process; a local Ray is started with the same numbers."""
    return NodeOffer(socket.gethostname(), usable_cpus(), usable_gpus())


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity (Slurm, taskset, cpusets), within its container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        usable = min(usable, int(quota) // int(period))
    return max(usable, 1)


def usable_gpus() -> int:
    """GPUs of this machine that this process may use: all, or those that CUDA_VISIBLE_DEVICES names."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = [name for name in (named or "").split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return num_gpus() if named is None else min(num_gpus(), len(listed))


def plan_slots(
    nodes: Sequence[NodeOffer],
    num_runs: int,
    slots: int | None = None,
    workers: int | None = None,
    gpus_wanted: int = 0,
) -> SlotPlan:
    """Slots from what each node offers.

    gpus_wanted:  GPUs of a slot that the preset was made for; 0 takes what the nodes have

    GPUs: a slot is a node's 8 (or all of the largest node, if fewer). CPU: a slot is one worker with one thread, so
    that the bits do not depend on the number of cores; more workers only on request. Raises UserError, with the list
    of nodes, when the request does not fit.
    """
    largest = max((node.gpus for node in nodes), default=0)
    use_gpu = gpus_wanted > 0 or largest > 0
    per_slot = workers or (gpus_wanted or min(GPUS_PER_NODE, largest) if use_gpu else 1)
    fitting = sum(node.num_slots(per_slot, use_gpu) for node in nodes)
    size = f"{per_slot} {_unit(per_slot, use_gpu)}"
    if fitting < 1:
        raise UserError(f"a slot of {size} fits on no node: {_listed(nodes, use_gpu)}{_smaller(nodes, use_gpu)}")
    if slots is not None and slots > fitting:
        raise UserError(
            f"--slots {slots} of {size} each: {fitting} fit, and a slot lies on one node: {_listed(nodes, use_gpu)}"
        )
    return SlotPlan(slots or min(fitting, max(num_runs, 1)), per_slot, use_gpu)


def slot_size(workers: int | None, gpus_wanted: int) -> int:
    """Workers of a slot, as far as that is known before the nodes are."""
    return workers or gpus_wanted or 1


def _unit(count: int, use_gpu: bool) -> str:
    return ("GPU" if use_gpu else "CPU") + ("" if count == 1 else "s")


def _listed(nodes: Sequence[NodeOffer], use_gpu: bool) -> str:
    """'alpha 4, beta 4': what each node has of what a slot needs."""
    shown = [_offer(node, use_gpu) for node in nodes[:LISTED_NODES]]
    more = [f"and {len(nodes) - LISTED_NODES} more nodes"] if len(nodes) > LISTED_NODES else []
    return ", ".join([*shown, *more]) or "there is none"


def _offer(node: NodeOffer, use_gpu: bool) -> str:
    if use_gpu and node.cpus < node.gpus:
        return f"{node.name} {node.gpus} (and {node.cpus} CPUs, one for each GPU is needed)"
    return f"{node.name} {node.gpus if use_gpu else node.cpus}"


def _smaller(nodes: Sequence[NodeOffer], use_gpu: bool) -> str:
    """The size that would fit, as a proposal."""
    largest = max((node.num_slots(1, use_gpu) for node in nodes), default=0)
    return f"; --workers {largest} takes the largest" if largest else ""


def expected_ranks(workers: int | None) -> int:
    """Ranks of a slot on this machine, computed before Ray starts: a wall-clock budget's fingerprint needs it."""
    return workers or min(GPUS_PER_NODE, this_machine().gpus) or 1


def expected_slots(num_runs: int, slots: int | None = None, workers: int | None = None) -> int:
    """Slots of a sweep, computed before Ray starts: the number given, else as many as fit this machine.

    More workers than this machine has are planned as one slot of another machine.
    """
    if slots is not None:
        return slots
    here = this_machine()
    fits = workers is None or here.num_slots(workers, here.gpus > 0) > 0
    return plan_slots([here], num_runs, workers=workers).num_slots if fits else 1
