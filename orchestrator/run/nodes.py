"""Nodes of a Ray cluster by the names that machines have in records: what is left of it without the quarantined ones.

Starts nothing, and decides about no machine. Only for a driver that has started Ray.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.run.placement import NodeOffer
from trainer.spec.environment import node_name
from trainer.worker_group import ONE_NODE

NODE_ID = "ray.io/node-id"
"""The label that Ray gives every node by itself."""
ROOM_WAIT_S = 5.0
"""Ray places a group that fits in milliseconds; a group without a place after this long is refused."""


@dataclass(frozen=True)
class ClusterNode(NodeOffer):
    """A node of the cluster, and Ray's id of it."""

    id: str


def nodes_without(machines: Collection[str], ids: Collection[str] = ()) -> list[ClusterNode]:
    """The cluster's other nodes, by name: neither of these machines nor of these ids."""
    nodes = [
        ClusterNode(
            node_name(node),
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
            node["NodeID"],
        )
        for node in _alive()
    ]
    kept = (node for node in nodes if node.name not in machines and node.id not in ids)
    return sorted(kept, key=lambda node: (node.name, node.id))


def selector_without(machines: Collection[str], ids: Collection[str] = ()) -> dict[str, str]:
    """The label selector of all other nodes; empty when every node will do."""
    avoided = [node["NodeID"] for node in _alive() if node_name(node) in machines or node["NodeID"] in ids]
    return {NODE_ID: f"!in({','.join(avoided)})"} if avoided else {}


def ids_alive() -> list[str]:
    """Ray's ids of the nodes that are there now."""
    return [node["NodeID"] for node in _alive()]


def own_resource() -> str:
    """The resource that Ray gives this driver's node alone, by its address: what needs a share of it runs there."""
    own = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in _alive() if node["NodeID"] == own)
    return next(name for name in resources if name.startswith("node:") and name != "node:__internal_head__")


@contextmanager
def asked_for(resources: Mapping[str, float], count: int, groups: int) -> Iterator[None]:
    """Asks Ray's autoscaler for so many slots of `count` workers, for the length of the block.

    By placement groups that wait: unlike a request by `ray.autoscaler.sdk`, they end with this driver, however it ends.
    """
    waiting = [placement_group([dict(resources) for _ in range(count)], strategy=ONE_NODE) for _ in range(groups)]
    try:
        yield
    finally:
        for group in waiting:
            remove_placement_group(group)


def has_room(resources: Mapping[str, float], count: int, selector: Mapping[str, str]) -> bool:
    """Whether a slot of so many workers fits on a node that the selector leaves, now, by Ray's own scheduler."""
    group = placement_group(
        [dict(resources) for _ in range(count)],
        strategy=ONE_NODE,
        bundle_label_selector=[dict(selector) for _ in range(count)],
    )
    try:
        return group.wait(ROOM_WAIT_S)
    finally:
        remove_placement_group(group)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
