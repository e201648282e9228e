"""What a stage is handed: the recipe, the folders it may read, its ranks, a clock, and two ways to talk back."""

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
    """Somebody asked the run to stop; it leaves no record and is resumed later."""


@dataclass
class StageContext:
    """One run's view of the world. Every rank holds one; only the first rank writes."""

    recipe: Recipe
    run_id: str
    store: StageStore
    fingerprints: dict[str, str]
    ranks: Ranks = field(default_factory=Ranks)
    report: Callable[[Progress], None] = lambda progress: None
    stopping: Callable[[], bool] = lambda: False
    """Whether somebody wants the run to stop; asked on the first rank only."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any origin."""
    snapshot_every_s: float = SNAPSHOT_EVERY_S
    """Seconds of work that a kill may cost at most; changes no answer."""
    compiler: str = "inductor"
    """Back end of compiled training, by torch's name for it."""
    outcomes: dict[str, StageOutcome] = field(default_factory=dict)
    machine: str = field(default_factory=socket.gethostname)
    """What the cluster calls the machine that this runs on."""

    def folder(self, stage: str) -> Path:
        """Where a finished stage of this run lies."""
        return self.store.folder(stage, self.fingerprints[stage])

    def snapshot_path(self, stage: str) -> Path:
        """Where a stage of this run keeps its snapshot while it is at work."""
        return self.store.snapshot_path(stage, self.fingerprints[stage])

    def text_folder(self, stage: str) -> Path:
        """Where the shards of `train_text` or `val_text` lie: the stage's folder, or the recipe's own."""
        return Path(self.recipe.data.folder) if self.recipe.data.source == "shards" else self.folder(stage)

    def tell(self, stage: str, fraction: float, detail: str = "") -> None:
        """Reports progress; the receiver decides how often it looks."""
        if self.ranks.is_first:
            self.report(Progress(self.run_id, stage, fraction, detail))

    def settled_s(self) -> float:
        """Seconds of the clock once this rank's device has done all that was launched: what a measurement reads."""
        self.ranks.synchronize()
        return self.clock()

    def stop_requested(self) -> bool:
        """Whether anybody asked the run to stop, the same answer on every rank. A collective: call it in step."""
        return self.ranks.any(self.ranks.is_first and self.stopping())

    def check_interrupted(self) -> None:
        """Raises Interrupted on every rank once anybody asked the run to stop. A collective: call it in step."""
        if self.stop_requested():
            raise Interrupted(self.run_id)

    def check_alone(self) -> None:
        """The same inside a stage that the first rank computes alone; its peers hear of it when the stage ends."""
        if self.stopping():
            raise Interrupted(self.run_id)

    def eval_stop(self, started_s: float) -> Callable[[], bool]:
        """A question for scoring loops, which ask it of every rank: stop now, out of time or on request?"""

        def stop() -> bool:
            requested = self.ranks.is_first and self.stopping()
            return requested or self.clock() - started_s > self.recipe.budget.eval_s

        return stop
