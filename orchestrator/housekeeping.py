"""Looks after the stage store: what lies there, what is damaged, what may go. Starts neither torch nor Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.journal import list_sweeps
from trainer.spec.errors import StoreError
from trainer.spec.mirror import store_name
from trainer.spec.stage_table import STAGES
from trainer.stages.cache import StageStore

DAY_S = 86_400.0


@dataclass(frozen=True)
class Entry:
    """One stage in the store, or what a computation of it left behind."""

    stage: str
    fingerprint: str
    kind: str
    """'finished', or 'unfinished': a snapshot, or files written aside."""
    disk_bytes: int
    used_at_s: float
    """Seconds since 1970 at which a run last found it or wrote to it."""
    seconds: float | None
    """What computing it took."""
    damage: str = ""

    def as_row(self) -> dict[str, Any]:
        """Plain values for tables and programs."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "state": "damaged" if self.damage else self.kind,
            "disk_bytes": self.disk_bytes,
            "seconds": self.seconds,
            "last_used_at": datetime.fromtimestamp(self.used_at_s, UTC).isoformat(timespec="seconds"),
            "damage": self.damage,
        }


def entries(store: StageStore, *, verify: bool = False) -> list[Entry]:
    """Everything in the store, the largest first. With `verify` every byte is held against its seal."""
    found = [entry for stage in STAGES for entry in _entries_of(store, stage, verify)]
    return sorted(found, key=lambda entry: -entry.disk_bytes)


def prune(store: StageStore, unused_days: float, *, dry_run: bool = False) -> list[Entry]:
    """Removes what no run used for so many days, and what is damaged; returns it.

    Whatever somebody computes now stays. Raises StoreError while a sweep is at work on the store.
    """
    busy = [sweep.name for sweep in list_sweeps(store.root) if sweep.is_locked()]
    if busy and not dry_run:
        raise StoreError(f"{store_name(store.root)}: sweep '{busy[0]}' is at work here; prune when it has ended")
    oldest_s = time.time() - unused_days * DAY_S
    going = [entry for entry in entries(store, verify=True) if entry.damage or entry.used_at_s < oldest_s]
    return going if dry_run else [entry for entry in going if store.remove(entry.stage, entry.fingerprint)]


def _entries_of(store: StageStore, stage: str, verify: bool) -> Iterator[Entry]:
    for fingerprint in store.fingerprints(stage):
        if kept := store.finished(stage, fingerprint):
            found = store.find(stage, fingerprint)
            bad = store.damage(stage, fingerprint) if verify or found is None else []
            seconds = found.seconds if found else None
            yield Entry(stage, fingerprint, "finished", kept.disk_bytes, kept.used_at_s, seconds, ", ".join(bad))
        if left := store.unfinished(stage, fingerprint):
            yield Entry(stage, fingerprint, "unfinished", left.disk_bytes, left.used_at_s, None)
