"""A seal on a finished folder: size and SHA-256 of every file, so that damage is seen before anybody builds on it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

CHECKSUMS_FILE = "files.json"


def checksums_json(folder: Path) -> bytes:
    """What `CHECKSUMS_FILE` should hold for a folder as it is now."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in _files(folder)}
    return json.dumps(files, indent=1).encode()


def sizes_match(folder: Path) -> bool:
    """Whether every sealed file is there in its size; cheap enough for every look."""
    sealed = read_checksums(folder)
    try:
        return bool(sealed) and all((folder / name).stat().st_size == said["bytes"] for name, said in sealed.items())
    except (OSError, TypeError, KeyError):
        return False


def damaged_files(folder: Path) -> list[str]:
    """Names of sealed files whose bytes are not what they were, the seal itself included. Reads them, once each."""
    sealed = read_checksums(folder)
    if not sealed:
        return [CHECKSUMS_FILE]
    return [name for name, said in sealed.items() if _digest(folder / name) != said.get("sha256")]


def read_checksums(folder: Path) -> Mapping[str, Mapping[str, object]]:
    """What the folder's seal says of each file; empty where there is none that can be read."""
    try:
        found = json.loads((folder / CHECKSUMS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS_FILE)


def _digest(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ""
    return _digest_as_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(maxsize=4096)
def _digest_as_of(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    """Remembers files that nobody touched: a warm slot looks at the same ones run after run."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
