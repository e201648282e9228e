"""A run of a program: each stage is taken from the store or computed, then the record is written once.

One process, which holds all GPUs of its slot: a program starts its own ranks. What a stage printed is read by the
patterns of this run, also where another run computed it. Imports no torch.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainer.program.code_store import read_name
from trainer.program.failure import hint_of_encoding, hint_of_names, last_error, with_log
from trainer.program.reading import Live
from trainer.program.stage import LOG, StageRun, read_again, run_stage
from trainer.spec.environment import machine_facts
from trainer.spec.errors import Interrupted, StoreError, StoreFull, UserError
from trainer.spec.fingerprint import workload
from trainer.spec.messages import Progress
from trainer.spec.program import Program
from trainer.spec.record import Record, StageOutcome, now
from trainer.stages.run_record import RunRequest, fingerprints_of, keep_record, make_record
from trainer.store.local import Claim, StageStore
from trainer.store.unreadable import refuse_failing_disk

POLL_S = 0.2


def run_program(
    request: RunRequest,
    store: StageStore,
    num_ranks: int = 1,
    report: Callable[[Progress], None] = lambda progress: None,
    stopping: Callable[[], bool] = lambda: False,
    machine: str = "",
) -> Record:
    """Computes the missing stages of a run and writes its record.

    num_ranks:  GPUs of the slot, or processes on a CPU
    Raises Interrupted if `stopping` returns true, and StoreFull; then no record is written. Anything else that goes
    wrong becomes a failed record.
    """
    program = request.load_recipe()
    assert isinstance(program, Program)
    started_at, facts = now(), machine_facts(machine)
    outcomes: dict[str, StageOutcome] = {}
    stages_run: list[str] = []
    error = ""
    try:
        fingerprints = fingerprints_of(program, num_ranks)
        for stage in program.stage_names:
            run = StageRun(
                store, fingerprints, dict(outcomes), num_ranks, _shown(request.run_id, stage, report), stopping
            )
            outcome, computed = _obtain(program, stage, run, request.run_id, facts["name"], report)
            outcomes[stage] = read_again(program, outcome, store)
            if computed:
                stages_run.append(stage)
        error = complaint_about(program, outcomes, store)
    except (Interrupted, StoreFull):
        raise
    except UserError as mistake:
        error = str(mistake)
    except Exception as fault:
        refuse_failing_disk(fault)
        store.check_writable()  # raises StoreFull: an error caused by a full disk is no result
        traceback.print_exc()
        error = f"{type(fault).__name__}: {fault}"
    record = make_record(request, program, outcomes, stages_run, started_at, num_ranks, error, facts)
    keep_record(request, record)
    return record


def adopt_program(request: RunRequest, store: StageStore, num_ranks: int, place: str = "") -> Record | None:
    """The run's record if every stage of its program is in the store, else None. `place`: as in `fingerprints_of`."""
    program = request.load_recipe()
    assert isinstance(program, Program)
    outcomes: dict[str, StageOutcome] = {}
    error = ""
    for stage, fingerprint in fingerprints_of(program, num_ranks, place).items():
        stored = store.find(stage, fingerprint)
        if stored is None:
            return None
        outcomes[stage] = stored
    try:
        outcomes = {stage: read_again(program, outcome, store) for stage, outcome in outcomes.items()}
        error = complaint_about(program, outcomes, store)
    except UserError as mistake:
        error = str(mistake)
    return make_record(request, program, outcomes, (), now(), num_ranks, error)


def _shown(run_id: str, stage: str, report: Callable[[Progress], None]) -> Callable[[Live], None]:
    return lambda live: report(Progress(run_id, stage, live.fraction, live.words))


def _obtain(
    program: Program, stage: str, run: StageRun, run_id: str, machine: str, report: Callable[[Progress], None]
) -> tuple[StageOutcome, bool]:
    """Takes a stage from the store or computes it; returns its outcome and whether this run computed it."""
    fingerprint = run.fingerprints[stage]
    report(Progress(run_id, stage, 0.0))
    while True:
        if run.stopping():
            raise Interrupted(run_id)
        if stored := run.store.find_intact(stage, fingerprint):
            return stored, False
        _refuse_exceeded(program, stage, run)
        if claim := run.store.claim(stage, fingerprint):
            return _claimed(program, stage, run, machine, claim)
        report(Progress(run_id, stage, 0.0, "waiting for another run that computes this stage"))
        time.sleep(POLL_S)


