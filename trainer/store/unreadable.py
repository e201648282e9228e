"""Disks and folders that fail: what cannot be read is neither missing nor damaged, and no run is to blame for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from trainer.spec.errors import StoreFull, StoreUnreachable

UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BROKEN = (errno.EIO, errno.ESTALE, errno.EROFS)


def refuse_unreadable(path: Path, fault: OSError) -> None:
    """Raises StoreUnreachable, which fails no run, if the fault is one of access or of the disk; else does nothing."""
    if fault.errno in UNREADABLE:
        raise StoreUnreachable(
            f"{path}: cannot be read ({fault.strerror}); give this user access, then go on: nothing is lost"
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
    if isinstance(fault, OSError) and fault.errno in (*FULL, *BROKEN):
        raise StoreFull(f"{fault.filename or 'a disk'}: {fault.strerror}; {remedy_of(fault)}, then go on") from None


def remedy_of(fault: OSError) -> str:
    """What to do about a file that cannot be written."""
    if fault.errno in FULL:
        return "free space"
    return "check the disk" if fault.errno in BROKEN else "make it writable"
