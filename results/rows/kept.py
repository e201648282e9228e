"""Values made from files, kept within a process until one of the files changes, since a command asks for them often."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptWhileUnchanged(Generic[T]):
    """The newest values by key, at most so many. Whoever gets a value must not change it."""

    def __init__(self, most: int = 8):
        self._most = most
        self._known: dict[Hashable, tuple[object, T]] = {}

    def get(self, key: Hashable, files: Iterable[str | Path], make: Callable[[], T]) -> T:
        """The value of this key, made again if it is unknown or a file changed, came or went."""
        stamps = [_stamp(file) for file in files]  # before it is made: a later change shows at the next call
        known = self._known.pop(key, None)
        if known is None or known[0] != stamps:
            known = stamps, make()
        self._known[key] = known
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return known[1]


def _stamp(file: str | Path) -> tuple[str, int, int, int] | None:
    """Differs after every change of a file, its name among it; None where it cannot be looked at."""
    try:
        known = os.stat(file)  # noqa: PTH116  a Path each doubles the time of 10,000 records
    except OSError:
        return None
    return str(file).rpartition("/")[2], known.st_ino, known.st_ctime_ns, known.st_size
