"""Disks and folders that fail: what cannot be read is neither missing nor damaged, and no run is to blame for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.spec.disk_faults import BROKEN, CLOSED, FULL, READ_ONLY, remedy_of
from trainer.spec.errors import StoreFull, StoreUnreachable


def refuse_unreadable(path: Path, fault: OSError) -> None:
    """Raises StoreUnreachable, which fails no run, if the fault is one of access or of the disk; else does nothing."""
    if fault.errno in (*CLOSED, *BROKEN):
        raise StoreUnreachable(
            f"{path}: cannot be read ({fault.strerror}); {remedy_of(fault)}, then go on: nothing is lost"
        ) from None


def listed(folder: Path, ending: str = "") -> list[Path]:
    """What is in a folder, by name; nothing where there is none. Raises StoreUnreachable for one that is closed."""
    return [folder / name for name in listed_names(folder, ending)]


def listed_names(folder: Path, ending: str = "") -> list[str]:
    """As `listed`, the names alone: of 10,000 files a tenth of the time."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ending))  # noqa: PTH208  a Path each
    except OSError as fault:
        refuse_unreadable(folder, fault)
        return []


def refuse_failing_disk(fault: Exception) -> None:
    """Raises StoreFull, which fails no run, if the fault says that a disk is full or broken; else does nothing."""
    if isinstance(fault, OSError) and fault.errno in (*FULL, *BROKEN, READ_ONLY):
        raise StoreFull(f"{fault.filename or 'a disk'}: {fault.strerror}; {remedy_of(fault)}, then go on") from None


@contextmanager
def named_in_faults(folder: Path) -> Iterator[None]:
    """Raises StoreFull with this folder for an error of the disk inside the block that says of no file."""
    try:
        yield
    except OSError as fault:  # as of a write to a file that was opened before
        if fault.filename is None and remedy_of(fault):
            raise not_written(folder, fault) from None
        raise


def not_written(path: Path | str, fault: OSError) -> StoreFull:
    """The error of a file or folder of the store that cannot be written."""
    remedy = remedy_of(fault) or "make it writable"
    return StoreFull(f"{path}: cannot be written ({fault.strerror}); {remedy}, then go on")
