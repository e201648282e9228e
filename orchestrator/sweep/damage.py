"""Files of a sweep that do not hold what was written, found by their checksums and by the stages that records name.

A record's numbers are those of its stages' results, which lie in the store with checksums of their own. So a record
that differs is set aside, and made again from its stages without computing anything. Records of earlier versions carry
no checksum; they are held against their stages alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sweep.notes import preflight_words, read_plan
from orchestrator.sweep.sharing import set_aside
from orchestrator.sweep.sweep import Sweep
from orchestrator.sweep.sweep_files import read_record
from results.rows.layout import (
    FAILED,
    JOURNAL,
    MACHINES,
    PLAN_FILE,
    PREFLIGHT_FILE,
    RUNS,
    SHORT,
    SPACE_FILE,
    set_aside_file,
)
from results.rows.lines import has_checksums
from results.rows.machines import events_of
from trainer.spec.checked_json import without_checksum
from trainer.spec.errors import StoreError
from trainer.spec.record import Record, StageOutcome
from trainer.store.local import RESULT, StageStore
from trainer.store.unreadable import listed

Find = Callable[[str, str], StageOutcome | None]


@dataclass(frozen=True)
class Fault:
    """A file that holds something else than what was written."""

    path: Path
    reason: str


def space_text(sweep: Sweep) -> str:
    """The search space file. Raises StoreError for one that is not the one that the sweep was made with."""
    path = sweep.folder / SPACE_FILE
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror}); restore it from a copy") from None
    if sweep.space_sha256 and hashlib.sha256(content).hexdigest() != sweep.space_sha256:
        raise StoreError(f"{path}: its content differs from its checksum; restore it from a copy")
    return content.decode()


def record_faults(sweep: Sweep, store: StageStore) -> list[Fault]:
    """Records that differ from their checksum, or from the results of their stages."""
    known: dict[tuple[str, str], StageOutcome | None] = {}

    def find(stage: str, fingerprint: str) -> StageOutcome | None:
        if (stage, fingerprint) not in known:
            known[stage, fingerprint] = _result(store, stage, fingerprint)
        return known[stage, fingerprint]

    faults = []
    for path in _records(sweep):
        try:
            reason = _difference(read_record(path), find)
        except StoreError as fault:
            reason = str(fault).removeprefix(f"{path}: ")
        if reason:
            faults.append(Fault(path, reason))
    return faults


def _result(store: StageStore, stage: str, fingerprint: str) -> StageOutcome | None:
    """The stage's own result; None if it is gone, or damaged itself, which the store says."""
    try:
        content = store.read_file(stage, fingerprint, RESULT)
        return None if content is None else StageOutcome.model_validate_json(content)
    except (StoreError, ValueError):
        return None


def _records(sweep: Sweep) -> list[Path]:
    return [path for folder in (RUNS, SHORT) for path in listed(sweep.folder / folder, ".json")]


def _difference(record: Record, find: Find) -> str:
    """Which stage's result has other numbers; empty if none has, is gone, or was computed again since."""
    for stage, ours in record.stages.items():
        stored = find(stage, ours.fingerprint)
        same = stored is not None and (stored.host, stored.started_at) == (ours.host, ours.started_at)
        if stored is not None and same and stored != ours:
            names = [name for name, value in ours.metrics.items() if stored.metrics.get(name) != value]
            which = ", ".join(names[:5]) or "its seconds or its workload"
            return f"differs from the result of its stage {stage} {ours.fingerprint} in {which}"
    return ""


def set_aside_faults(sweep: Sweep, store: StageStore) -> list[str]:
    """Moves such records to the failed ones, to be made again; a line for each. Only under the lock."""
    lines = []
    for fault in record_faults(sweep, store):
        folder = sweep.folder / FAILED
        folder.mkdir(exist_ok=True)
        aside = folder / set_aside_file(fault.path.stem)
        fault.path.replace(aside)
        set_aside(fault.path, aside)
        lines.append(f"{fault.path}: {fault.reason.partition('; ')[0]}; it is set aside and made again from its stages")
    return lines


def lost_faults(sweep: Sweep) -> list[Fault]:
    """Records that are missing though their runs ended."""
    try:
        parts = [line.partition(": ") for line in sweep.lost_records()]
    except StoreError:
        return []  # of the ledger or the journal, which are checked themselves
    return [Fault(Path(path), reason) for path, _, reason in parts]


def file_faults(sweep: Sweep) -> Iterator[Fault]:
    """The sweep's other files; the journal was read when it was opened."""
    checks: Sequence[tuple[str, Callable[[], object]]] = (
        (JOURNAL, sweep.asked),
        (SPACE_FILE, lambda: space_text(sweep)),
        (MACHINES, lambda: list(events_of(sweep.folder))),
        (PLAN_FILE, lambda: read_plan(sweep.folder)),
        (PREFLIGHT_FILE, lambda: preflight_words(sweep)),
    )
    for name, check in checks:
        path = sweep.folder / name
        try:
            check()
        except StoreError as fault:
            yield Fault(path, str(fault).removeprefix(f"{path}: ").removeprefix(f"{path}:"))


def without_checksums(sweep: Sweep) -> list[Path]:
    """Files that an earlier version wrote, whose changes only their stages can show."""
    plain = [path for path in _records(sweep) if not _has_checksum(path)]
    return [*([] if has_checksums(sweep.folder / JOURNAL) else [sweep.folder / JOURNAL]), *plain]


def _has_checksum(path: Path) -> bool:
    try:
        return without_checksum(path.read_bytes())[1]
    except (OSError, ValueError):
        return True  # it is a fault
