"""Durable and atomic file writes: synced to disk before they count; of concurrent writers, the first one succeeds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and calls fsync, so that the content survives a crash. Not atomic."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_once(path: Path, content: bytes) -> bool:
    """Creates `path` atomically with this content, unless it exists. Returns whether this call created it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o644)  # other users of a shared store may read it
        write_synced(temporary, content)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
