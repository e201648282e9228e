"""Commands on finished sweeps of 100, 1,000 and 10,000 runs: processor seconds and peak memory of each, as a table.

    python -m tests.benchmarks.many_runs

Each command is a process of its own, so its imports count. The stores hold a sweep with its ledger, records and the
results of its stages, of which none was computed. Seconds are at most those of 100 runs five times, or 3.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from orchestrator.space.configuration import Configuration, baseline_of, identify
from orchestrator.space.load_space import load_space
from orchestrator.sweep.sweep import Sweep, open_sweep
from tests.outcomes import stage_outcome
from tests.sweep_on_disk import record
from trainer.spec.checked_json import with_checksum
from trainer.spec.fingerprint import workload
from trainer.spec.record import StageOutcome
from trainer.stages.run_record import fingerprints_of
from trainer.store.local import StageStore

NAME = "large"
SEEDS = (1, 2, 3)
SIZES = (100, 1_000, 10_000)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("table", NAME),
    ("table", NAME, "--per", "run", "--format", "csv"),
    ("compare", NAME),
    ("status", NAME),
    ("list",),
    ("best", NAME),
    ("report", NAME),
    ("next", NAME),
    ("next",),
    ("plan", f"{NAME}.yaml"),
)
MOST_TIMES, MOST_S, MOST_BYTES = 5, 3.0, 400_000_000
LONGEST_S = 600
SPACE = """
name: {name}
preset: tiny
method: random
run_cap: {cap}
seeds: [1, 2, 3]
parameters:
  ttt.mode: {{value: score_first}}
  ttt.lr: {{distribution: log_uniform_values, min: 5e-4, max: 2e-2}}
compare: {{baseline: {{ttt.mode: off}}}}
"""


def store_of(folder: Path, num_runs: int) -> Path:
    """A store whose one sweep is finished; written without waiting for the disk."""
    cap = num_runs // len(SEEDS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.yaml").write_text(SPACE.format(name=NAME, cap=cap))
    with patch.object(os, "fsync", lambda descriptor: None):
        sweep = open_sweep(folder / "runs", load_space(folder / f"{NAME}.yaml"))
        sweep.record_path("any").parent.mkdir()
        values = ({"ttt.mode": "score_first", "ttt.lr": 5e-4 * 40 ** (number / cap)} for number in range(cap))
        asked = [baseline_of(sweep.space), *(identify(sweep.space, i, chosen) for i, chosen in enumerate(values, 1))]
        for item in asked:
            _leave(sweep, item)
    return folder / "runs"


def _leave(sweep: Sweep, item: Configuration) -> None:
    """Its lines in journal and ledger, its records, the results of its stages."""
    sweep.append(item)
    stages = StageStore(sweep.store)
    for seed in SEEDS:
        sweep.ledger.start(sweep.name, item.id, seed)
        made = record(sweep, item, seed)
        names = fingerprints_of(sweep.space.recipe(item.values, seed), 1)
        recipe = sweep.space.recipe(item.values, seed)
        left = {stage: stage_outcome(stage, key) for stage, key in names.items()} | dict(made.stages)
        left = {
            stage: one.model_copy(update={"fingerprint": names[stage], "workload": workload(recipe, stage)})
            for stage, one in left.items()
        }
        for outcome in left.values():
            _publish(stages, outcome)
        machine = {"name": "node1", "hardware": "CPU", "torch": "2.13.0"}
        content = made.model_copy(update={"stages": left, "machine": machine}).model_dump_json(indent=1).encode()
        sweep.record_path(item.run_id(seed)).write_bytes(with_checksum(content))
        sweep.ledger.end(sweep.name, item.id, seed, "done")


def _publish(stages: StageStore, outcome: StageOutcome) -> None:
    if stages.folder(outcome.stage, outcome.fingerprint).exists():
        return
    with stages.writing(outcome.stage, outcome.fingerprint) as staging:
        if outcome.stage == "train":
            rows = (f"{step},{3 + 3 * 0.9**step:.4f},1.0,{step * 0.5}" for step in range(40))
            (staging / "curve.csv").write_text("\n".join(["step,train_loss,multiplier,elapsed_s", *rows]) + "\n")
        stages.publish(staging, outcome)


def measured(folder: Path, words: Sequence[str]) -> tuple[float, int]:
    """Processor seconds and peak bytes of one command. Raises RuntimeError if it fails."""
    command = [sys.executable, "-m", "orchestrator.cli", *words, "--store", str(folder / "runs")]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
        deadline = time.monotonic() + LONGEST_S
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(words)} ended in {process.returncode}: {said.read().decode()[-2000:]}")
    return ended[2].ru_utime + ended[2].ru_stime, ended[2].ru_maxrss * 1024


def table(figures: dict[tuple[str, ...], list[tuple[float, int]]], sizes: Sequence[int]) -> str:
    """Rows of the table in docs/speed.md."""
    heads = [f"{size:,} runs" for size in sizes]
    lines = [f"| | {' | '.join(heads)} | peak |", "|---" * (len(sizes) + 2) + "|"]
    for words, cells in figures.items():
        seconds = " | ".join(f"{used_s:.1f} s" for used_s, _ in cells)
        lines.append(f"| `{' '.join(words)}` | {seconds} | {max(peak for _, peak in cells) / 1e6:.0f} MB |")
    return "\n".join(lines)


def beyond(figures: dict[tuple[str, ...], list[tuple[float, int]]]) -> list[str]:
    """Commands that exceed their limit at the largest size."""
    return [
        f"{' '.join(words)}: {cells[-1][0]:.1f} s, {cells[-1][1] / 1e6:.0f} MB"
        for words, cells in figures.items()
        if cells[-1][0] > max(MOST_S, MOST_TIMES * cells[0][0]) or cells[-1][1] > MOST_BYTES
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    options.add_argument("--only", nargs="*", help="first words of the commands to measure")
    options.add_argument("--folder", type=Path, help="keep the stores here, and use those that are there")
    asked = options.parse_args()
    chosen = [words for words in COMMANDS if not asked.only or words[0] in asked.only]
    figures: dict[tuple[str, ...], list[tuple[float, int]]] = {words: [] for words in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.sizes:
            place = (asked.folder or Path(folder)) / str(size)
            if not place.exists():
                store_of(place, size)
            for words in chosen:
                figures[words].append(measured(place, words))
                print(f"{size:,}: {' '.join(words)}: {figures[words][-1]}", file=sys.stderr)
    print(table(figures, asked.sizes))
    print("\n".join(beyond(figures)) or "all within their limits")
    return 1 if beyond(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
