"""Removes a sweep: its folder, and the stages that no other sweep or run of the store stands on.

The seed ledger keeps its lines: that a seed was declared and looked at stays true. Stages that others share stay until
`orchestrator cache prune`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.sweep.sweep import damaged_sweeps, list_sweeps
from results.rows.layout import SWEEPS, sweep_folder
from trainer.spec.errors import StoreError
from trainer.spec.json_text import parse_json
from trainer.store.local import StageStore
from trainer.store.mirror import bucket_of
from trainer.store.shared import stage_store

Stage = tuple[str, str]
"""A stage and its fingerprint."""


@dataclass(frozen=True)
class Removal:
    """What the removal of a sweep frees."""

    name: str
    folder: Path
    folder_bytes: int
    own: tuple[Stage, ...]
    """Stages that nothing else stands on."""
    own_bytes: int
    shared: int
    """Stages that others stand on too, which stay."""
    kept_because: str = ""
    """Why no stage is removed, where that is so."""


def plan_removal(store: Path, name: str) -> Removal:
    """What would go. Raises StoreError while a driver is at work on the sweep."""
    folder, others = sweep_folder(store, name), [sweep for sweep in list_sweeps(store) if sweep.name != name]
    own = next((sweep for sweep in list_sweeps(store) if sweep.name == name), None)
    if own is not None and own.is_locked():
        raise StoreError(f"sweep '{name}' is being driven now; stop it first: {own.command('stop')}")
    used = _stages_in(folder)
    elsewhere = {stage for path in _record_folders(store) if path != folder for stage in _stages_in(path)}
    stages = stage_store(store)
    sizes = {stage: use.disk_bytes for stage in used - elsewhere if (use := stages.finished_disk_use(*stage))}
    damaged = sorted(damaged_sweeps(store).keys() - {name})
    busy = [sweep.name for sweep in others if sweep.is_locked()]
    because = f"sweep '{busy[0]}' is at work" if busy else f"sweep '{damaged[0]}' cannot be read" if damaged else ""
    return Removal(
        name=name,
        folder=folder,
        folder_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        own=() if because else tuple(sorted(sizes)),
        own_bytes=0 if because else sum(sizes.values()),
        shared=len(used & elsewhere) + (len(sizes) if because else 0),
        kept_because=because,
    )


def remove_sweep(store: Path, removal: Removal) -> None:
    """Removes what was planned: the folder first, by a rename, so that no reader sees a part of a sweep."""
    if bucket := bucket_of(store):
        bucket.remove(list(bucket.list(f"{SWEEPS}/{removal.name}")))
    gone = removal.folder.with_name(f".{removal.name}-removed")
    shutil.rmtree(gone, ignore_errors=True)
    removal.folder.rename(gone)
    shutil.rmtree(gone)
    stages: StageStore = stage_store(store)
    for stage in reversed(removal.own):
        stages.remove(*stage)


def _record_folders(store: Path) -> Iterator[Path]:
    for parent in (store / SWEEPS, store / "single"):
        if parent.is_dir():
            yield from (path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stages_in(folder: Path) -> set[Stage]:
    """Stages that the records below a folder name; set aside ones too."""
    found: set[Stage] = set()
    for path in folder.rglob("*.json"):
        try:
            record: Any = parse_json(path.read_bytes())
        except ValueError:
            continue
        stages = record.get("stages") if isinstance(record, Mapping) else None
        if isinstance(stages, Mapping):
            found |= {(name, str(one["fingerprint"])) for name, one in stages.items() if isinstance(one, Mapping)}
    return found
