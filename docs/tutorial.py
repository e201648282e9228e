"""`python docs/tutorial.py`: runs the commands of docs/tutorial.md and writes what they print into the page.

A block that begins with `# FILE.yaml` becomes that file. In a console block each line that begins with `$ ` is run, and
the lines below it are its output, standard error included; of a sweep's progress lines the first and the last are kept.
A test (tests/docs/test_tutorial.py) runs the same commands and compares, with times, sizes and scores masked.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).parent / "tutorial.md"
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRESS = re.compile(r"^\d+ of \d+ runs done")
VOLATILE = re.compile(
    r"\b[0-9a-f]{10}\b"  # the name of a configuration: a hash of its text too
    r"|(?:\d[\d,]* h )?(?:\d+ min )?\d[\d,.]* (?:ms|s|h|B|kB|MB|GB)\b"  # how long, how large
    r"|(?<=on )\d+ slots?"
    r"|[+-]?\d[\d,]*[.,]\d+"  # a score, a count of tokens
)
Run = Callable[[list[str], Path], str]
"""Runs the words of a command in a folder and returns all that it prints."""


def rerun(page: str, run: Run, folder: Path) -> str:
    """The page with its files written into the folder, and its commands' output as `run` has it."""
    return BLOCK.sub(lambda block: f"```{block[1]}\n{_block(block[1], block[2], run, folder)}```", page)


def _block(kind: str, text: str, run: Run, folder: Path) -> str:
    if kind == "yaml":
        name = re.match(r"# (\S+\.yaml)\n", text)
        if name:
            (folder / name[1]).write_text(text, encoding="utf-8")
        return text
    commands = [line for line in text.splitlines() if line.startswith("$ ")]
    return "\n".join(f"{line}\n{shown(run(shlex.split(line[2:]), folder))}" for line in commands)


def shown(output: str) -> str:
    """Without spaces at the ends of lines, and with two lines of progress."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    progress = [i for i, line in enumerate(lines) if PROGRESS.match(line)]
    for i in progress[1:-1]:
        lines[i] = "..." if i == progress[1] else ""
    dropped = set(progress[2:-1])
    return "".join(f"{line}\n" for i, line in enumerate(lines) if i not in dropped)


def masked(page: str) -> list[str]:
    """The page's lines with what differs between two machines replaced, and progress left out."""
    lines = (" ".join(VOLATILE.sub("#", line).split()) for line in page.splitlines() if not PROGRESS.match(line))
    return [line for line in lines if line.strip("─ ") not in ("", "...")]


def run_for_real(words: list[str], folder: Path) -> str:
    """The command in a process of its own, as a reader types it."""
    if words[0] == "python":
        words = [sys.executable, *words[1:]]
    elif words[0] == "orchestrator":
        words = [str(Path(sys.executable).parent / "orchestrator"), *words[1:]]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)  # noqa: S603
    print(*words[1:3], "ended in", done.returncode)
    return done.stdout + done.stderr


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        PAGE.write_text(rerun(PAGE.read_text(encoding="utf-8"), run_for_real, Path(scratch)), encoding="utf-8")
