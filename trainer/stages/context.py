"""The arguments of a stage: recipe, folders, ranks, clock, and callbacks for progress and stopping."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainer.ranks import Ranks
from trainer.spec.errors import Interrupted, UserError
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.record import Metric, StageOutcome
from trainer.spec.stage_table import TOKENIZER_FILE
from trainer.store.local import StageStore

SNAPSHOT_EVERY_S = 60.0


class RunContext(ABC):
    """What the stages of one run need, wherever they find and leave files. Every rank has one; the first one writes."""

    recipe: Recipe
    run_id: str
    ranks: Ranks
    report: Callable[[Progress], None]
    stopping: Callable[[], bool]
    """Returns whether the run should stop; called on the first rank only."""
    clock: Callable[[], float]
    """Seconds from an arbitrary origin."""
    compiler: str
    """Torch's name of the back end for compiled training."""

    @abstractmethod
    def folder(self, stage: str) -> Path:
        """Folder of a finished stage of this run."""

    @abstractmethod
    def text_folder(self, stage: str) -> Path:
        """Folder with the shards of `train_text` or `val_text`."""

    @abstractmethod
    def metrics(self, stage: str) -> Mapping[str, Metric]:
        """Numbers of an earlier stage of this run; empty where it has not run."""

    @property
    def tokenizer(self) -> Path:
        """The SentencePiece model of the shards."""
        return self.folder("train_text") / TOKENIZER_FILE

    def artifact(self, file: str) -> Path:
        """An exported artifact."""
        return self.folder("export") / file

    def tell(self, stage: str, fraction: float, detail: str = "", tokens_per_s: float | None = None) -> None:
        """Reports progress, on the first rank."""
        if self.ranks.is_first:
            self.report(Progress(self.run_id, stage, fraction, detail, tokens_per_s))

    def scoring_report(self, stage: str, num_tokens: int, started_s: float) -> Callable[[float], None]:
        """The `report` function of a scoring loop, which is called with its done part."""

        def report(fraction: float) -> None:
            self.tell(stage, fraction, tokens_per_s=fraction * num_tokens / max(self.clock() - started_s, 1e-9))

        return report

    def settled_s(self) -> float:
        """Seconds of the clock once this rank's device has done all that was launched: what a measurement reads."""
        self.ranks.synchronize()
        return self.clock()

    def settled_on_first(self) -> tuple[float, bool]:
        """`settled_s` of the first rank, and whether the run was asked to stop: the same on every rank.

        A collective operation, in which each rank waits once.
        """
        first = self.ranks.is_first
        settled_s, stop = self.ranks.broadcast_numbers(*((self.settled_s(), self.stopping()) if first else (0.0, 0.0)))
        return settled_s, bool(stop)

    def check_interrupted(self) -> None:
        """Raises Interrupted on every rank if the run should stop. A collective operation."""
        if self.ranks.any(self.ranks.is_first and self.stopping()):
            raise Interrupted(self.run_id)

    def check_alone(self) -> None:
        """Raises Interrupted if the run should stop, in a stage that the first rank computes alone."""
        if self.stopping():
            raise Interrupted(self.run_id)

    def on_first(self, work: Callable[[], dict[str, Metric]]) -> dict[str, Metric]:
        """What `work` returns or raises on the first rank, which alone calls it, on every rank."""
        if self.ranks.size == 1:
            return work()
        result: dict[str, Metric] | str | None = {}
        if self.ranks.is_first:
            try:
                result = work()
            except UserError as mistake:
                result = str(mistake)
            except Interrupted:
                result = None
        result = self.ranks.broadcast_object(result)
        if result is None:
            raise Interrupted(self.run_id)
        if isinstance(result, str):
            raise UserError(result)
        return result

    def eval_stop(self, started_s: float) -> Callable[[], bool]:
        """The `stop` function of a scoring loop: true when `budget.eval_s` is used up or the run should stop."""

        def stop() -> bool:
            requested = self.ranks.is_first and self.stopping()
            return requested or self.clock() - started_s > self.recipe.budget.eval_s

        return stop


@dataclass
class StageContext(RunContext):
    """The context of a run whose stages are in a store."""

    recipe: Recipe
    run_id: str
    store: StageStore
    fingerprints: dict[str, str]
    ranks: Ranks = field(default_factory=Ranks)
    report: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    snapshot_every_s: float = SNAPSHOT_EVERY_S
    """Seconds between snapshots, the most work that a kill loses; has no effect on results."""
    compiler: str = "inductor"
    outcomes: dict[str, StageOutcome] = field(default_factory=dict)
    machine: str = field(default_factory=socket.gethostname)
    """The cluster's name of this machine."""

    def folder(self, stage: str) -> Path:
        """Folder of a finished stage of this run."""
        return self.store.folder(stage, self.fingerprints[stage])

    def metrics(self, stage: str) -> Mapping[str, Metric]:
        """Numbers of an earlier stage, as the store keeps them."""
        return self.outcomes[stage].metrics if stage in self.outcomes else {}

    def snapshot_path(self, stage: str) -> Path:
        """Path of the snapshot of an unfinished stage of this run."""
        return self.store.snapshot_path(stage, self.fingerprints[stage])

    def text_folder(self, stage: str) -> Path:
        """Folder with the shards of `train_text` or `val_text`: the stage's, or the one that the recipe names."""
        return Path(self.recipe.data.folder) if self.recipe.data.source == "shards" else self.folder(stage)
