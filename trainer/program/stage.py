"""One stage of a program: filled working folder, fenced process, what it left. And what its output says, at any time.

A finished stage's folder holds `log.txt` (everything printed), `curve.csv` where there is one, the files that it
leaves, and files that metrics are read from. A failed one leaves its log beside the store's folder for the stage.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.program import workspace
from trainer.program.code_store import encoded, keep_code, read_name
from trainer.program.failure import failure_words, with_log
from trainer.program.invocation import Place, command_of, environment_of, write_knobs
from trainer.program.ports import free_port
from trainer.program.process import End, Interrupt, run_command
from trainer.program.reading import Live, Readings, read_output
from trainer.spec.errors import Interrupted, UserError
from trainer.spec.program import NUM_READ, OWN_METRICS, READ_BY, Program
from trainer.spec.record import Metric, StageOutcome
from trainer.spec.stage_table import CURVE_FILE
from trainer.store.local import StageStore

LOG = "log.txt"


@dataclass(frozen=True)
class StageRun:
    """What a stage needs beside its program."""

    store: StageStore
    fingerprints: Mapping[str, str]
    outcomes: Mapping[str, StageOutcome]
    """Of the stages before it."""
    num_ranks: int
    show: Callable[[Live], None]
    stopping: Callable[[], bool]


def run_stage(program: Program, stage: str, run: StageRun, kept: Path) -> dict[str, Metric]:
    """Runs a stage; fills `kept`, its folder in the store, and returns its metrics.

    Raises UserError, with the end of the log, where the program failed; Interrupted where the run is to stop.
    """
    folder, log = kept / "work", kept / LOG
    folder.mkdir()
    temporary = Path(tempfile.mkdtemp(prefix="fairway-"))  # a short path: sockets are made in it
    try:
        states = workspace.fill(folder, program, keep_code(program, run.store), _left_before(program, stage, run))
        with free_port() as port:
            place = Place(folder, temporary, port, run.num_ranks)
            write_knobs(program, stage, folder)
            end = run_command(
                command_of(program, stage, place),
                folder,
                environment_of(program, stage, place),
                log,
                program,
                stage,
                _seconds_left(program, run),
                run.show,
                run.stopping,
            )
        return _finished(program, stage, run, kept, end, workspace.changed(states))
    except Interrupt:
        raise Interrupted(stage) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def _finished(
    program: Program, stage: str, run: StageRun, kept: Path, end: End, changed: list[Path]
) -> dict[str, Metric]:
    folder = kept / "work"
    fault = failure_words(program, stage, end, folder, changed)
    limited_bytes = _limited_bytes(program, folder)
    if not fault:
        _keep_read_files(program, folder, kept)
        try:
            workspace.keep_left(folder, program.stage(stage).leaves, stage, kept)
        except UserError as missing:
            fault = str(missing)
    if fault:
        if end.limit == "seconds" and program.limits.seconds:
            run.store.mark_exceeded(stage, run.fingerprints[stage], program.limits.seconds)
        raise UserError(with_log(fault, kept / LOG, _keep_log(run.store, stage, run.fingerprints[stage], kept / LOG)))
    metrics: dict[str, Metric] = {
        "seconds": round(end.seconds, 3),
        "process_peak_bytes": end.peak_bytes,
        "left_over_processes": end.left,
    }
    if limited_bytes is not None:
        metrics["limited_file_bytes"] = limited_bytes
    if end.readings is None:
        return metrics
    if end.readings.curve and stage == program.curve_stage:
        (kept / CURVE_FILE).write_text(end.readings.curve_csv, encoding="utf-8")
    return metrics | _numbers(program, end.readings)


def _numbers(program: Program, readings: Readings) -> dict[str, Metric]:
    """What was read, with the hash of the patterns; NaN and infinity are kept as text: JSON has no such numbers."""
    numbers: dict[str, Metric] = {}
    for name, value in readings.metrics.items():
        numbers[name] = value if math.isfinite(value) else str(value)
    counted = readings.counts.get(program.headline, 0)
    return numbers | {READ_BY: program.readings_digest} | ({NUM_READ: counted} if counted else {})


def read_again(program: Program, outcome: StageOutcome, store: StageStore) -> StageOutcome:
    """The outcome with its numbers by the program's present patterns: from the kept output, if they were others."""
    if outcome.metrics.get(READ_BY) == program.readings_digest:
        return outcome
    own = {name: value for name, value in outcome.metrics.items() if name in OWN_METRICS}
    content = store.read_file(outcome.stage, outcome.fingerprint, LOG)
    with tempfile.TemporaryDirectory(prefix="fairway-") as place:
        log = Path(place) / LOG
        log.write_bytes(content or b"")
        files = {}
        for name in (source.file for sources in program.metrics.values() for source in sources if source.file):
            kept = store.read_file(outcome.stage, outcome.fingerprint, read_name(name))
            if kept is not None:
                files[name] = Path(place) / encoded(name)
                files[name].write_bytes(kept)
        readings = read_output(program, log, files)
    return outcome.model_copy(update={"metrics": {**own, **_numbers(program, readings)}})


def _left_before(program: Program, stage: str, run: StageRun) -> dict[str, Path]:
    left: dict[str, Path] = {}
    for earlier in program.stage_names[: program.stage_names.index(stage)]:
        left |= left_by(program, earlier, run.store, run.fingerprints[earlier])
    return left


def left_by(program: Program, stage: str, store: StageStore, fingerprint: str) -> dict[str, Path]:
    """The files that a finished stage left to the next, by their path below its working folder."""
    there = workspace.left_in(store.folder(stage, fingerprint))
    return {path: file for path, file in there.items() if program.stage(stage).does_leave(path)}


def _keep_read_files(program: Program, folder: Path, kept: Path) -> None:
    """Files that metrics are read from are kept, so that other keys of them can be read later."""
    for name, path in workspace.read_files(folder, program).items():
        shutil.copy(path, kept / read_name(name))


def _limited_bytes(program: Program, folder: Path) -> int | None:
    """Size of the file that `limits.bytes` names, the largest that matches; None where there is none."""
    limited = program.limits.bytes
    found = workspace.files_below(folder, limited.file) if limited else []
    return max((path.stat().st_size for path in found), default=None)


def _seconds_left(program: Program, run: StageRun) -> float | None:
    """Of `limits.seconds`, which all stages share; computed or not."""
    if program.limits.seconds is None:
        return None
    used_s = sum(float(outcome.metrics.get("seconds") or 0.0) for outcome in run.outcomes.values())
    return max(program.limits.seconds - used_s, 0.1)


def _keep_log(store: StageStore, stage: str, fingerprint: str, log: Path) -> Path:
    kept = store.failed_log(stage, fingerprint)
    shutil.copy(log, kept)
    return kept
