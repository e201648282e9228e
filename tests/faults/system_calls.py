"""Faults at chosen system calls: the n-th write, sync, rename, link, removal or new folder of a driver kills it, or
fails as on a full disk or a broken one. Needs strace.

A write that is cut in the middle is the campaign's own fault 'disk full at a row'.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.faults.campaign import Campaign

CALLS = {
    "write": ("write", "pwrite64", "writev"),
    "sync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "link": ("link", "linkat", "symlink", "symlinkat"),
    "removal": ("unlink", "unlinkat", "rmdir"),
    "new folder": ("mkdir", "mkdirat"),
}
EFFECTS = {"kill": "signal=KILL", "disk full": "error=ENOSPC", "device error": "error=EIO"}
KILLED = -9


def missing() -> str:
    """Why no such fault can be dealt here; empty if it can."""
    return "" if shutil.which("strace") else "no fault at a system call can be dealt: strace is not installed"


def deal_at_calls(campaign: Campaign, faults: int) -> None:
    """Disturbs inline sweeps at system calls, some lives each, until so many faults were dealt."""
    if not faults:
        return
    most = _calls_of_a_calm_life(campaign)
    end = campaign.done.total() + faults
    while campaign.done.total() < end:
        store = campaign.next_store("calls")
        campaign.prepare(store)
        for _ in range(min(campaign.random.randint(1, 4), end - campaign.done.total())):
            kind, effect = campaign.random.choice(sorted(most)), campaign.random.choice(sorted(EFFECTS))
            first = 1 + campaign.target.write_calls * (kind == "write")
            when = campaign.random.randint(first, most[kind])
            struck = _life(campaign, store, f"inject={_set(kind)}:{EFFECTS[effect]}:when={when}")
            campaign.done[campaign.counted(f"{kind}: {effect}")] += struck
        campaign.check(store, campaign.life(store, "--inline"))


def attached(tracer: Sequence[str], driver: psutil.Process) -> subprocess.Popen[bytes]:
    """Attaches the tracer to a driver that stopped itself, and lets that go on."""
    while driver.status() != psutil.STATUS_STOPPED:
        time.sleep(0.005)
    tracing = subprocess.Popen([*tracer, "-p", str(driver.pid)])
    while "TracerPid:\t0\n" in Path(f"/proc/{driver.pid}/status").read_text():
        time.sleep(0.005)
    driver.resume()
    return tracing


def _calls_of_a_calm_life(campaign: Campaign) -> Counter[str]:
    """How often the busiest thread of an undisturbed driver makes each kind of call."""
    campaign.prepare("counted")
    _life(campaign, "counted", f"trace={','.join(_set(kind) for kind in CALLS)}")
    made = Counter(tuple(line.split("(")[0].split()[:2]) for line in _trace(campaign).read_text().splitlines())
    most: Counter[str] = Counter()
    for kind, names in CALLS.items():
        of_thread: Counter[str] = Counter()
        for (thread, name), count in ((key, count) for key, count in made.items() if len(key) == 2):
            of_thread[thread] += count * (name in names)
        most[kind] = max(of_thread.values())
    return +most


def _life(campaign: Campaign, store: str, expression: str) -> bool:
    """One driver under strace; whether a fault struck it."""
    tracer = ["strace", "-f", "-qq", "-o", str(_trace(campaign)), "-e", "signal=none", "-e", expression]
    status = campaign.life(store, "--inline", tracer=tracer)
    return status == KILLED or "(INJECTED)" in _trace(campaign).read_text()


def _trace(campaign: Campaign) -> Path:
    return campaign.folder / "trace.txt"


def _set(kind: str) -> str:
    return ",".join(f"?{name}" for name in CALLS[kind])  # those that this processor has
