"""Starts the supervisor of a command, in a process of its own: `trainer.program.supervisor`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.program import supervisor

END_WITHIN_S = 30.0
"""For the supervisor to end everything once it was asked to."""
MOST_OUTPUT_BYTES = 64 * 1024 * 1024


def run_supervised(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path, seconds: float
) -> tuple[int | None, str]:
    """Runs a command with all that it starts, detached processes included, which do not outlive it.

    Returns its exit status, and the limit that ended it: 'seconds', 'output', or the empty string.
    """
    limits = {"seconds": seconds, "output_bytes": MOST_OUTPUT_BYTES}
    order = {
        "command": list(command),
        "folder": str(folder),
        "environment": dict(environment),
        "log": str(log),
        "limits": limits,
    }
    with supervised(order) as process:
        process.wait()
        end = end_of(process)
    return end["status"], end["reason"]


@contextlib.contextmanager
def supervised(order: Mapping[str, Any]) -> Any:
    """A supervisor with this order; when the block ends, so does all that it started."""
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-I", "-S", str(Path(supervisor.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        yield process
    finally:
        ask_to_end(process)
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()  # the command dies with it, by PR_SET_PDEATHSIG
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Asks a supervisor to end its command."""
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()


def end_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a supervisor says of its command's end."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if line:
        return json.loads(line)
    why = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:] or ["it was killed"]
    return {"status": None, "reason": f"lost: {why[0]}", "seconds": 0.0, "peak_bytes": 0, "left": 0}
