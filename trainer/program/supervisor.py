"""Runs one command inside limits, and ends everything that it started. A process of its own, of the standard library
alone: `python -I -S supervisor.py`.

Its input is one line of JSON (`Order`), and then nothing: when its input ends, the process that asked is gone or wants
the command stopped. Its output is one line of JSON (`End`). Whatever the command starts stays below this process, also
what detaches itself (PR_SET_CHILD_SUBREAPER), and is ended with it: first SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import glob
import io
import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_EVERY_S = 0.05
MEASURE_EVERY_S = 0.25
GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
KILL_WITHIN_S = 10.0
"""For processes that SIGKILL does not end: of another user, or waiting for a disk."""
LEAVE_WITHIN_S = 0.5
"""For processes that are about to end by themselves when the command has ended."""
PIPE_BYTES = 1 << 16
MOST_HELD_BYTES = 1 << 16
"""Of a line whose end has not come."""
UNKEPT = "unkept: "
"""Begins the reason of an end for want of room for the log."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    order = json.loads(sys.stdin.buffer.readline())
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *arguments: 0)  # Linux has it
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked to stop by the end of the input alone
    print(json.dumps(run(order, prctl)), flush=True)


def run(order: dict, prctl: Callable[..., int]) -> dict:
    """Runs the command to its end, or until a limit or the asking process ends it."""
    started_s = time.monotonic()
    with open(order["log"], "ab", buffering=0) as log:  # noqa: PTH123  no pathlib: this starts in milliseconds
        output = Output(log, order["limits"]["output_bytes"])
        try:
            child = subprocess.Popen(  # noqa: S603  what the user asked to run
                order["command"],
                cwd=order["folder"],
                env=order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=output.writers[0],
                stderr=output.writers[1],
                start_new_session=True,
                preexec_fn=lambda: _prepare(prctl),  # one thread here, so it is safe
            )
        except OSError as fault:
            return {"status": None, "reason": f"cannot be started: {fault}", "seconds": 0.0, "peak_bytes": 0, "left": 0}
        output.begin()
        watch = Watch(order, started_s)
        reason = ""
        while child.poll() is None and not reason:
            reason = output.fault or watch.reason()
            _reap(child.pid)
            time.sleep(LOOK_EVERY_S)
        seconds = time.monotonic() - started_s
        left = end_all(child, asked=bool(reason))
        output.end()
    if not reason:
        reason = output.fault or ("output" if size_of(order["log"]) > order["limits"]["output_bytes"] else "")
    return {
        "status": child.poll(),
        "reason": reason,
        "seconds": seconds,
        "peak_bytes": watch.peak_bytes,
        "left": 0 if reason else left,
    }


def _prepare(prctl: Callable[..., int]) -> None:
    """In the new process, before the command: it dies with this one, and signals do to it what they usually do, also
    where the sweep was begun by nohup, or with some of them blocked."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # of the C library's own
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Output:
    """Standard output and standard error of a command, each by a pipe of its own, into one log.

    A line is written when its end has come. So a line of standard output begins after a line end also while a progress
    bar, which has none, stands on standard error: in one file it would follow the bar, and no pattern would find it.
    No system tells in which order two pipes were written, only which one first had something to read: lines of both
    that come while this process waits for the processor are grouped by their stream.
    What comes after the output has passed its limit is not kept: a command may print gigabytes while it is ended.
    """

    def __init__(self, log: io.FileIO, most_bytes: float):
        self._log, self._most_bytes, self._kept_bytes = log, most_bytes, 0
        (self._out, out), (self._error, error) = os.pipe(), os.pipe()
        self.writers = (out, error)
        """What the command writes to."""
        self._held = {self._out: b"", self._error: b""}
        self._unended: int | None = None
        """The pipe of which a part of a line was written last."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.fault = ""
        """Why the log cannot be written; empty while it can."""

    def begin(self) -> None:
        """The command has started, and has pipes of its own."""
        for writer in self.writers:
            os.close(writer)
        self._thread.start()

    def end(self) -> None:
        """Everything of ours that could write has ended: takes what is in the pipes now. Who else holds them, and goes
        on writing, is not waited for."""
        self._ended.set()
        self._thread.join(GRACE_S)

    def _follow(self) -> None:
        try:
            pipes = Pipes(self._held)
            while pipes.open and not self._ended.is_set():
                for end in pipes.arrived(LOOK_EVERY_S):
                    pipes.took(end, self._take(end))
            for end in dict.fromkeys([*pipes.arrived(0.0), *pipes.open]):
                self._take_rest(end)
            for end, held in self._held.items():
                self._write(held, end)
        except OSError as fault:
            self.fault = f"{UNKEPT}{fault.strerror or fault}"

    def _take_rest(self, end: int) -> None:
        """Takes what a pipe holds at this moment, and nothing that comes meanwhile."""
        held = array.array("i", [0])
        fcntl.ioctl(end, termios.FIONREAD, held)
        waiting_bytes = held[0]
        while waiting_bytes > 0:
            waiting_bytes -= min(waiting_bytes, PIPE_BYTES)
            self._take(end)

    def _take(self, end: int) -> int | None:
        """Writes the whole lines that have come; returns how many bytes came, 0 at the end, None if there were none."""
        try:
            data = os.read(end, PIPE_BYTES)
        except BlockingIOError:
            return None
        lines = self._held[end] + data
        whole = 1 + max(lines.rfind(b"\n"), lines.rfind(b"\r"))
        whole = len(lines) if len(lines) - whole > MOST_HELD_BYTES else whole
        self._held[end] = lines[whole:]
        self._write(lines[:whole], end)
        return len(data)

    def _write(self, data: bytes, end: int) -> None:
        if not data:
            return
        if self._unended not in (None, end):
            data = b"\n" + data
        self._unended = None if data.endswith((b"\n", b"\r")) else end
        while data and self._kept_bytes <= self._most_bytes:
            kept = self._log.write(data) or 0
            self._kept_bytes += kept
            data = data[kept:]


