"""What a program's output says: a reader process beside it, whose time is limited.

A pattern that takes longer than READ_WITHIN_S for the whole output is an error of the search space, not of the run: the
output is kept, and a corrected pattern reads it again.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.program import reader
from trainer.spec.errors import UserError
from trainer.spec.program import Program

READ_WITHIN_S = 60.0
"""For everything that a program printed."""
LOOK_S = 0.1


@dataclass(frozen=True)
class Live:
    """What an output has told so far."""

    phase: str = ""
    step: int | None = None
    loss: float | None = None
    total: int | None = None
    last: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Done part, where the curve names its last step."""
        return min(self.step / self.total, 1.0) if self.step and self.total else 0.0

    @property
    def words(self) -> str:
        """'step 120  loss 3.214', or the last line."""
        if self.step is None or self.loss is None:
            return " ".join(self.last.split())[:60]
        return f"step {self.step}  loss {self.loss:.4f}"


@dataclass(frozen=True)
class Readings:
    """What the whole output told."""

    metrics: Mapping[str, float]
    counts: Mapping[str, int]
    """How often each number was found."""
    curve: tuple[tuple[int, float, float | None], ...]
    """Step, loss and seconds."""

    @property
    def curve_csv(self) -> str:
        """The curve as `results.figures.curves` reads it; its losses are those the program printed."""
        lines = [f"{step},{loss!r},{'nan' if seconds is None else repr(seconds)}" for step, loss, seconds in self.curve]
        return "\n".join(["step,train_loss,elapsed_s", *lines]) + "\n"


class OutputReader:
    """Follows the growing output of one program in a process of its own; use as a context manager."""

    def __init__(self, program: Program, log: Path):
        spec = {
            "metrics": {name: [each.model_dump() for each in sources] for name, sources in program.metrics.items()},
            "curve": program.curve,
            "phases": dict(program.phases),
            "log": str(log),
        }
        self._process = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-I", "-S", str(Path(reader.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._asked = False
        self._send(json.dumps(spec))

    def __enter__(self) -> OutputReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def look(self) -> Live | None:
        """The newest answer, or None while the reader is still reading."""
        answer = self._answer(0.0) if self._asked else None
        if answer is not None or not self._asked:
            self._asked = True
            self._send("live")
        return None if answer is None else _live(answer)

    def finish(self, files: Mapping[str, Path], within_s: float = READ_WITHIN_S) -> Readings:
        """Everything, once the program has ended. Raises UserError if the patterns take too long.

        files:  those that metrics stand in, by the name that the program's sources have
        """
        deadline_s = time.monotonic() + within_s
        self._send(f"end {json.dumps({name: str(path) for name, path in files.items()})}")
        while True:
            answer = self._answer(max(deadline_s - time.monotonic(), 0.0))
            if answer is None and time.monotonic() < deadline_s:  # its output has ended
                raise UserError(
                    f"the process that reads the output ended with status {self._process.wait()}; the output "
                    "is kept and is read again by `orchestrator resume NAME --retry-failed`"
                )
            if answer is None:
                raise UserError(
                    f"the patterns of `metrics` and `curve` were not through the output within {within_s:g} s; "
                    "simpler ones read it again, nothing is run twice: avoid repetitions inside repetitions"
                )
            if "counts" in answer:
                points = tuple((int(step), float(loss), seconds) for step, loss, seconds in answer["curve"])
                return Readings(answer["metrics"], answer["counts"], points)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def _answer(self, within_s: float) -> dict[str, Any] | None:
        pipe = self._process.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], within_s)[0]:
            return None
        line = pipe.readline()
        return json.loads(line) if line else None


def _live(answer: Mapping[str, Any]) -> Live:
    step, loss, _ = answer["point"] or (None, None, None)
    return Live(answer["phase"], step, loss, answer["total"], answer["last"], answer["metrics"])


def read_output(program: Program, log: Path, files: Mapping[str, Path]) -> Readings:
    """The numbers of a whole output."""
    with OutputReader(program, log) as opened:
        return opened.finish(files)
