"""The newest picture of a running sweep, written for other terminals to read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from results.rows.layout import LIVE_FILE
from trainer.spec.units import human_seconds


@dataclass(frozen=True)
class SlotPicture:
    """What one slot does now."""

    slot: int
    doing: str
    fraction: float | None = None


@dataclass(frozen=True)
class SweepPicture:
    """A sweep at one moment, as people see it."""

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
        pace = "" if self.runs_per_min is None else f" ({self.runs_per_min:.2g} runs/min)"
        return f"{human_seconds(self.elapsed_s)} elapsed, {left}{pace}"

    @property
    def runs_line(self) -> str:
        failed = f", {self.runs_failed} failed" if self.runs_failed else ""
        return f"{self.runs_done} of {self.runs_total} runs done{failed}"


def picture_from(plain: Mapping[str, Any]) -> SweepPicture:
    """The picture that another process left as plain values."""
    slots = tuple(SlotPicture(**slot) for slot in plain["slots"])
    known = {name: plain[name] for name in SweepPicture.__dataclass_fields__}
    return SweepPicture(**known | {"slots": slots})


def write_live(folder: Path, picture: SweepPicture, driven_s: float) -> None:
    """Leaves the picture beside the records; readers never see half of it.

    driven_s:  seconds that drivers were at work on the sweep, earlier lives included
    """
    aside = folder / f".{LIVE_FILE}"
    told = asdict(picture) | {"written_at_s": time.time(), "driven_s": driven_s}
    aside.write_text(json.dumps(told), encoding="utf-8")
    aside.replace(folder / LIVE_FILE)


def read_live(folder: Path) -> dict[str, Any] | None:
    """What the newest driver left, or None where none was ever at work."""
    try:
        return json.loads((folder / LIVE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def driven_s(folder: Path) -> float | None:
    """Seconds that drivers were at work on the sweep, to the second even when one was killed."""
    return (read_live(folder) or {}).get("driven_s")
