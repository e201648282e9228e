"""Exclusive locks on files of a store (flock). The operating system releases a lock when its process ends or is killed.

File systems without flock are refused: a lock that outlives its process would block everybody for ever.
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
    """Acquires the lock; the caller releases it.

    timeout_s:  how long to wait; 0 does not wait, a negative number waits without limit
    Raises Timeout if another process holds it for longer, and StoreError if the file system has no locks.
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
            f"{path.parent}: the file system does not support locks ({fault.strerror}), which the store needs; "
            "mount it with locks, choose another folder, or use a bucket: --store s3://BUCKET/PREFIX"
        ) from None
    return lock


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Holds the lock during the block; waits for it without limit."""
    lock = acquire(path)
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now. Needs only permission to read the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no such file, or a file system without locks
    return False
