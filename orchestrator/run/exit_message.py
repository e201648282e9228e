"""Says why this process ended when it cannot say so itself: Ray ends the process of a driver whose head is gone.

A small process of its own waits for the end of this one. It is silent when this process says that it ends by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WAITER = "import os, sys; said = sys.stdin.buffer.read(); said or os.write(int(sys.argv[1]), sys.argv[2].encode())"


@contextmanager
def said_at_sudden_end(message: str, terminal: int) -> Iterator[None]:
    """Writes the message to this descriptor if the process ends inside the block without leaving it."""
    own = os.dup(terminal)  # not one of the standard ones, which the waiter has closed
    waiter = subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-I", "-S", "-c", WAITER, str(own), message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[own],
        start_new_session=True,  # Ctrl-C ends this process in its own way
    )
    os.close(own)
    try:
        yield
    finally:
        waiter.communicate(b"left")
