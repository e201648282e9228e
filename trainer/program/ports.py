"""A free port of this machine for one run, which no other run of the same user takes at the same time."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from trainer.spec.errors import UserError
from trainer.store import locks

FIRST, LAST = 20_000, 32_000
"""Below the ports that systems give to outgoing connections."""
MOST_TRIES = 200


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens on, held by a file lock for the length of the block."""
    folder = Path(tempfile.gettempdir()) / f"fairway-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    dice = random.SystemRandom()
    for _ in range(MOST_TRIES):
        port = dice.randrange(FIRST, LAST)
        try:
            lock = locks.acquire(folder / f"{port}.lock", timeout_s=0)
        except Timeout:
            continue
        try:
            if _is_free(port):
                yield port
                return
        finally:
            lock.release()
    raise UserError(f"no free port between {FIRST} and {LAST} on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
