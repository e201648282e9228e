"""Short commands on a finished sweep of 9 runs, as times `import pandas`: a table.

    python -m tests.benchmarks.short_commands --only compare table

Each is a process of its own, imports included. They take turns with `python -c 'import pandas'`, so that a busy machine
slows all alike; given are the medians of processor seconds and of the clock's. Compiled modules are kept.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.many_runs import NAME, store_of

YARDSTICK = ("-c", "import pandas")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("list",),
    ("status", NAME),
    ("plan", f"{NAME}.yaml"),
    ("table", NAME),
    ("compare", NAME),
    ("compare", NAME, "--format", "json"),
    ("best", NAME),
    ("curves", NAME),
    ("report", NAME),
)
NUM_RUNS = 9


def words_of(command: Sequence[str], store: Path) -> tuple[str, ...]:
    """What Python is given to run the command on the store."""
    asked = ("-m", "orchestrator.cli", *command)
    return asked if command == ("--help",) else (*asked, "--store", str(store))


def seconds_of(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Processor seconds and the clock's of one process. Raises CalledProcessError if it fails."""
    begun = time.perf_counter()
    keeping = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, *words], cwd=folder, env=keeping, stdout=subprocess.DEVNULL)
    _, ended, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used.ru_utime + used.ru_stime, wall_s


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=9)
    options.add_argument("--only", nargs="*", help="first words of the commands to measure")
    asked = options.parse_args()
    chosen = [command for command in COMMANDS if not asked.only or command[0] in asked.only]
    with tempfile.TemporaryDirectory() as place:
        store = store_of(Path(place), NUM_RUNS)
        processes = {"import pandas": YARDSTICK} | {" ".join(words): words_of(words, store) for words in chosen}
        for words in processes.values():  # compiles modules, fills the file cache
            seconds_of(words, Path(place))
        turns = [[seconds_of(words, Path(place)) for words in processes.values()] for _ in range(asked.times)]
    medians = [[statistics.median(kind) for kind in zip(*of_one, strict=True)] for of_one in zip(*turns, strict=True)]
    print("| | processor | times | clock | times |\n|---|---|---|---|---|")
    for name, (used_s, wall_s) in zip(processes, medians, strict=True):
        times, wall_times = used_s / medians[0][0], wall_s / medians[0][1]
        print(f"| `{name}` | {used_s:.3f} s | {times:.2f} | {wall_s:.3f} s | {wall_times:.2f} |")


if __name__ == "__main__":
    main()
