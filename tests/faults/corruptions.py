"""Files of a finished store, corrupted one at a time: the same result, or exit status 2 and a message naming the file.

Short in the default tests; long by `make corruptions`:

    python -m tests.faults.corruptions --cases 400 --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.sweep.imported import read_files, write_import
from orchestrator.sweep.notes import keep_plan, keep_preflight
from orchestrator.sweep.sweep import find_sweep
from results.rows.imported_rows import ImportTerms
from results.rows.layout import MACHINES, REPORT_PAGE, RUNS
from results.rows.lines import append_line
from tests.sweep_on_disk import finished_sweep
from trainer.spec.checked_json import with_checksum
from trainer.spec.errors import UserError
from trainer.spec.record import Record, StageOutcome
from trainer.store.local import StageStore

NAME = "small"
IMPORT = "mine"
KINDS = ("flip", "cut", "zero", "delete", "foreign")
SHORT_COMMANDS = (("table", NAME, "--format", "csv"), ("status", NAME))
OF_STAGES = (
    *SHORT_COMMANDS,
    ("compare", NAME, "--explain"),
    ("report", NAME),
    ("curves", NAME),
    ("show", NAME),
)
COMMANDS = (
    *OF_STAGES,
    ("status", NAME, "--format", "json"),
    ("list",),
    ("next", NAME, "--format", "json"),
    ("best", NAME, "--format", "json"),
    ("plan", "SPACE", "--format", "json"),
    ("table", IMPORT, "--format", "csv"),
    ("compare", IMPORT),
)
"""Of a stage whose files differ nothing but its curve is read by `next`, `best` and `plan`: it is computed again."""
DERIVED = ("live.json", "optuna.journal", ".claim", ".lock", ".pid", "report.html", "small.yaml", "runs.csv")
"""Files that say nothing about results, and are written anew."""
MAY_BE_DELETED = ("plan.json", "preflight.json")
"""Notes that commands say to delete when they are damaged; nothing then claims that they were there."""
LONGEST_S = 60.0
"""Of the processor, since a busy machine makes every command slow."""
LONGEST_WAIT_S = 600.0
"""By the clock: nothing may wait so long, on whatever machine."""
FURTHER_COMMANDS = 3
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Outcome:
    """What one command did: its exit status, what it printed, and the message for people."""

    status: int
    out: str
    message: str = ""
    traceback: bool = False


def finished_store(folder: Path) -> Path:
    """A finished sweep whose records agree with the results of their stages, all files with their checksums."""
    store = folder / "store"
    sweep, stages = finished_sweep(store), StageStore(store)
    shutil.rmtree(store / "stages")
    for path in sorted((sweep.folder / "runs").glob("*.json")):
        record = Record.model_validate_json(path.read_bytes())
        outcomes = {stage: _with_hash(outcome) for stage, outcome in record.stages.items()}
        for outcome in outcomes.values():
            _publish(stages, outcome)
        whole = record.model_copy(update={"stages": outcomes})
        path.write_bytes(with_checksum(whole.model_dump_json(indent=1).encode()))
    keep_plan(sweep.folder, [_planned(stage) for stage in ("train", "export", "evaluate", "adapt", "total")])
    keep_preflight(sweep.folder, {"skipped": False, "data": ["2 shards are sound"]})
    append_line(sweep.folder / MACHINES, {"event": "reference", "facts": {"name": "node1", "torch": "2.13.0"}})
    append_line(sweep.folder / MACHINES, {"event": "quarantined", "machine": "node2", "why": "slow", "of_speed": True})
    runs = store / "runs.csv"
    rows = [f"{config},{seed},{1 + seed / 50 + (config == 'b') / 9}" for config in "ab" for seed in SEEDS]
    runs.write_text("\n".join(["config,seed,val_bpb", *rows]) + "\n")
    write_import(store, IMPORT, [runs], read_files([runs], ImportTerms()))
    return store


def _planned(stage: str) -> dict[str, object]:
    seconds = {"seconds_each": 9.0, "seconds": 27.0, "wall_s": 27.0, "gpu_hours": 0.0, "usd": None}
    return {"stage": stage, "runs": 6, "total_runs": 6, "missing": 3, "exact": True, "cached": 0, **seconds}


def _with_hash(outcome: StageOutcome) -> StageOutcome:
    digest = hashlib.sha256(outcome.fingerprint.encode()).hexdigest()[:16]
    return outcome.model_copy(update={"fingerprint": digest})


def _publish(stages: StageStore, outcome: StageOutcome) -> None:
    if stages.find(outcome.stage, outcome.fingerprint):
        return
    with stages.writing(outcome.stage, outcome.fingerprint) as staging:
        if outcome.stage == "train":
            rows = (f"{step},{3 + 3 * 0.9**step:.4f},1.0,{step * 0.5}" for step in range(40))
            (staging / "curve.csv").write_text("\n".join(["step,train_loss,multiplier,elapsed_s", *rows]) + "\n")
        stages.publish(staging, outcome)


def call(store: Path, *words: str) -> Outcome:
    """One command in this process; a UserError is what people see as a message and exit status 2."""
    spelled = [str(store / "small.yaml") if word == "SPACE" else word for word in words]
    result = CliRunner().invoke(app, [*spelled, "--store", str(store)])
    fault, page = result.exception, store / "sweeps" / words[-1] / REPORT_PAGE
    written = page.read_text() if words[0] == "report" and page.exists() else ""
    out = result.stdout + re.sub(r"Made by Fairway, .*? UTC", "", written)
    if fault is None or isinstance(fault, SystemExit):
        return Outcome(result.exit_code, out, result.output)
    if isinstance(fault, UserError):
        return Outcome(2, out, str(fault))
    if isinstance(fault, OSError):
        return Outcome(2, out, f"{fault.filename}: {fault.strerror}")
    return Outcome(1, out, f"{type(fault).__name__}: {fault}", traceback=True)


def files_of(store: Path) -> list[Path]:
    """Every file of the store that a corruption may strike: those of sweeps, then those of stages."""
    files = (path for path in sorted(store.rglob("*")) if path.is_file() and not path.name.endswith(DERIVED))
    return sorted((path.relative_to(store) for path in files), key=lambda file: (file.parts[0] == "stages", file))


def corrupt(path: Path, kind: str, dice: random.Random, foreign: bytes) -> None:
    """Changes a file in one of the ways of `KINDS`."""
    content = path.read_bytes()
    at = dice.randrange(max(1, len(content)))
    if kind == "flip":
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :])
    elif kind == "cut":
        path.write_bytes(content[:at])
    elif kind == "zero":
        path.write_bytes(bytes(len(content)))
    elif kind == "delete":
        path.unlink()
    else:
        path.write_bytes(foreign)


def complaint(file: Path, kind: str, before: Outcome, after: Outcome) -> str:
    """What is wrong with the outcome of a command on a corrupted store; empty if nothing is."""
    if after.traceback:
        return f"traceback: {after.message}"
    if (after.status, after.out) == (before.status, before.out) or (kind == "delete" and file.name in MAY_BE_DELETED):
        return ""
    if after.status != 2:
        return f"another result in silence (exit status {after.status})"
    named = file.name in after.message or file.parent.name in after.message or file.stem in after.message
    return "" if named else f"the message does not name it: {after.message[-200:]}"


def cases(store: Path, dice: random.Random, count: int) -> Iterator[tuple[Path, str]]:
    """So many files and ways to corrupt them: each file of a sweep in each way first, then at random."""
    files = files_of(store)
    every = [(file, kind) for file in files for kind in KINDS]
    yield from every[:count]
    for _ in range(count - len(every)):
        yield dice.choice(files), dice.choice(KINDS[:2])


def strike(
    pristine: Path, work: Path, commands: tuple[tuple[str, ...], ...], chosen: Iterator[tuple[Path, str]], seed: int
) -> tuple[Counter[str], list[str]]:
    """Corrupts a copy of the store for each case and runs the commands on it; returns counts and complaints.

    All of the commands for the first file of a sort that is corrupted in one way, some of them for the others.
    """
    dice, counts, complaints, struck = random.Random(seed), Counter[str](), list[str](), set[tuple[str, ...]]()
    shutil.copytree(pristine, work)
    expected = {words: call(work, *words) for words in commands}
    assert all(outcome.status == 0 for outcome in expected.values()), expected
    foreign = [(pristine / file).read_bytes() for file in files_of(pristine)]
    for file, kind in chosen:
        corrupt(work / file, kind, dice, dice.choice(foreign))
        able = [words for words in commands if file.parts[0] != "stages" or words in OF_STAGES]
        first = _sort_of(file, kind) not in struck
        struck.add(_sort_of(file, kind))
        for words in able if first else dice.sample(able, min(len(able), FURTHER_COMMANDS)):
            started_s, started_used_s = time.monotonic(), time.process_time()
            after = call(work, *words)
            wrong = complaint(file, kind, expected[words], after)
            used_s = time.process_time() - started_used_s
            if used_s > LONGEST_S or time.monotonic() - started_s > LONGEST_WAIT_S:
                wrong = "hung"
            counts[f"{kind}: {'the same' if after.status == 0 else 'refused'}"] += 1
            if wrong:
                complaints.append(f"{kind} {file}: {' '.join(words)}: {wrong}")
                print(complaints[-1], file=sys.stderr)
        shutil.copyfile(pristine / file, work / file)
    return counts, complaints


def _sort_of(file: Path, kind: str) -> tuple[str, ...]:
    """Which file it is, whatever the run or the stage's fingerprint."""
    return (kind, *file.parts[:2], file.name if file.parent.name != RUNS else RUNS)


def main() -> int:
    """Runs the campaign and prints what it did."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=400)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pristine = finished_store(Path(folder))
        find_sweep(pristine, NAME)
        chosen = cases(pristine, random.Random(asked.seed), asked.cases)
        counts, complaints = strike(pristine, Path(folder) / "work", COMMANDS, chosen, asked.seed)
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print("\n".join(complaints) or "no complaint")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
