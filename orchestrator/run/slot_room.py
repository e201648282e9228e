"""Finds the nodes that take a sweep's slots: waits for those that are coming up, leaves out those that cannot compute.

Only for a driver that has started Ray.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.run.drive_options import DriveOptions
from orchestrator.run.node_probe import NodeReport, complaints, own_report, probe_nodes
from orchestrator.run.nodes import ClusterNode, asked_for, nodes_without
from orchestrator.run.placement import SlotPlan, plan_slots, slot_size
from trainer.spec.environment import environment_of
from trainer.spec.errors import UserError
from trainer.spec.units import human_seconds
from trainer.worker_group import worker_resources

WAIT_S = 1800.0
"""For the first node of a cluster that has none yet; renting one takes minutes."""
LOOK_EVERY_S = 1.0
SAY_EVERY_S = 30.0


@dataclass(frozen=True)
class Room:
    """The slots of a sweep, and the nodes that they stay away from."""

    plan: SlotPlan
    left_out: frozenset[str] = frozenset()
    """Ray's ids of nodes that cannot compute."""
    place: str = ""
    """The environment of the nodes that compute; empty where it is this machine's."""


def find_room(
    options: DriveOptions,
    num_runs: int,
    gpus_wanted: int,
    one_kind: bool,
    quarantined: Collection[str],
    visible: Path,
    stop: threading.Event,
    say: Callable[[str], None],
) -> Room | None:
    """Slots on the nodes of this Ray. None when `stop` came first. Raises UserError naming every node and its fault.

    gpus_wanted:  GPUs of a slot that the preset was made for; on a local Ray a slot takes what there is
    one_kind:     whether runs may only be compared on nodes of equal hardware: under a wall clock
    visible:      the driver's file in the store
    """
    wanted = gpus_wanted if options.address else 0

    def plan_on(nodes: list[ClusterNode]) -> SlotPlan:
        return plan_slots(nodes, num_runs, options.slots, options.workers, wanted)

    plan = wait_for_slots(lambda: nodes_without(quarantined), plan_on, options, wanted, stop, say)
    if plan is None:
        return None
    nodes = [node for node in nodes_without(quarantined) if node.num_slots(plan.workers_per_slot, plan.use_gpu)]
    if options.address is None and not plan.use_gpu:
        return Room(plan)  # this very machine
    reports = probe_nodes(nodes, visible.parents[1], visible, stop)
    if stop.is_set():
        return None
    faults = left_out(nodes, reports, visible, one_kind)
    for node in nodes:
        if node.id in faults:
            say(f"node {node.name} takes no runs: {faults[node.id]}")
    fit = [node for node in nodes if node.id not in faults]
    try:
        plan = plan_on(fit)
    except UserError as lacking:
        if not faults:
            raise
        listed = "\n".join(f"  {node.name}: {faults[node.id]}" for node in nodes if node.id in faults)
        raise UserError(f"{lacking}\nof the others:\n{listed}" if fit else f"no node can compute\n{listed}") from None
    report = reports[fit[0].id]
    place = environment_of(report.hardware, plan.workers_per_slot, report.version_line) if options.address else ""
    return Room(plan, frozenset(faults), place)


def wait_for_slots(
    nodes: Callable[[], list[ClusterNode]],
    plan_on: Callable[[list[ClusterNode]], SlotPlan],
    options: DriveOptions,
    gpus_wanted: int,
    stop: threading.Event,
    say: Callable[[str], None],
) -> SlotPlan | None:
    """The plan, once the nodes are there; None when `stop` came first.

    Waits as long as `--wait-for-nodes` says; without it only while a cluster has no node of the wanted kind at all.
    Raises UserError, with the list of nodes, when that has passed.
    """
    began_s = said_s = time.monotonic()
    try:
        return plan_on(nodes())
    except UserError as lacking:
        limit_s = _wait_s(options, nodes(), gpus_wanted)
        if limit_s <= 0:
            raise
        say(f"waiting for nodes, {human_seconds(limit_s)} at most: {lacking}")
    workers = slot_size(options.workers, gpus_wanted)
    with asked_for(worker_resources(gpus_wanted > 0), workers, options.slots or 1):
        while not stop.wait(LOOK_EVERY_S):
            waited_s = time.monotonic() - began_s
            try:
                return plan_on(nodes())
            except UserError as lacking:
                if waited_s > limit_s:
                    raise UserError(
                        f"no room for the slots after {human_seconds(waited_s)}: {lacking}; "
                        "start nodes, or wait longer: --wait-for-nodes SECONDS"
                    ) from None
                if time.monotonic() - said_s >= SAY_EVERY_S:
                    said_s = time.monotonic()
                    say(f"still waiting for nodes after {human_seconds(waited_s)}: {lacking}")
    return None


def _wait_s(options: DriveOptions, nodes: Collection[ClusterNode], gpus_wanted: int) -> float:
    if options.address is None:
        return 0.0
    if options.wait_for_nodes_s is not None:
        return options.wait_for_nodes_s
    return 0.0 if any(node.num_slots(1, gpus_wanted > 0) for node in nodes) else WAIT_S


def left_out(
    nodes: Collection[ClusterNode], reports: Mapping[str, NodeReport], visible: Path | None, one_kind: bool
) -> dict[str, str]:
    """Why nodes take no runs, by Ray's ids of them."""
    driver = own_report()
    faults = {node.id: "; ".join(complaints(reports[node.id], driver, visible)) for node in nodes}
    faults = {node: fault for node, fault in faults.items() if fault}
    kinds = Counter(reports[node.id].kind for node in nodes if node.id not in faults)
    if one_kind and len(kinds) > 1:
        kind, count = kinds.most_common(1)[0]
        for node in nodes:
            report = reports[node.id]
            if node.id not in faults and report.kind != kind:
                faults[node.id] = (
                    f"it is {report.hardware}, with {report.version_line}; runs under a wall clock are compared on "
                    f"nodes of one kind, here {count} of {kind[0]}, with {kind[1]}"
                )
    return faults
