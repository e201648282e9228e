"""Folders that a process may not read, also where the tests are run by root, whom nothing is closed to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """The block runs without root's privileges; without them anyway where they were not there."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def copy_of_nobody(folder: Path) -> Iterator[Path]:
    """A copy that `as_nobody` owns, outside pytest's folders, which are closed to it."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        copy = Path(shutil.copytree(folder, Path(parent) / "store"))
        if os.geteuid() == 0:
            for path in (copy, *copy.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield copy


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Nobody may read the file or folder during the block."""
    before = path.stat().st_mode
    path.chmod(0)
    try:
        with as_nobody():
            yield
    finally:
        path.chmod(before)
