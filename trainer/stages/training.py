"""A training in progress: all that changes from step to step, and a snapshot of it that a kill cannot take.

Restoring a snapshot and going on gives the bits of a training that was never disturbed, seconds of the clock apart. How
often one is taken is an option of execution, no field of the recipe. Decides nothing about training itself.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.data.loader import Loader
from trainer.nn.gpt import GPT
from trainer.optim.averaging import EMA, SWA
from trainer.optim.optimizers import Optimizers
from trainer.stages.training_clock import TrainingClock

SNAPSHOT_VERSION = 3
"""Of what a snapshot holds; one of another version counts as none."""
SNAPSHOT_ROOM_S = 10.0
"""Seconds of the wall-clock budget that must be left when a snapshot is taken, before any was timed."""


@dataclass
class Training:
    """One rank's view; but for the place in the data, all ranks hold the same."""

    model: GPT
    optimizers: Optimizers
    loader: Loader
    swa: SWA | None
    ema: EMA | None
    clock: TrainingClock = field(default_factory=TrainingClock)
    curve: list[str] = field(default_factory=list)
    """One line per step done."""
    sees_quantized: bool = False
    scale_multiplier: Tensor = field(default_factory=lambda: torch.ones(()))
    """What fake quantisation multiplies all row scales by, on the model's device; above 1 under `fit_bytes` alone."""
    fitted_in_part: int = -1
    """Part of the budget in which that number was chosen."""
    loss: float = float("nan")

    @property
    def step(self) -> int:
        """Steps done, and so the number of the coming one."""
        return len(self.curve)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, the same on every rank."""
        device = next(self.model.parameters()).device
        return {
            "version": SNAPSHOT_VERSION,
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "loader": self.loader.state_dict(),
            "swa": self.swa.state_dict() if self.swa else None,
            "ema": self.ema.state_dict() if self.ema else None,
            "clock": self.clock.state_dict(),
            "curve": list(self.curve),
            "sees_quantized": self.sees_quantized,
            "scale_multiplier": self.scale_multiplier.item(),
            "fitted_in_part": self.fitted_in_part,
            "loss": self.loss,
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict` of the same recipe, on any number of ranks that divides its batches."""
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.loader.load_state_dict(state["loader"])
        if self.swa:
            self.swa.load_state_dict(state["swa"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.clock.load_state_dict(state["clock"])
        self.curve = list(state["curve"])
        self.sees_quantized, self.loss = state["sees_quantized"], state["loss"]
        self.scale_multiplier.fill_(state["scale_multiplier"])
        self.fitted_in_part = state["fitted_in_part"]
        torch.set_rng_state(state["random"])
        device = next(self.model.parameters()).device
        if device.type == "cuda" and state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"], device)


def write_snapshot(path: Path, training: Training) -> bool:
    """Makes the snapshot at `path` the present state, and returns whether it could; if not, the earlier one stands.

    A full disk costs safety here, not the run.
    """
    aside = path.with_suffix(".snapshot-aside")
    try:
        torch.save(training.state_dict(), aside)
        aside.replace(path)
    except (OSError, RuntimeError):  # torch has no error of its own for a file it cannot write
        aside.unlink(missing_ok=True)
        return False
    return True


def read_snapshot(path: Path) -> dict[str, Any] | None:
    """The state last written; None where there is none, or it is damaged or of another version. Executes nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch itself does not look at the checksums
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError):
        return None
    return state if state.get("version") == SNAPSHOT_VERSION else None


@dataclass
class SnapshotTimer:
    """Takes a snapshot every so many seconds of training, and none that could carry the training over its budget."""

    every_s: float
    taken_at_s: float
    """Elapsed training time at the latest snapshot, or at the start of this process."""
    longest_s: float = 0.0

    def __call__(self, path: Path, training: Training, left_s: float, clock: Callable[[], float]) -> None:
        """To be called after each step of the first rank.

        left_s:  seconds of the budget that no step has a claim on; infinite without a wall clock
        """
        elapsed_s = training.clock.elapsed_s
        if elapsed_s - self.taken_at_s <= self.every_s or left_s <= max(SNAPSHOT_ROOM_S, 2 * self.longest_s):
            return
        started_s = clock()
        write_snapshot(path, training)
        self.longest_s = max(self.longest_s, clock() - started_s)
        self.taken_at_s = elapsed_s
