"""SIGINT and SIGTERM as a flag that runs look at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """First SIGINT or SIGTERM raises the flag; a second one acts as usual."""
    before: dict[int, Any] = {}

    def raise_flag(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number] or signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for listened in (signal.SIGINT, signal.SIGTERM):
        before[listened] = signal.signal(listened, raise_flag)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
