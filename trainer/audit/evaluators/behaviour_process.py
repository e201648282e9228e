"""Foreign evaluators in a fenced process: a Python function `MODULE:FUNCTION`, or a script that reads and writes JSON.

A script is called as `python SCRIPT REQUEST.json ANSWER.json`. A request is {"ask": "claims"}, answered by the claims
(`behaviour_cases.Claims`), or {"tokens", "positions", "ranks", "train_tokens", "val_tokens"}, answered by {"nats", ...}
(`behaviour_cases.Answer`). The process has limits of seconds and memory, no network, and no variable of this one's
environment; what it starts, detached processes included, ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trainer
from trainer.audit.evaluators.behaviour_cases import Answer, Case, Claims
from trainer.program.supervised import MOST_OUTPUT_BYTES, run_supervised
from trainer.spec.errors import UserError
from trainer.spec.json_text import parse_json
from trainer.spec.printable import printable
from trainer.spec.units import human_seconds

ROOT = Path(trainer.__file__).parents[1]
MOST_ANSWER_BYTES = 256 * 1024 * 1024
SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Fence:
    """Limits of one process."""

    seconds: int = 600
    memory_bytes: int = 32 * 1024**3
    """Of address space, of which torch takes gigabytes that it never touches."""


class NoAnswer(UserError):
    """A process that ended without an answer."""


@dataclass(frozen=True)
class ModuleSubject:
    """`MODULE:FUNCTION`, imported from a folder by a fenced process; every case in a fork of its own."""

    name: str
    folder: Path
    fence: Fence = Fence()

    def claims(self) -> Claims:
        with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
            return Claims.of(self._ask({"ask": "claims"}, Path(scratch)), self.name)

    def answers(self, cases: Sequence[Case]) -> list[Answer]:
        with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
            with contextlib.suppress(FileNotFoundError):  # answers stand in a file each
                self._ask({"cases": [asdict(case) for case in cases]}, Path(scratch))
            return [_answer_of(Path(scratch) / f"answer.json.{number}") for number in range(len(cases))]

    def _ask(self, request: Mapping[str, Any], scratch: Path) -> Any:
        return ask(
            ["-m", "trainer.audit.evaluators.behaviour_worker", self.name], request, scratch, self.folder, self.fence
        )


@dataclass(frozen=True)
class ScriptSubject:
    """A script, started anew for every case."""

    name: str
    path: Path
    fence: Fence = Fence()

    def claims(self) -> Claims:
        with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
            return Claims.of(self._ask({"ask": "claims"}, Path(scratch)), self.name)

    def answers(self, cases: Sequence[Case]) -> list[Answer]:
        return [self._answer(case) for case in cases]

    def _answer(self, case: Case) -> Answer:
        with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
            try:
                return Answer.of(self._ask(asdict(case), Path(scratch)))
            except UserError as mistake:
                return Answer.failed(str(mistake))

    def _ask(self, request: Mapping[str, Any], scratch: Path) -> Any:
        try:
            return ask([str(self.path)], request, scratch, self.path.parent, self.fence)
        except FileNotFoundError:
            raise NoAnswer(f"{self.path.name} wrote no answer; it is called with REQUEST.json ANSWER.json") from None


def ask(arguments: Sequence[str], request: Mapping[str, Any], scratch: Path, folder: Path, fence: Fence) -> Any:
    """The JSON that a fenced Python with these arguments and two file names writes to the second.

    Raises NoAnswer with the end of its output if it fails or runs too long; FileNotFoundError if it wrote nothing.
    """
    asked, answered, log = scratch / "request.json", scratch / "answer.json", scratch / "log"
    asked.write_text(json.dumps(request), encoding="utf-8")
    limits = [str(fence.seconds), str(fence.memory_bytes)]
    command = [sys.executable, "-m", "trainer.audit.evaluators.behaviour_fence", *limits, sys.executable, *arguments]
    status, limit = run_supervised(
        [*command, str(asked), str(answered)], scratch, _environment(scratch, folder), log, fence.seconds
    )
    if status != 0 or limit:
        how = {
            "seconds": f"ran longer than {human_seconds(fence.seconds)}",
            "output": f"printed more than {MOST_OUTPUT_BYTES:,} bytes",
        }.get(limit, limit or f"ended with status {status}")
        raise NoAnswer(f"the evaluator's process {how}; the end of its output: {_end_of(log)}")
    return read_json(answered)


def read_json(path: Path) -> Any:
    """The JSON in a file that foreign code left, which may be anything.

    Raises NoAnswer for what is no plain file, is too large or holds no JSON; FileNotFoundError where nothing is.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as fault:
        if fault.errno == errno.ENOENT:
            raise
        raise NoAnswer(f"the answer is no plain file: {fault.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_ANSWER_BYTES:
            raise NoAnswer(f"the answer is no plain file of at most {MOST_ANSWER_BYTES:,} bytes")
        content = file.read()
    try:
        return parse_json(content)
    except ValueError as fault:
        raise NoAnswer(f"the answer is no JSON: {printable(str(fault))[:SHOWN_CHARACTERS]}") from None


def _answer_of(path: Path) -> Answer:
    try:
        return Answer.of(read_json(path))
    except FileNotFoundError:
        return Answer.failed("the process ended before this case")
    except UserError as mistake:
        return Answer.failed(str(mistake))


def _environment(scratch: Path, folder: Path) -> dict[str, str]:
    """Nothing of this process's environment but what finds programs."""
    return {
        "PATH": os.defpath,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder.absolute()))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }


def _end_of(log: Path) -> str:
    if not log.exists():
        return "(none)"
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 4096, 0))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return printable("".join(lines[-1:])[-SHOWN_CHARACTERS:]) or "(none)"
