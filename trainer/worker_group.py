"""The worker group of a slot, which computes run after run. The only module that uses Ray Train.

A slot has one Ray Train worker group for the whole sweep. Its first rank takes runs from the board and broadcasts them;
the process group, the imported code and, on GPUs, the loaded kernels are kept between runs. No other state is. Ray
restarts a group whose worker died; the board then gives the slot its unfinished run again.

The driver and Ray Train's controllers import this module and compute nothing, so torch is imported where a rank does:
that is 2 s of a core for each of these processes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import ActorDiedError, RayActorError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.collective import broadcast_from_rank_zero
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from trainer.program.run_program import run_program
from trainer.slot_metrics import SlotMetrics
from trainer.spec.environment import node_name
from trainer.spec.errors import Interrupted, StoreFull
from trainer.spec.messages import Progress, SlotOrder
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore
from trainer.store.visible import is_visible, not_visible

if TYPE_CHECKING:
    from trainer.ranks import Ranks

COLLECTIVE_TIMEOUT_S = 1800
TAKE_WAIT_S = 30
"""`board.take` returns ASK_AGAIN after this long, well before the other ranks' broadcast times out."""
REPORT_EVERY_S = 0.25
ONE_NODE = "STRICT_PACK"
"""Ray's placement of a slot's workers: all on one node, or not at all."""
NOTICED_S = 5.0
"""Within which Ray notices that a node is gone: until then it would start the next worker group there."""
MAX_FAILURES = 3
"""Failures of worker groups after which the trainer gives up, so that a slot that never starts does end."""


UNUSED_BY_SLOTS = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Callbacks of Ray Train, by class name, that start an actor for each slot (two seconds of a core). One serves Ray
Data, the other cleans up after controllers that outlive their driver, which these cannot."""


class SlotTrainer(DataParallelTrainer):
    """Ray Train's trainer without the callbacks that a slot does not need; if Ray renames the method, they are back.

    Ray 2.60 has no public setting for it: `RunConfig.callbacks` can only add callbacks. It is what TorchTrainer adds a
    process group to; ours is made by `join`, since the one that Ray makes listens on all network interfaces.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [callback for callback in callbacks if type(callback).__name__ not in UNUSED_BY_SLOTS]


class Work(Protocol):
    """Computes a run on every rank of a slot."""

    def __call__(
        self,
        request: RunRequest,
        *,
        ranks: Ranks,
        report: Callable[[Progress], None],
        stopping: Callable[[], bool],
        machine: str,
    ) -> object: ...


@dataclass(frozen=True)
class PipelineWork:
    """Computes a run of our own trainer, on every rank."""

    store: StageStore
    snapshot_every_s: float

    def __call__(
        self,
        request: RunRequest,
        *,
        ranks: Ranks,
        report: Callable[[Progress], None],
        stopping: Callable[[], bool],
        machine: str,
    ) -> object:
        from trainer.stages.pipeline import run_pipeline  # late: torch

        return run_pipeline(
            request,
            store=self.store,
            snapshot_every_s=self.snapshot_every_s,
            ranks=ranks,
            report=report,
            stopping=stopping,
            machine=machine,
        )


@dataclass(frozen=True)
class ProgramWork:
    """Computes a run of a program, on the only rank of its slot."""

    store: StageStore
    num_ranks: int
    """GPUs of the slot, or processes on a CPU."""

    def __call__(
        self,
        request: RunRequest,
        *,
        ranks: Ranks,
        report: Callable[[Progress], None],
        stopping: Callable[[], bool],
        machine: str,
    ) -> object:
        return run_program(request, self.store, self.num_ranks, report, stopping, machine)


def worker_resources(use_gpu: bool, each: int = 1) -> dict[str, float]:
    """Ray resources of one worker of a slot: so many GPUs with a CPU each, or so many CPUs."""
    return {"CPU": float(each)} | ({"GPU": float(each)} if use_gpu else {})


