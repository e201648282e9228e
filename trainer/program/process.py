"""Runs a program's command in a fenced process, and follows its output. The fence: `trainer.program.supervisor`."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.program.reading import Live, OutputReader, Readings
from trainer.program.supervised import END_WITHIN_S, ask_to_end, end_of, supervised
from trainer.program.supervisor import UNKEPT
from trainer.program.workspace import read_files
from trainer.spec.errors import StoreFull
from trainer.spec.program import Program

LOOK_EVERY_S = 0.1
SHOW_EVERY_S = 0.5


@dataclass(frozen=True)
class End:
    """How a command ended."""

    status: int | None
    """Its exit status; negative for a signal, None where it did not start."""
    reason: str
    """Why it was ended, in words; empty where it ended by itself."""
    limit: str
    """The limit that ended it: 'seconds', 'memory' and so on, 'stopped'; empty where it ended by itself."""
    seconds: float
    peak_bytes: int
    left: int
    """Processes that it left behind, which were ended."""
    readings: Readings | None
    """What its output told; None where the patterns could not be applied to it in time."""
    unread: str = ""
    """Why."""


class Interrupt(Exception):
    """The run was asked to stop while its program ran."""


def run_command(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    program: Program,
    stage: str,
    seconds_left: float | None,
    show: Callable[[Live], None],
    stopping: Callable[[], bool],
) -> End:
    """Runs the command to its end or to a limit. Raises Interrupt when `stopping` returns true, and StoreFull where its
    output cannot be kept.

    seconds_left:  of `limits.seconds`, for this command
    """
    log.touch()
    order = {
        "command": list(command),
        "folder": str(folder),
        "environment": dict(environment),
        "log": str(log),
        "limits": _limits(program, folder, seconds_left),
    }
    with OutputReader(program, log) as output, supervised(order) as process:
        ended_by = _follow(process, output, PhaseClock(program, stage), show, stopping)
        end = end_of(process)
        if end["reason"].startswith(UNKEPT):
            raise StoreFull(f"{log}: {end['reason'].removeprefix(UNKEPT)}; free some space, then go on")
        if ended_by == "stopped":
            raise Interrupt
        readings, unread = None, ""
        try:
            readings = output.finish(read_files(folder, program))
        except ValueError as error:
            unread = str(error)
    limit = ended_by or end["reason"] if end["reason"] else ""
    words = _words(limit, program, seconds_left) if limit else ""
    return End(end["status"], words, limit, end["seconds"], end["peak_bytes"], end["left"], readings, unread)


def _limits(program: Program, folder: Path, seconds_left: float | None) -> dict[str, Any]:
    limits = program.limits
    return {
        "seconds": seconds_left,
        "memory_bytes": program.limited.get("process_peak_bytes", ("", None))[1],
        "output_bytes": limits.output_mb * 1e6,
        "file": limits.bytes.file if limits.bytes else None,
        "file_bytes": limits.bytes.at_most if limits.bytes else None,
    }


def _follow(
    process: subprocess.Popen[bytes],
    output: OutputReader,
    clock: PhaseClock,
    show: Callable[[Live], None],
    stopping: Callable[[], bool],
) -> str:
    """Waits for the end of the supervisor, which is asked to stop where the output tells more than a limit allows.

    Returns what it was asked to stop for, or the empty string.
    """
    shown_s = 0.0
    while process.poll() is None:
        ended_by = "stopped" if stopping() else clock.exceeded()
        if ended_by:
            ask_to_end(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_WITHIN_S)
            return ended_by
        now_s = time.monotonic()
        if now_s - shown_s >= SHOW_EVERY_S:
            shown_s = now_s
            if (live := output.look()) is not None:
                clock.note(live)
                show(live)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY_S)
    return ""


class PhaseClock:
    """Seconds of training and of evaluation: those that the output tells, else since the line that begins the phase.

    Without such a line the last of several stages evaluates, and everything else trains.
    """

    def __init__(self, program: Program, stage: str, clock: Callable[[], float] = time.monotonic):
        self._limits = {"train_s": program.limits.train_s, "eval_s": program.limits.eval_s}
        self._told, self._clock = program.metrics, clock
        usual = "eval" if program.evaluates_in(stage) else "train"
        self._phase, self._since_s = (usual if usual not in program.phases else ""), clock()
        self._live = Live()

    def note(self, live: Live) -> None:
        """Takes what the output has told by now."""
        self._live = live
        if live.phase and live.phase != self._phase:
            self._phase, self._since_s = live.phase, self._clock()

    def exceeded(self) -> str:
        """'train_s' or 'eval_s' where that limit is used up; else the empty string."""
        for name, limit in self._limits.items():
            if limit is None:
                continue
            if name in self._told:
                used_s = self._live.metrics.get(name, 0.0)
            else:
                used_s = self._clock() - self._since_s if self._phase == name.removesuffix("_s") else 0.0
            if used_s > limit:
                return name
        return ""


def _words(limit: str, program: Program, seconds_left: float | None) -> str:
    limits = program.limits
    if limit == "seconds":
        rest = "" if seconds_left == limits.seconds else f", of which earlier stages left {seconds_left or 0:.0f} s"
        return f"did not end within limits.seconds = {limits.seconds:g}{rest}"
    if limit == "memory":
        return f"used more memory than limits.memory_gb = {limits.memory_gb:g}"
    if limit == "output":
        return f"printed more than limits.output_mb = {limits.output_mb:g}"
    if limit == "bytes" and limits.bytes:
        return f"wrote {limits.bytes.file} larger than limits.bytes.at_most = {limits.bytes.at_most:,}"
    if limit in ("train_s", "eval_s"):
        allowed_s = getattr(limits, limit)
        what = "trained" if limit == "train_s" else "evaluated"
        return f"{what} for longer than limits.{limit} = {allowed_s:g}"
    return limit
