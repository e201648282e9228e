"""Checks every node of a cluster before money is spent on it: a row per node, with what is wrong and what to do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.run.node_probe import NodeReport, complaints, own_report, probe_nodes
from orchestrator.run.ray_session import ray_session
from trainer.spec.units import human_bytes
from trainer.store.visible import visible_file

CLOCK_S = 5.0
"""A node's clock may differ this much: times in records are compared by people."""
LOW_BYTES = 20 << 30
"""A node with less free space than this cannot keep many checkpoints."""


def check_cluster(address: str | None, store: Path) -> list[dict[str, Any]]:
    """A row per node of the cluster at this address, or of a local Ray."""
    with ray_session(address), visible_file(store) as visible:
        from orchestrator.run.nodes import nodes_without  # late: Ray

        nodes = nodes_without(())
        reports = probe_nodes(nodes, store, visible, threading.Event(), measure=True)
    return check_rows([reports[node.id] for node in nodes], own_report(), visible)


def check_rows(reports: Sequence[NodeReport], driver: NodeReport, visible: Path) -> list[dict[str, Any]]:
    """What each node reports, as plain values; `faults` is empty for a node that can compute."""
    return [_row(report, [*complaints(report, driver, visible), *remarks(report)]) for report in reports]


def remarks(report: NodeReport) -> list[str]:
    """Faults that let runs begin, but end badly."""
    if report.missing:
        return []
    said = []
    if abs(report.clock_s) > CLOCK_S:
        said.append(f"its clock is {report.clock_s:+.0f} s off; let a time service set it")
    if report.sees_store and report.free_bytes < LOW_BYTES:
        said.append(f"{human_bytes(report.free_bytes)} are free for its store; free {human_bytes(LOW_BYTES)}")
    return said


def _row(report: NodeReport, faults: Sequence[str]) -> dict[str, Any]:
    versions: Mapping[str, str] = report.versions or {}
    return {
        "node": report.name,
        "python": versions.get("python", ""),
        "torch": versions.get("torch", ""),
        "ray": versions.get("ray", ""),
        "code": report.code,
        "gpus": report.gpus,
        "torch_gpus": report.torch_gpus,
        "driver": report.driver,
        "attention": _attention(versions),
        "sees_store": report.sees_store and not report.missing,
        "clock_s": round(report.clock_s, 2),
        "free_bytes": report.free_bytes,
        "write_bytes_per_s": round(report.write_bytes_per_s),
        "faults": list(faults),
    }


def _attention(versions: Mapping[str, str]) -> str:
    """The extensions that are installed beside PyTorch's own; a run's record says which one its GPU took."""
    installed = [f"{name} {versions[name]}" for name in ("flash-attn-3", "flash-attn") if name in versions]
    return " and ".join(["PyTorch's", *installed])
