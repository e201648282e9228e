"""A warm worker group that pulls runs: the one file that knows Ray Train.

A slot is a Ray Train worker group that lives as long as the sweep. Its first rank takes run after run from the board
and tells its peers; the process group, the loaded code and, on GPUs, the kernels stay warm between runs. Nothing of one
run reaches the next. Ray restarts a group whose worker died; the board then hands it its unfinished run again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import ActorDiedError
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.backend import Backend
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from trainer.ranks import Ranks
from trainer.spec.environment import node_name
from trainer.spec.errors import StoreFull
from trainer.spec.messages import Progress, SlotOrder
from trainer.stages.context import Interrupted
from trainer.stages.run_record import RunRequest

COLLECTIVE_TIMEOUT_S = 1800
TAKE_WAIT_S = 30
"""The board answers a `take` with nothing after this long, well before waiting ranks time out in their broadcast."""
REPORT_EVERY_S = 0.25
MAX_FAILURES = 3
"""Deaths of worker groups after which the trainer gives up, so that a group that never even opens its slot ends."""


class OwnProcessGroup(TorchConfig):
    """Leaves the process group to `join`: the one that Ray makes listens on every interface of the machine."""

    @property
    def backend_cls(self) -> type[Backend]:
        return Backend


UNUSED_BY_SLOTS = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Ray Train's helpers by name. Each starts an actor per slot, two seconds of a core: one serves Ray Data; the other
cleans up after controllers that outlive their driver, which ours cannot."""


class SlotTrainer(TorchTrainer):
    """A TorchTrainer without the actors that a slot never uses. Should Ray rename its hook, they merely come back.

    No public way in Ray 2.60: `RunConfig.callbacks` only adds to them, and no setting leaves these two out.
    """

    def _create_default_callbacks(self) -> list[Any]:
        made = super()._create_default_callbacks()  # type: ignore[misc]
        return [callback for callback in made if type(callback).__name__ not in UNUSED_BY_SLOTS]


class Work(Protocol):
    """What a slot does with a run, on every rank: `run_pipeline` with its store filled in."""

    def __call__(
        self,
        request: RunRequest,
        *,
        ranks: Ranks,
        report: Callable[[Progress], None],
        stopping: Callable[[], bool],
        machine: str,
    ) -> object: ...


def worker_resources(use_gpu: bool) -> dict[str, float]:
    """What one worker of a slot holds."""
    return {"CPU": 1.0} | ({"GPU": 1.0} if use_gpu else {})


def serve(
    board: Any,
    slot: int,
    work: Work,
    scratch: Path,
    num_workers: int,
    use_gpu: bool,
    nodes: Mapping[str, str] | None = None,
) -> None:
    """Runs one slot until the board closes it; blocks, so give it a thread. Raises when too many groups died.

    board:    handle of the board actor
    work:     done once per run; may raise Interrupted once `stopping` says so
    scratch:  folder for Ray Train's own files, which nobody reads again
    nodes:    label selector of the nodes that will do; all of them without one
    """
    SlotTrainer(
        serve_rank,
        train_loop_config={"board": board, "slot": slot, "work": work, "scratch": str(scratch)},
        torch_config=OwnProcessGroup(),
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            resources_per_worker=worker_resources(use_gpu),
            label_selector=dict(nodes) if nodes else None,  # type: ignore[call-arg]  # of Ray Train's second version
        ),
        run_config=RunConfig(
            name=f"slot-{slot}",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    ).fit()


def end_controllers() -> None:
    """Ends every slot of this driver at once, even one whose worker group is still starting; its `serve` raises.

    Ray Train gives a caller's thread no handle to its controller, so Ray's own list of actors is asked: the public one
    (`ray.util.state`, as of 2.60) needs the dashboard, which a sweep does not start. Should a later Ray have moved it,
    this does nothing, and whoever waits for the slots waits longer.
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
    """One rank of a slot: takes runs until told to close."""
    ranks = join(Path(config["scratch"]))
    board, slot, work = config["board"], config["slot"], config["work"]
    warm_up(ranks)
    machine = machine_name()
    generation = ray.get(board.open_slot.remote(slot, machine)) if ranks.is_first else 0
    while True:
        order: RunRequest | SlotOrder = ranks.broadcast_object(
            ray.get(board.take.remote(slot, generation, TAKE_WAIT_S)) if ranks.is_first else None
        )
        if order is SlotOrder.ASK_AGAIN:
            continue
        if order is SlotOrder.CLOSE:
            return
        if order is SlotOrder.REOPEN:
            generation = ray.get(board.open_slot.remote(slot, machine)) if ranks.is_first else 0
            continue
        line = BoardLine(board, order.run_id)
        try:
            work(order, ranks=ranks, report=line.report, stopping=line.stopping, machine=machine)
        except Interrupted:
            pass
        except StoreFull as full:
            if ranks.is_first:
                ray.get(board.halt.remote(str(full)))
            if ranks.size > 1:
                raise  # peers may wait for it within the run
        if ranks.is_first:
            ray.get(board.finish.remote(slot, order.run_id))


def machine_name() -> str:
    """What the cluster calls the node that this worker is on."""
    own = ray.get_runtime_context().get_node_id()
    return node_name(next((node for node in ray.nodes() if node["NodeID"] == own), {}))


def join(scratch: Path) -> Ranks:
    """This worker among the ranks of its group; they meet at a new file of the node they share."""
    context = get_context()
    meeting = broadcast_from_rank_zero(str(scratch / f"meet-{uuid.uuid4().hex}"))
    return Ranks.join(
        get_device(), context.get_world_rank(), context.get_world_size(), Path(meeting), COLLECTIVE_TIMEOUT_S
    )


def warm_up(ranks: Ranks) -> None:
    """One optimiser step and one collective, so that a run's clock meets neither for the first time."""
    weight = torch.nn.Parameter(torch.ones(8, 8, device=ranks.device))
    weight.square().sum().backward()
    torch.optim.AdamW([weight]).step()
    ranks.sum_(torch.ones(1, device=ranks.device))


class BoardLine:
    """Talks to the board about one run without ever waiting for it: each call reads the previous answer.

    A board that died is started again by Ray. One whose driver died is gone, and the run is told to stop.
    """

    def __init__(self, board: Any, run_id: str):
        self._board, self._run_id = board, run_id
        self._latest: Progress | None = None
        self._answer: Any = None
        self._cancelled = False
        self._called_s = 0.0

    def report(self, progress: Progress) -> None:
        self._latest = progress
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
            except ActorDiedError:  # for good, with the driver that would read the result: no fault of the run's
                self._cancelled = True
        self._called_s = now_s
        self._answer = self._board.progress.remote(self._run_id, self._latest)
