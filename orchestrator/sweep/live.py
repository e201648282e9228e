"""The current state of a running sweep, written to a file that other terminals read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from results.rows.layout import LIVE_FILE
from trainer.spec.json_text import parse_json
from trainer.spec.units import human_seconds


@dataclass(frozen=True)
class SlotPicture:
    """What one slot is computing at this moment."""

    slot: int
    doing: str
    fraction: float | None = None
    stage: str = ""
    machine: str = ""
    tokens_per_s: float | None = None
    mfu: float | None = None
    """Part of the GPUs' peak that a training uses."""
    gpu_use: float | None = None
    """Part of the time in which its GPUs computed."""


@dataclass(frozen=True)
class SweepPicture:
    """What the live screen shows of a sweep at one moment."""

    name: str
    runs_done: int
    runs_total: int
    runs_failed: int
    best: str
    """The best configuration so far with its spread, or why there is none yet."""
    baseline: str
    slots: tuple[SlotPicture, ...]
    elapsed_s: float
    left_s: float | None
    runs_per_min: float | None = None

    @property
    def time_line(self) -> str:
        left = "time left: measuring" if self.left_s is None else f"about {human_seconds(self.left_s)} left"
        pace = "" if self.runs_per_min is None else f" ({_two_digits(self.runs_per_min)} runs/min)"
        return f"{human_seconds(self.elapsed_s)} elapsed, {left}{pace}"

    @property
    def runs_line(self) -> str:
        failed = f", {self.runs_failed} failed" if self.runs_failed else ""
        return f"{self.runs_done} of {self.runs_total} runs done{failed}"


def _two_digits(number: float) -> str:
    """Two digits of a small number, all of those of a large one before its point."""
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"


def picture_from(plain: Mapping[str, Any]) -> SweepPicture:
    """The `SweepPicture` of plain values that another process wrote."""
    slots = tuple(SlotPicture(**slot) for slot in plain["slots"])
    fields = {name: plain[name] for name in SweepPicture.__dataclass_fields__}
    return SweepPicture(**fields | {"slots": slots})


def write_live(folder: Path, picture: SweepPicture, driven_s: float) -> None:
    """Writes the picture to the sweep's folder, by a rename: readers never see a part of it.

    driven_s:  seconds that drivers were at work on the sweep, earlier drivers included
    """
    aside = folder / f".{LIVE_FILE}"
    content = asdict(picture) | {"written_at_s": time.time(), "driven_s": driven_s}
    aside.write_text(json.dumps(content), encoding="utf-8")
    aside.replace(folder / LIVE_FILE)


def read_live(folder: Path) -> dict[str, Any] | None:
    """What the last driver wrote, or None without any."""
    try:
        return parse_json((folder / LIVE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def driven_s(folder: Path) -> float | None:
    """Seconds that drivers were at work on the sweep, counted also when one was killed."""
    return (read_live(folder) or {}).get("driven_s")
