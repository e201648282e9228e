"""Durable and atomic file writes: synced to disk before they count; of concurrent writers, the first one succeeds."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and calls fsync, so that the content survives a crash. Not atomic."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, content: bytes, aside: Path) -> None:
    """Replaces a file durably: after a crash it holds the old content or the new one, never an empty or zeroed one.

    aside:  where the new content is written first; only one process may write there at a time
    """
    write_synced(aside, content)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names that were created or replaced in a folder survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_once(path: Path, content: bytes) -> bool:
    """Creates `path` atomically with this content, unless it exists. Returns whether this call created it.

    Where that fails, a folder in which nothing else lies is removed: an empty one would read as something damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _link_once(path, content)
    except OSError:
        with suppress(OSError):  # other files lie there
            path.parent.rmdir()
        raise


def _link_once(path: Path, content: bytes) -> bool:
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
