"""Asks the process that drives a sweep to stop, as Ctrl-C in its terminal would."""

from __future__ import annotations

import os
import re
import signal
import socket
import time

from orchestrator.sweep.sweep import Sweep
from results.rows.layout import DRIVER_PID
from trainer.spec.errors import StoreError

LOOK_EVERY_S = 0.2


def stop_driver(sweep: Sweep, wait_s: float) -> bool:
    """Whether the driver had ended after so many seconds; what is finished is kept either way.

    Raises StoreError when nobody drives the sweep, or another machine does.
    """
    if not sweep.is_locked():
        raise StoreError(f"sweep '{sweep.name}' is not running; where it stands: {sweep.command('status')}")
    path = sweep.folder / DRIVER_PID
    words = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    found = re.fullmatch(r"process (\d+) on (\S+)", words)
    if found is None or found[2] != socket.gethostname():
        raise StoreError(
            f"sweep '{sweep.name}' is driven by {words or 'another machine'}; stop it there, with Ctrl-C or: "
            f"{sweep.command('stop')}"
        )
    os.kill(int(found[1]), signal.SIGTERM)
    ends_s = time.monotonic() + wait_s
    while sweep.is_locked():
        if time.monotonic() > ends_s:
            return False
        time.sleep(LOOK_EVERY_S)
    return True
