"""A training in progress: all that changes from step to step, and a snapshot of it that a kill cannot take.

Restoring a snapshot and going on gives the bits of a training that was never disturbed, seconds of the clock apart. How
often one is taken is an option of execution, no field of the recipe. Decides nothing about training itself.
"""

from __future__ import annotations

import pickle
import statistics
import zipfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainer.data.loader import Loader
from trainer.nn.gpt import GPT
from trainer.optim.averaging import EMA, SWA
from trainer.optim.optimizers import Optimizers

MIN_TIMED_STEPS = 3


@dataclass
class TrainingClock:
    """Seconds of training alone, and a step estimate that one slow step cannot move."""

    elapsed_s: float = 0.0
    recent_step_s: deque[float] = field(default_factory=lambda: deque(maxlen=21))

    def add(self, step_s: float) -> None:
        self.elapsed_s += step_s
        self.recent_step_s.append(step_s)

    @property
    def next_step_s(self) -> float | None:
        """What the coming step may well take: the slowest recent step but one, since a single pause says nothing.

        The slowest of all while few are known; None before the first.
        """
        slowest = sorted(self.recent_step_s)[-2:]
        return slowest[0 if len(self.recent_step_s) > MIN_TIMED_STEPS else -1] if slowest else None

    @property
    def step_s(self) -> float | None:
        """Median of the recent steps, or None while the first few could mislead it."""
        return statistics.median(self.recent_step_s) if len(self.recent_step_s) >= MIN_TIMED_STEPS else None


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
    loss: float = float("nan")
    multiplier: float = 1.0
    """Of the latest step; inside the warm-down it never rises again."""

    @property
    def step(self) -> int:
        """Steps done, and so the number of the coming one."""
        return len(self.curve)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, the same on every rank."""
        device = next(self.model.parameters()).device
        return {
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "loader": self.loader.state_dict(),
            "swa": self.swa.state_dict() if self.swa else None,
            "ema": self.ema.state_dict() if self.ema else None,
            "elapsed_s": self.clock.elapsed_s,
            "recent_step_s": list(self.clock.recent_step_s),
            "curve": list(self.curve),
            "sees_quantized": self.sees_quantized,
            "loss": self.loss,
            "multiplier": self.multiplier,
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
        self.clock.elapsed_s = state["elapsed_s"]
        self.clock.recent_step_s.clear()
        self.clock.recent_step_s.extend(state["recent_step_s"])
        self.curve = list(state["curve"])
        self.sees_quantized, self.loss = state["sees_quantized"], state["loss"]
        self.multiplier = state["multiplier"]
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
    """The state last written, or None where there is none or it is damaged. Nothing in the file is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch itself does not look at the checksums
                return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError):
        return None
