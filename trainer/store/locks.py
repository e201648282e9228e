"""Locks of a store: files that the operating system locks for a process, and frees when it ends, however it ends.

A file system that knows no such locks is refused: a lock that outlives its holder would be waited for without end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.spec.errors import StoreError

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})


def acquire(path: Path, timeout_s: float = -1) -> FileLock:
    """The held lock, to be released. Raises Timeout while somebody else holds it for longer; StoreError without locks.

    timeout_s:  0 not to wait, below that to wait without end
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise
    except OSError as fault:
        if fault.errno not in NO_LOCKS:
            raise
        raise StoreError(
            f"{path.parent}: the file system takes no locks ({fault.strerror}), so nobody could tell who is at work "
            "there; mount it with locks, choose another folder, or share a bucket: --store s3://BUCKET/PREFIX"
        ) from None
    return lock


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Holds the lock for the length of the block, however long it takes to get."""
    lock = acquire(path)
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now; reading the file is enough to ask."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no such file, or no locks: then nobody holds any
    return False
