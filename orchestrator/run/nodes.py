"""Nodes of a Ray cluster by the names that machines have in records: what is left of it without the quarantined ones.

Starts nothing, and decides about no machine. Only for a driver that has started Ray.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def offers_without(machines: Collection[str]) -> list[NodeOffer]:
    """What each of the other machines offers, by name."""
    offers = [
        NodeOffer(node_name(node), int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in _alive()
    ]
    return sorted((offer for offer in offers if offer.name not in machines), key=lambda offer: offer.name)


def selector_without(machines: Collection[str]) -> dict[str, str]:
    """The label selector of all other machines; empty when every node will do."""
    avoided = [node["NodeID"] for node in _alive() if node_name(node) in machines]
    return {NODE_ID: f"!in({','.join(avoided)})"} if avoided else {}


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
