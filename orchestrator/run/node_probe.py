"""Looks at every node of a cluster before it takes runs: the package, its versions, the store, its GPUs.

A node that cannot compute is named at once, with what to do; without this its worker groups would die, or hang, later.
`complaints` is a pure function of what a node reports; `probe_nodes` asks Ray's nodes, all at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.spec.environment import PACKAGE, code_digest, packages
from trainer.store.mirror import bucket_of
from trainer.store.visible import not_visible

if TYPE_CHECKING:
    from orchestrator.run.nodes import ClusterNode

ANSWER_WITHIN_S = 120.0
"""For a node to import the package and PyTorch, on a disk that is slow."""
LOOK_EVERY_S = 0.5
SEND_ALONG = "ray job submit --working-dir . -- python -m orchestrator sweep ..."
COMPARED = ("python", "ray", "torch")
"""Packages that must have the driver's version on every node."""


@dataclass(frozen=True)
class NodeReport:
    """What a node reports of itself. A field that could not be found out is empty."""

    name: str
    missing: str = ""
    """Why the package cannot be imported there, or why there is no answer; empty if all is well."""
    versions: Mapping[str, str] | None = None
    """Of Python and the packages, by name."""
    code: str = ""
    """Digest of the trainer's files."""
    sees_store: bool = True
    gpus: int = 0
    """GPUs that Ray counts there."""
    torch_gpus: int | None = None
    """GPUs that PyTorch sees there; None where none were looked for."""
    hardware: str = ""
    """As in a record."""
    version_line: str = ""
    """As in a record."""
    driver: str = ""
    """Version of the GPU driver."""
    clock_s: float = 0.0
    """Seconds that its clock is ahead of this one; read when it answered, so less by the way of the answer."""
    free_bytes: int = 0
    """Free space where its store, or its mirror of a bucket, lies."""
    write_bytes_per_s: float = 0.0
    """Speed at which it wrote a file of some megabytes into the store."""

    @property
    def kind(self) -> tuple[str, str]:
        """Nodes of one kind train equally fast: hardware and versions."""
        return self.hardware, self.version_line


def own_report(name: str = "driver") -> NodeReport:
    """Versions and code of this process, which the nodes are held against."""
    return NodeReport(name, versions=packages(), code=code_digest(PACKAGE))


def complaints(node: NodeReport, driver: NodeReport, visible: Path | None) -> list[str]:
    """Why a node cannot compute runs, each with what to do about it; empty if it can."""
    if node.missing:
        return [node.missing]
    found, wanted = node.versions or {}, driver.versions or {}
    said = [
        f"it has {name} {found.get(name, 'not at all')}, the driver {wanted[name]}; install the same there"
        for name in COMPARED
        if name in wanted and _release(found.get(name, "")) != _release(wanted[name])
    ]
    if not said and node.code != driver.code:
        said.append("it runs other code of this package than the driver; install the same commit there, or send it "
                    f"along: {SEND_ALONG}")  # fmt: skip
    if visible is not None and not node.sees_store:
        said.append(not_visible(visible))
    if node.torch_gpus is not None and node.torch_gpus < node.gpus:
        said.append(
            f"Ray counts {node.gpus} GPUs there, PyTorch {found.get('torch', '')} sees {node.torch_gpus}; "
            "install PyTorch's CUDA build there, and a driver that is new enough for it"
        )
    return said


def _release(version: str) -> str:
    """A version without its build, as '+cu128': a head without GPUs may have the CPU build."""
    return version.partition("+")[0]


def probe_nodes(
    nodes: Sequence[ClusterNode], store: Path, visible: Path | None, stop: threading.Event, measure: bool = False
) -> dict[str, NodeReport]:
    """What each node reports, by Ray's id of it; asks all at once. Nodes that gave no answer are reported so.

    visible:  the driver's file in the store; None looks for none
    stop:     ends the wait
    measure:  also how fast the node writes to the store
    """
    import ray  # late: as in `ray_session`
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    bucket = bucket_of(store)
    task = ray.remote(max_calls=1, max_retries=0, num_cpus=0)(node_task())
    answers = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            str(store.absolute()), bucket.url if bucket else "", str(visible or ""), node.gpus > 0, measure
        ): node
        for node in nodes
    }
    reports: dict[str, NodeReport] = {}
    waiting, deadline = list(answers), time.monotonic() + ANSWER_WITHIN_S
    while waiting and not stop.is_set() and time.monotonic() < deadline:
        ready, waiting = ray.wait(waiting, timeout=LOOK_EVERY_S)
        for answer in ready:
            node = answers[answer]
            try:
                found = ray.get(answer)
            except ray.exceptions.RayError as fault:
                found = {"missing": f"its Ray cannot start a worker ({str(fault).strip().splitlines()[-1]})"}
            if "clock_s" in found:
                found["clock_s"] -= time.time()  # read last of all there: the way of the answer takes milliseconds
            reports[node.id] = NodeReport(node.name, gpus=node.gpus, **found)
    for answer in waiting:
        ray.cancel(answer, force=True)
        node = answers[answer]
        silence = f"it gave no answer within {ANSWER_WITHIN_S:g} s; look at its log of Ray, and at its disk and network"
        reports[node.id] = NodeReport(node.name, gpus=node.gpus, missing=silence)
    return reports


def node_task() -> Callable[..., dict[str, Any]]:
    """What a node runs: fields of its report. Nested, so that Ray sends its code: the package may be missing there."""
    without_package = (
        "it cannot import this package ({fault}); install it there with the driver's Python and versions, "
        f"or send it along: {SEND_ALONG}"
    )
    code = "import torch; print(torch.cuda.device_count())"

    def report(root: str, bucket: str, visible: str, look_for_gpus: bool, measure: bool) -> dict[str, Any]:
        import os
        import shutil
        import subprocess
        import sys
        import time
        from pathlib import Path

        try:
            import trainer.stages.run_record  # noqa: F401
            from trainer.spec.environment import PACKAGE, code_digest, hardware, machine_facts, packages, versions
            from trainer.store.bucket import Bucket
            from trainer.store.mirror import make_mirror
            from trainer.store.visible import is_visible, write_speed
        except Exception as fault:
            return {"missing": without_package.format(fault=f"{type(fault).__name__}: {fault}; {sys.executable}")}
        if bucket:
            make_mirror(Path(root), Bucket(bucket))
        found: dict[str, Any] = {
            "versions": packages(),
            "code": code_digest(PACKAGE),
            "hardware": hardware(),
            "version_line": versions(),
            "driver": machine_facts().get("driver", ""),
            "sees_store": is_visible(Path(visible)) if visible else True,
        }
        if look_for_gpus:  # in a process of its own, which sees all of them
            shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
            done = subprocess.run(  # noqa: S603 - our own code
                [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=shown, timeout=90
            )
            found["torch_gpus"] = int(done.stdout) if done.returncode == 0 else 0
        if measure and Path(root).exists():
            found["free_bytes"] = shutil.disk_usage(root).free
            found["write_bytes_per_s"] = write_speed(Path(root)) if found["sees_store"] else 0.0
        found["clock_s"] = time.time()
        return found

    return report
