"""Smoke test of a script on the CPU: is it imported, is its model built, does that run forward?

A process of its own does it, without network, with limits on time and memory, in an empty folder, with an environment
of a few names. What only a GPU has is stood in for. A stand-in that does not suffice is a gap of ours, and said so.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.audit.source.unwrap import read_source, unwrap
from trainer.program.supervised import run_supervised
from trainer.spec.json_text import parse_json
from trainer.spec.printable import printable
from trainer.spec.units import human_seconds

SECONDS, MEMORY_BYTES = 60, 2**34
TAIL, STARTING_S = 300, 60


@dataclass(frozen=True)
class SmokeReport:
    """How far a script came."""

    imports: bool
    builds: bool
    runs: bool
    parameters: int | None
    vocabulary: int | None
    model_dim: int | None
    layers: int | None
    model_class: str | None
    code_bytes: int
    stood_in_for: tuple[str, ...]
    gaps: tuple[str, ...]
    """What the smoke test itself lacks."""
    problems: tuple[str, ...]
    """What fails in the script."""
    network_closed_by: str
    seconds: float


def smoke_of(path: Path) -> SmokeReport:
    """The smoke test of a file."""
    return smoke(path, read_source(path))


def smoke(path: Path, text: str, seconds: int = SECONDS, memory_bytes: int = MEMORY_BYTES) -> SmokeReport:
    """Imports the script, builds its model and runs it forward, in a process of its own."""
    started = time.monotonic()
    prefix = _without_network()
    child = Path(__file__).with_name("smoke_child.py")
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        script, result = Path(folder) / "train_gpt.py", Path(folder) / "result.json"
        script.write_text(unwrap(text, path.name).text, encoding="utf-8")
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        command = [*prefix, sys.executable, "-I", str(child), str(script), str(path.resolve().parent), str(result)]
        ended = _run([*command, str(seconds), str(memory_bytes)], folder, environment, seconds)
        seen = _read(result, ended)
    return SmokeReport(
        imports=bool(seen.get("imports")),
        builds=bool(seen.get("builds")),
        runs=bool(seen.get("runs")),
        parameters=seen.get("parameters"),
        vocabulary=seen.get("vocabulary"),
        model_dim=seen.get("model_dim"),
        layers=seen.get("layers"),
        model_class=seen.get("model_class"),
        code_bytes=len(text.encode("utf-8")),
        stood_in_for=tuple(seen.get("stood_in_for", ())),
        gaps=tuple(seen.get("gaps", ())),
        problems=tuple(seen.get("problems", ())),
        network_closed_by="an empty network namespace" if prefix else "refusing sockets",
        seconds=time.monotonic() - started,
    )


def _run(command: list[str], folder: str, environment: dict[str, str], seconds: int) -> str:
    """Runs the child with all that it starts; the end of what it complained of."""
    log = Path(folder) / "log"
    status, limit = run_supervised(command, Path(folder), environment, log, seconds + STARTING_S)
    if limit == "seconds" or status == -signal.SIGXCPU:  # of the clock, or of the processor
        return f"it ran longer than our limit of {seconds} s"
    return log.read_text(encoding="utf-8", errors="replace").strip()[-TAIL:] if log.exists() else limit


def _read(result: Path, ended: str) -> dict[str, Any]:
    try:
        return parse_json(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"gaps": [f"the process ended before it could say more: {printable(ended) or 'our limits ended it'}"]}


def _without_network() -> list[str]:
    """A command that gives a process a network of its own with nothing in it, where the machine allows that."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    prefix = [unshare, "--net", "--map-root-user"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False, timeout=10)  # noqa: S603
    return prefix if tried.returncode == 0 else []


def lines_of_smoke(report: SmokeReport) -> Iterator[str]:
    """The report as text."""
    steps = (("imports", report.imports), ("model builds", report.builds), ("forward runs", report.runs))
    answers = ", ".join(f"{name}: {'yes' if holds else 'no'}" for name, holds in steps)
    yield printable(f"smoke test on the CPU: {answers} ({human_seconds(report.seconds)})")
    if report.parameters is not None:
        yield printable(
            f"  {report.model_class}: {report.parameters:,} parameters, width {report.model_dim}, "
            f"{report.layers} layers, vocabulary {report.vocabulary}; code {report.code_bytes:,} bytes"
        )
    if report.stood_in_for:
        yield printable(f"  stood in for: {', '.join(report.stood_in_for)}")
    for gap in report.gaps:
        yield printable(f"  a gap of ours: {gap}")
    for problem in report.problems:
        yield printable(f"  fails in the script: {problem}")