def _refuse_exceeded(program: Program, stage: str, run: StageRun) -> None:
    limit_s = program.limits.seconds
    exceeded_s = run.store.exceeded_s(stage, run.fingerprints[stage])
    if limit_s is not None and exceeded_s is not None and exceeded_s >= limit_s:
        raise UserError(
            f"stage {stage} did not end within limits.seconds = {exceeded_s:g} in an earlier run; its log: "
            f"{run.store.failed_log(stage, run.fingerprints[stage])}"
        )


def _claimed(program: Program, stage: str, run: StageRun, machine: str, claim: Claim) -> tuple[StageOutcome, bool]:
    fingerprint = run.fingerprints[stage]
    try:
        if stored := run.store.find_intact(stage, fingerprint):  # another run finished it in between
            return stored, False
        started_at, started_s = now(), time.monotonic()
        with run.store.writing(stage, fingerprint) as folder:
            metrics = run_stage(program, stage, run, folder)
            outcome = StageOutcome(
                stage=stage,
                fingerprint=fingerprint,
                seconds=time.monotonic() - started_s,
                started_at=started_at,
                host=machine,
                metrics=metrics,
                workload=workload(program, stage),
            )
            try:
                return run.store.publish(folder, outcome), True
            except (OSError, StoreError) as fault:
                raise StoreFull(f"{stage}: its folder cannot be kept: {fault}") from None
    finally:
        claim.release()


def complaint_about(program: Program, outcomes: Mapping[str, StageOutcome], store: StageStore) -> str:
    """Why a run whose stages all ended has no result: no score, one that is no number, a limit; or ''."""
    numbers = {name: value for outcome in outcomes.values() for name, value in outcome.metrics.items()}
    last = outcomes[program.stage_names[-1]]
    log = store.folder(last.stage, last.fingerprint) / LOG
    folders = [store.folder(outcome.stage, outcome.fingerprint) for outcome in outcomes.values()]
    left = last.metrics.get("left_over_processes")
    score = numbers.get(program.headline)
    if program.evaluates_in(last.stage):
        numbers = {"eval_s": last.metrics.get("seconds"), **numbers}
    fault = _score_fault(program, score, log, folders) or _limit_fault(program, numbers)
    fault += _left_words(int(left or 0)) if score is None else ""
    return with_log(fault, log, log) if fault else ""


def _left_words(left: int) -> str:
    """What is to be known where no score came of a program that did not wait for what it began."""
    if not left:
        return ""
    who = (
        "1 process that it had started still ran when it ended, and was"
        if left == 1
        else (f"{left} processes that it had started still ran when it ended, and were")
    )
    return f". {who} ended too: let it wait for what it starts"


def _score_fault(program: Program, score: object, log: Path, folders: Sequence[Path]) -> str:
    """log: of the last stage; folders: of all stages, where what a metric is read from may be kept"""
    if score is None:
        files = [source.file for source in program.metrics[program.headline] if source.file in program.kept_files]
        if files:
            there = [name for name in files if any((folder / read_name(name)).exists() for folder in folders)]
            return (
                f"no {program.headline} was found in {', '.join(there)}; what was written is kept beside the log, so a "
                "corrected key or pattern reads it again without running anything"
                if there
                else f"no {program.headline} was found: the program wrote no {', '.join(files)} in its working folder"
            )
        return (
            f"no {program.headline} was found in what the program printed{last_error(log)}"
            f"{hint_of_encoding(log) or hint_of_names(program.headline, log)}; its "
            "output is kept, so a corrected pattern reads it again without running anything"
        )
    if isinstance(score, str) or (isinstance(score, float) and not math.isfinite(score)):
        return f"{program.headline} = {score}: the program printed a score that is no finite number"
    return ""


def _limit_fault(program: Program, numbers: Mapping[str, object]) -> str:
    for name in ("train_s", "eval_s"):
        limit, used = getattr(program.limits, name), numbers.get(name)
        if limit is not None and isinstance(used, int | float) and used > limit:
            return f"{name} = {used:.6g} exceeds limits.{name} = {limit:g}"
    limited, size = program.limits.bytes, numbers.get("limited_file_bytes")
    if limited and size is None:
        return f"{limited.file}, whose size limits.bytes limits, was not written"
    if limited and isinstance(size, int | float) and size > limited.at_most:
        return f"{limited.file} has {int(size):,} bytes, more than limits.bytes.at_most = {limited.at_most:,}"
    return ""
