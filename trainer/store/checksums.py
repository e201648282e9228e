"""Checksums of a finished folder: size and SHA-256 of every file, to detect missing, truncated and changed files.

    FOLDER/files.json    {"NAME": {"bytes": 123, "sha256": "..."}, ...} with one entry for each other file of the folder

The checksum file is written last. Subfolders are not covered; stages have none.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

from trainer.store.atomic_write import write_synced
from trainer.store.unreadable import refuse_unreadable

CHECKSUMS_FILE = "files.json"


class FileChecksum(BaseModel):
    """Size and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    bytes: int
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


Checksums = Mapping[str, FileChecksum]
"""Of each file of a folder, by its name."""
_CHECKSUMS = TypeAdapter(dict[str, FileChecksum])


def compute_checksums(folder: Path) -> Checksums:
    """Reads every file of the folder, except its checksum file."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS_FILE)
    return {path.name: FileChecksum(bytes=path.stat().st_size, sha256=_sha256(path)) for path in paths}


def write_checksums(folder: Path, checksums: Checksums) -> None:
    """Writes the folder's checksum file, synced to disk."""
    content = {name: file.model_dump() for name, file in checksums.items()}
    write_synced(folder / CHECKSUMS_FILE, json.dumps(content, indent=1).encode())


def read_checksums(folder: Path) -> Checksums:
    """What the folder's checksum file says; empty if it is missing or cannot be parsed.

    Raises StoreUnreachable, as all below, for a file that is there and cannot be read.
    """
    try:
        return _CHECKSUMS.validate_json((folder / CHECKSUMS_FILE).read_bytes())
    except OSError as fault:
        refuse_unreadable(folder / CHECKSUMS_FILE, fault)
        return {}
    except ValueError:
        return {}


def sizes_match(folder: Path) -> bool:
    """Whether every listed file exists with its size. Reads no content, so it is cheap; detects no changed bytes."""
    checksums = read_checksums(folder)
    try:
        return bool(checksums) and all((folder / name).stat().st_size == file.bytes for name, file in checksums.items())
    except OSError as fault:
        refuse_unreadable(folder, fault)
        return False


def damaged_files(folder: Path) -> list[str]:
    """Names of listed files whose SHA-256 differs, or the checksum file's own name if it cannot be read.

    Reads every byte; within one process, files that did not change since are not read again.
    """
    checksums = read_checksums(folder)
    if not checksums:
        return [CHECKSUMS_FILE]
    return [name for name, file in checksums.items() if _cached_sha256(folder / name) != file.sha256]


def _cached_sha256(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError as fault:
        refuse_unreadable(path, fault)
        return ""
    return _sha256_as_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256_as_of(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    """Cached by modification time, size and inode: a slot verifies the same files for run after run."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as fault:
        refuse_unreadable(path, fault)
        raise