class Pipes:
    """Tells which pipes hold something new, in the order in which it came as far as the system tells: by the edges of
    epoll. By levels, a pipe that was read just now stands before one in which something came earlier."""

    def __init__(self, ends: Iterable[int]):
        self.open = list(ends)
        """Those whose end has not come."""
        self._edges = select.epoll() if hasattr(select, "epoll") else None
        for end in self.open:
            os.set_blocking(end, False)
            if self._edges:
                self._edges.register(end, select.EPOLLIN | select.EPOLLET)
        self._closed: set[int] = set()

    def arrived(self, seconds: float) -> list[int]:
        """Waits so long for something to read, or for an end."""
        if self._edges is None:
            return select.select(self.open, [], [], seconds)[0]
        found = self._edges.poll(seconds)
        self._closed |= {end for end, event in found if event & select.EPOLLHUP}
        return [end for end, _ in found]

    def took(self, end: int, num_bytes: int | None) -> None:
        """So many bytes were read: 0 at the end, None where there were none."""
        if num_bytes == 0:
            self.open.remove(end)
        elif self._edges and num_bytes and (num_bytes == PIPE_BYTES or end in self._closed):
            self._edges.modify(end, select.EPOLLIN | select.EPOLLET)  # what is left of it is an edge once more


class Watch:
    """Looks at the limits of a running command."""

    def __init__(self, order: dict, started_s: float):
        self._order, self._started_s, self._measured_s = order, started_s, 0.0
        self.peak_bytes = 0

    def reason(self) -> str:
        """Why the command must end now; the empty string while it may go on."""
        if select.select([sys.stdin], [], [], 0)[0]:
            return "stopped"
        now_s, limits = time.monotonic(), self._order["limits"]
        if limits.get("seconds") is not None and now_s - self._started_s > limits["seconds"]:
            return "seconds"
        if now_s - self._measured_s < MEASURE_EVERY_S:
            return ""
        self._measured_s = now_s
        return self._outgrown(limits)

    def _outgrown(self, limits: dict) -> str:
        used_bytes = memory_bytes(descendants(os.getpid()))
        self.peak_bytes = max(self.peak_bytes, used_bytes)
        if limits.get("memory_bytes") and used_bytes > limits["memory_bytes"]:
            return "memory"
        if size_of(self._order["log"]) > limits["output_bytes"]:
            return "output"
        if limits.get("file") and largest(self._order["folder"], limits["file"]) > limits["file_bytes"]:
            return "bytes"
        return ""


def size_of(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def largest(folder: str, name: str) -> int:
    """Bytes of the file of this name, or of the largest that matches the pattern."""
    paths = [name, *glob.glob(name, root_dir=folder, recursive=True)]  # noqa: PTH207
    return max(size_of(os.path.join(folder, path)) for path in paths)  # noqa: PTH118


def end_all(child: subprocess.Popen, asked: bool) -> int:
    """Ends every process below this one; returns how many the command left when it had ended by itself."""
    if not asked:
        _wait_until_gone(child, LEAVE_WITHIN_S)
    left = descendants(os.getpid())
    if left:
        for pid in left:
            _signal(pid, signal.SIGTERM)
            _signal(pid, signal.SIGCONT)
        _wait_until_gone(child, GRACE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # where there is no /proc to look through
    deadline_s = time.monotonic() + KILL_WITHIN_S
    while (remaining := descendants(os.getpid())) and time.monotonic() < deadline_s:
        for pid in remaining:  # again and again: they may start others meanwhile
            _signal(pid, signal.SIGKILL)
        _wait_until_gone(child, LOOK_EVERY_S)
    _take_every_status(child)
    return len(left)


def _take_every_status(child: subprocess.Popen) -> None:
    """Waits shortly for the status of every ended process, else each would stay in the process table until init takes
    it: a process of several threads is a zombie before its last thread has ended and its status can be taken."""
    deadline_s = time.monotonic() + GRACE_S
    while time.monotonic() < deadline_s:
        child.poll()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        _reap(child.pid)
        time.sleep(LOOK_EVERY_S / 50)


def _wait_until_gone(child: subprocess.Popen, most_s: float) -> None:
    deadline_s = time.monotonic() + most_s
    while True:
        child.poll()
        _reap(child.pid)
        if not descendants(os.getpid()) or time.monotonic() >= deadline_s:
            return
        time.sleep(LOOK_EVERY_S / 5)


def _reap(child: int) -> None:
    """Takes the status of adopted processes that ended; that of the command itself is `Popen`'s."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != child:
            os.waitpid(ended.si_pid, os.WNOHANG)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """Processes below one, at any depth, that have not ended."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        children.setdefault(int(parent), []).append(int(name))
        if state in (b"Z", b"X"):
            zombies.add(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return [pid for pid in found if pid not in zombies]


def memory_bytes(pids: list[int]) -> int:
    """Main memory of processes together; pages that they share count once, as far as the system says so."""
    return sum(_own_bytes(pid) for pid in pids)


def _own_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


if __name__ == "__main__":
    main()
