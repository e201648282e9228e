"""Writes that a kill cannot undo: on the disk before they count, and of many writers the first one stands."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until the disk holds it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_once(path: Path, content: bytes) -> bool:
    """Makes `path` appear whole, unless it exists: the first writer wins. Returns whether this call was the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        aside.chmod(0o644)  # others of a shared store may read it
        write_synced(aside, content)
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True
