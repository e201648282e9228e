"""The arguments of a stage: recipe, store, fingerprints, ranks, clock, and callbacks for progress and stopping."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainer.ranks import Ranks
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.record import StageOutcome
from trainer.store.local import StageStore

SNAPSHOT_EVERY_S = 60.0


class Interrupted(Exception):
    """The run was asked to stop; it leaves no record and is resumed later."""


@dataclass
class StageContext:
    """Everything that the stages of one run need. Every rank has one; only the first rank writes."""

    recipe: Recipe
    run_id: str
    store: StageStore
    fingerprints: dict[str, str]
    ranks: Ranks = field(default_factory=Ranks)
    report: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    """Returns whether the run should stop; called on the first rank only."""
    clock: Callable[[], float] = time.monotonic
    """Seconds from an arbitrary origin."""
    snapshot_every_s: float = SNAPSHOT_EVERY_S
    """Seconds between snapshots, the most work that a kill loses; has no effect on results."""
    compiler: str = "inductor"
    """Torch's name of the back end for compiled training."""
    outcomes: dict[str, StageOutcome] = field(default_factory=dict)
    machine: str = field(default_factory=socket.gethostname)
    """The cluster's name of this machine."""

    def folder(self, stage: str) -> Path:
        """Folder of a finished stage of this run."""
        return self.store.folder(stage, self.fingerprints[stage])

    def snapshot_path(self, stage: str) -> Path:
        """Path of the snapshot of an unfinished stage of this run."""
        return self.store.snapshot_path(stage, self.fingerprints[stage])

    def text_folder(self, stage: str) -> Path:
        """Folder with the shards of `train_text` or `val_text`: the stage's, or the one that the recipe names."""
        return Path(self.recipe.data.folder) if self.recipe.data.source == "shards" else self.folder(stage)

    def tell(self, stage: str, fraction: float, detail: str = "") -> None:
        """Reports progress, on the first rank."""
        if self.ranks.is_first:
            self.report(Progress(self.run_id, stage, fraction, detail))

    def settled_s(self) -> float:
        """Seconds of the clock once this rank's device has done all that was launched: what a measurement reads."""
        self.ranks.synchronize()
        return self.clock()

    def stop_requested(self) -> bool:
        """Whether the run was asked to stop; the same answer on every rank. A collective operation."""
        return self.ranks.any(self.ranks.is_first and self.stopping())

    def check_interrupted(self) -> None:
        """Raises Interrupted on every rank if the run should stop. A collective operation."""
        if self.stop_requested():
            raise Interrupted(self.run_id)

    def check_alone(self) -> None:
        """Raises Interrupted if the run should stop, in a stage that the first rank computes alone."""
        if self.stopping():
            raise Interrupted(self.run_id)

    def eval_stop(self, started_s: float) -> Callable[[], bool]:
        """The `stop` function of a scoring loop: true when `budget.eval_s` is used up or the run should stop."""

        def stop() -> bool:
            requested = self.ranks.is_first and self.stopping()
            return requested or self.clock() - started_s > self.recipe.budget.eval_s

        return stop