def serve(
    board: Any,
    slot: int,
    work: Work,
    scratch: Path,
    num_workers: int,
    use_gpu: bool,
    nodes: Mapping[str, str] | None = None,
    visible: Path | None = None,
    gpus_each: int = 1,
    own_ranks: bool = False,
    ended: threading.Event | None = None,
) -> None:
    """Runs one slot until the board closes it; blocks, so call it in a thread. Raises after too many failures.

    board:    handle of the board actor
    work:     called once per run; may raise Interrupted when `stopping` returns true
    scratch:  folder for Ray Train's own files, which are not needed afterwards
    nodes:    label selector of the permitted nodes; None permits all
    visible:  the driver's file in its store; a machine that does not see it refuses the slot
    gpus_each:  GPUs, or CPUs, of each worker
    own_ranks:  whether `work` starts its own ranks, as a program does: the worker then touches no GPU itself
    ended:    once it is raised nothing is started again
    """
    ended = ended or threading.Event()
    config = {"board": board, "slot": slot, "work": work, "scratch": str(scratch), "visible": visible}
    trainer = SlotTrainer(
        serve_rank,
        train_loop_config=config | {"own_ranks": own_ranks},
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            resources_per_worker=worker_resources(use_gpu, gpus_each),
            placement_strategy=ONE_NODE,
            label_selector=dict(nodes) if nodes else None,  # type: ignore[call-arg]  # of Ray Train's second version
        ),
        run_config=RunConfig(
            name=f"slot-{slot}",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    for failures in range(1, MAX_FAILURES + 2):
        try:
            trainer.fit()
            return
        except ControllerError as error:  # it asked a worker just when its node went away
            wait_s = NOTICED_S * failures
            if failures > MAX_FAILURES or not isinstance(error.controller_failure, RayActorError):
                raise
            print(f"slot {slot}: a node went away under its worker group; started again in {wait_s:g} s", flush=True)
            if ended.wait(wait_s):
                raise


def end_controllers() -> None:
    """Kills the controllers of all slots of this driver, also of one that is still starting; their `serve` raises.

    Ray Train does not expose its controller, so it is looked up in Ray's private list of actors; the public one
    (`ray.util.state`, as of 2.60) needs the dashboard, which a sweep does not start. If a later Ray has moved the list,
    this does nothing, and closing the slots takes longer.
    """
    try:
        from ray._private.state import actors
        from ray._private.worker import global_worker
    except ImportError:
        return
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    for actor_id, actor in actors(job_id=job).items():
        if actor["ActorClassName"] == "TrainController" and actor["State"] != "DEAD":
            global_worker.core_worker.kill_actor(ray.ActorID.from_hex(actor_id), True)  # type: ignore[attr-defined]


def serve_rank(config: dict[str, Any]) -> None:
    """Computes runs on one rank of a slot until the board closes it."""
    from trainer.ranks import Ranks  # late: torch

    board, slot, work, visible = config["board"], config["slot"], config["work"], config["visible"]
    ranks = Ranks() if config["own_ranks"] else join(Path(config["scratch"]))
    if not config["own_ranks"]:
        warm_up(ranks)
    machine, node, alive = this_node()
    ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    gpu_ids = [gpu for of_rank in ranks.gather_objects(ids) for gpu in of_rank]
    metrics = SlotMetrics(slot, machine, gpu_ids) if ranks.is_first else None
    if ranks.any(visible is not None and not is_visible(visible)):
        if ranks.is_first:
            ray.get(board.refuse_slot.remote(slot, machine, not_visible(visible)))
        return
    generation = ray.get(board.open_slot.remote(slot, machine, node, alive)) if ranks.is_first else 0
    while True:
        order: RunRequest | SlotOrder = ranks.broadcast_object(
            ray.get(board.take.remote(slot, generation, TAKE_WAIT_S)) if ranks.is_first else None
        )
        if order is SlotOrder.ASK_AGAIN:
            continue
        if order is SlotOrder.CLOSE:
            return
        if order is SlotOrder.REOPEN:
            machine, node, alive = this_node()
            generation = ray.get(board.open_slot.remote(slot, machine, node, alive)) if ranks.is_first else 0
            continue
        reporter, stopped = BoardReporter(board, order.run_id, metrics), False
        if metrics:
            metrics.begin(order)
        try:
            work(order, ranks=ranks, report=reporter.report, stopping=reporter.stopping, machine=machine)
        except Interrupted:
            stopped = True
        except StoreFull as full:
            stopped = True
            if ranks.is_first:
                ray.get(board.halt.remote(str(full)))
            if ranks.size > 1:
                raise  # the other ranks may be waiting for this one in a collective
        if metrics:
            metrics.end()
            ray.get(board.finish.remote(slot, order.run_id, stopped))


def this_node() -> tuple[str, str, list[str]]:
    """The cluster's name of this worker's node, Ray's id of it, and the ids of all nodes that are there."""
    nodes, own = ray.nodes(), ray.get_runtime_context().get_node_id()
    name = node_name(next((node for node in nodes if node["NodeID"] == own), {}))
    return name, own, [node["NodeID"] for node in nodes if node["Alive"]]


def join(scratch: Path) -> Ranks:
    """Joins the ranks of this worker group, with a new file of their common node for the rendezvous."""
    import torch  # late
    from ray.train.torch import get_device  # late: torch

    from trainer.ranks import Ranks

    context, device = get_context(), get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # as TorchTrainer does: of a node's GPUs the worker's own is the usual one
    meeting = broadcast_from_rank_zero(str(scratch / f"meet-{uuid.uuid4().hex}"))
    return Ranks.join(device, context.get_world_rank(), context.get_world_size(), Path(meeting), COLLECTIVE_TIMEOUT_S)


def warm_up(ranks: Ranks) -> None:
    """Runs one optimiser step and one collective, so that their first-call cost falls in no run's clock."""
    import torch  # late

    from trainer.optim.first_order import AdamW  # late: torch

    weight = torch.nn.Parameter(torch.ones(8, 8, device=ranks.device))
    weight.square().sum().backward()
    AdamW([{"params": [weight]}], betas=(0.9, 0.95), eps=1e-8).step()
    ranks.sum_(torch.ones(1, device=ranks.device))


class BoardReporter:
    """Reports a run's progress to the board and reads whether to stop, without blocking.

    Each call returns the board's reply to an earlier one. Ray restarts a board that died; if its driver died too, the
    board is gone and the run stops.
    """

    def __init__(self, board: Any, run_id: str, metrics: SlotMetrics | None = None):
        self._board, self._run_id, self._metrics = board, run_id, metrics
        self._latest: Progress | None = None
        self._answer: Any = None
        self._cancelled = False
        self._called_s = 0.0

    def report(self, progress: Progress) -> None:
        self._latest = self._metrics.completed(progress) if self._metrics else progress
        self._exchange()

    def stopping(self) -> bool:
        self._exchange()
        return self._cancelled

    def _exchange(self) -> None:
        now_s = time.monotonic()
        if now_s - self._called_s < REPORT_EVERY_S:
            return
        if self._answer is not None:
            ready, _ = ray.wait([self._answer], timeout=0)
            if not ready:
                return
            try:
                self._cancelled = ray.get(self._answer)
            except ActorDiedError:  # the driver, which would read the result, is gone too
                self._cancelled = True
        self._called_s = now_s
        self._answer = self._board.progress.remote(self._run_id, self._latest)
