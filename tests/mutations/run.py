"""`python -m tests.mutations.run`: removes each guard of `guards.yaml` in a copy, and demands that its tests fail.

The copy is a temporary folder; the checkout is never changed. First the named tests must pass as the code is. Exit
status 1 if a guard can be removed unnoticed, or its text is no longer there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.spec.yaml_text import YamlText

ROOT = Path(__file__).parents[2]
GUARDS = Path(__file__).with_name("guards.yaml")
COPIED = ("trainer", "orchestrator", "results", "tests", "search_spaces", "docs", "pyproject.toml", "README.md")
FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)


@dataclass(frozen=True)
class Guard:
    """A piece of code that keeps a condition, and the tests that fail without it."""

    name: str
    conditions: tuple[str, ...]
    file: str
    guard: str
    without: str
    tests: tuple[str, ...]

    def removed_from(self, source: str) -> str:
        """The source without the guard. Raises ValueError unless the guard's text stands in it exactly once."""
        if (count := source.count(self.guard)) != 1:
            raise ValueError(f"the text of guard '{self.name}' stands {count} times in {self.file}, expected once")
        return source.replace(self.guard, self.without)


def read_guards(path: Path = GUARDS) -> list[Guard]:
    entries = YamlText(path.read_text(encoding="utf-8"), path.name).value
    return [
        Guard(
            entry["name"],
            tuple(entry["conditions"]),
            entry["file"],
            entry["guard"].removesuffix("\n"),
            entry["without"].removesuffix("\n"),
            tuple(entry["tests"]),
        )
        for entry in entries
    ]


def copy_of_checkout(folder: Path) -> Path:
    """What tests need of this checkout, in `folder`."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
        else:
            shutil.copy(source, folder / name)
    return folder


def failing(checkout: Path, tests: Sequence[str]) -> tuple[set[str], str]:
    """Which of the tests fail there, parameters left out, and pytest's output."""
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", "-rfE", *tests]
    done = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with status {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return set(FAILED.findall(done.stdout)), done.stdout


def environment(checkout: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}


def unnoticed(checkout: Path, guard: Guard) -> set[str]:
    """Tests that pass although the guard is removed; the copy is left as it was."""
    path = checkout / guard.file
    source = path.read_text(encoding="utf-8")
    path.write_text(guard.removed_from(source), encoding="utf-8")
    try:
        return set(guard.tests) - failing(checkout, guard.tests)[0]
    finally:
        path.write_text(source, encoding="utf-8")


def main(names: Sequence[str]) -> int:
    guards = [guard for guard in read_guards() if not names or any(part in guard.name for part in names)]
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        checkout = copy_of_checkout(Path(folder))
        broken, output = failing(checkout, sorted({test for guard in guards for test in guard.tests}))
        if broken:
            print(f"{output}\nthese tests fail with every guard in place; nothing was removed")
            return 1
        wrong = 0
        for number, guard in enumerate(guards, 1):
            passing = unnoticed(checkout, guard)
            wrong += bool(passing)
            verdict = f"UNNOTICED by {', '.join(sorted(passing))}" if passing else "a named test fails"
            print(f"{number:2}/{len(guards)}  {' '.join(guard.conditions):<10} {guard.name}: {verdict}", flush=True)
    print(f"{len(guards) - wrong} of {len(guards)} guards cannot be removed unnoticed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
