"""Writes a submission folder: script, metadata, logs, artifacts, and the validation text where it is small.

Takes rows that were read from a sweep and bytes that were read from its store; decides which form of the script counts.
Refuses, with the amount, what is over a limit of the contest.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from results.submission.flatten import flatten
from results.submission.frozen_recipe import without_places
from results.submission.manifest import (
    DATA,
    FILE,
    LIMIT_BYTES,
    LIMIT_S,
    README,
    REQUIREMENTS,
    SCRIPT,
    SOURCE,
    AcceptanceClaim,
    Fairway,
    FileEntry,
    SeedFiles,
    SeedResult,
    Submission,
    ValidationText,
    over_seeds,
)
from results.submission.packed_script import packed
from results.submission.texts import CurvePoint, log_text, readme_text, requirements_text
from trainer.spec.environment import PACKAGE, code_digest, commit
from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import TOKENIZER_FILE

Code = Literal["auto", "readable", "packed"]
INCLUDED_BYTES = 4_000_000
"""Validation shards up to this size are part of the folder."""


@dataclass(frozen=True)
class PackagedRun:
    """What a run of the configuration left."""

    seed: int
    val_loss: float
    val_bpb: float
    steps: int
    train_s: float
    calibration_s: float
    eval_s: float
    ledger_digest: str
    ledger: bytes | None
    """What the digest covers; None of a run that an earlier version scored."""
    artifact: bytes
    curve: Sequence[CurvePoint]


@dataclass(frozen=True)
class ScoredText:
    """The validation text of the runs."""

    tokens: int
    num_bytes: int
    documents: int | None
    shards: Sequence[Path]
    tokenizer: bytes


@dataclass(frozen=True)
class About:
    """What the folder says of its origin."""

    sweep: str
    config: str
    label: str
    preset: str
    commit: str
    hardware: str
    versions: str
    headline: Literal["evaluate", "adapt"]
    name: str
    author: str
    github_id: str
    blurb: str
    date: str
    track: str


@functools.lru_cache(maxsize=8)
def make_script(recipe: Recipe, name: str, digest: str) -> str:
    """The readable script of a recipe, as `verify_folder` makes it again."""
    return flatten(without_places(recipe), f"{name.rstrip('.')}.", digest)


def write_package(
    out: Path,
    recipe: Recipe,
    runs: Sequence[PackagedRun],
    text: ScoredText,
    about: About,
    acceptance: AcceptanceClaim,
    code: Code = "auto",
) -> Submission:
    """Writes the folder, whole or not at all.

    recipe:      with the first run's seed
    acceptance:  made from the scores of these runs
    Raises UserError for a folder that holds something, and for runs over a limit of the contest.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not empty; name a new folder")
    digest = code_digest(PACKAGE)
    source = make_script(recipe, about.name, digest)
    script = _counted_script(source, code, max(len(run.artifact) for run in runs))
    if problems := [problem for run in runs for problem in over_limits(run, len(script))]:
        raise UserError("\n".join(["these runs are over the contest's limits", *(f"  {line}" for line in problems)]))
    files: dict[str, bytes] = {SCRIPT: script}
    if script != source.encode():
        files[SOURCE] = source.encode()
    files |= {artifact_name(run.seed): run.artifact for run in runs}
    files |= {ledger_name(run.seed): run.ledger for run in runs if run.ledger is not None}
    validation = _validation(text, recipe, files)
    results = {str(run.seed): result_of(run, len(script)) for run in runs}
    extra = Fairway(
        format=1,
        sweep=about.sweep,
        config=about.config,
        label=about.label,
        preset=about.preset,
        commit=about.commit,
        script_commit=commit(),
        code_digest=digest,
        headline=about.headline,
        recipe=without_places(recipe).model_dump(mode="json"),
        runs={str(run.seed): _files(run) for run in runs},
        validation=validation,
        acceptance=acceptance,
        files={},
    )
    submission = Submission(
        author=about.author,
        github_id=about.github_id,
        name=about.name,
        blurb=about.blurb,
        date=about.date,
        track=about.track,
        seeds=tuple(run.seed for run in runs),
        seed_results=results,
        bytes_code=len(script),
        hardware=about.hardware,
        versions=about.versions,
        comparison_baseline=acceptance.incumbent,
        fairway=extra,
        **over_seeds(results),
    )
    return _write(out, submission, files, runs)


def artifact_name(seed: int) -> str:
    """File of a seed's artifact."""
    return f"artifact_seed{seed}.bin"


def log_name(seed: int) -> str:
    """File of a seed's log."""
    return f"train_seed{seed}.log"


def ledger_name(seed: int) -> str:
    """File of what a seed's ledger did."""
    return f"ledger_seed{seed}.json"


def entry_of(content: bytes) -> FileEntry:
    """Size and digest of a file's content."""
    return FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def entry_of_file(path: Path) -> FileEntry:
    """The same of a file that may be large."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return FileEntry(bytes=path.stat().st_size, sha256=digest.hexdigest())


def over_limits(run: PackagedRun | SeedResult, code_bytes: int) -> list[str]:
    """Each limit of the contest that a run exceeds, and by how much."""
    who = f"seed {run.seed}: " if isinstance(run, PackagedRun) else ""
    if isinstance(run, PackagedRun):
        model_bytes, train_s, eval_s = len(run.artifact), run.train_s + run.calibration_s, run.eval_s
    else:
        model_bytes, eval_s = run.model_bytes, run.eval_time_s
        train_s = run.train_time_s + run.calibration_time_s
    total = model_bytes + code_bytes
    measured = (
        (total, LIMIT_BYTES, "bytes of code and artifact", ","),
        (train_s, LIMIT_S, "s of training and calibration", ".1f"),
        (eval_s, LIMIT_S, "s of scoring", ".1f"),
    )
    return [
        f"{who}{value:{form}} {unit}, {value - limit:{form}} more than {limit:,g}"
        for value, limit, unit, form in measured
        if value > limit
    ]


def _counted_script(source: str, code: Code, model_bytes: int) -> bytes:
    readable = source.encode()
    if code == "readable" or (code == "auto" and len(readable) + model_bytes <= LIMIT_BYTES):
        return readable
    return min(packed(source), readable, key=len)


def result_of(run: PackagedRun, code_bytes: int) -> SeedResult:
    """The numbers of a run in the contest's names, with this many bytes of code."""
    return SeedResult(
        val_loss=run.val_loss,
        val_bpb=run.val_bpb,
        model_bytes=len(run.artifact),
        artifact_bytes=len(run.artifact) + code_bytes,
        steps=run.steps,
        train_time_s=run.train_s,
        calibration_time_s=run.calibration_s,
        eval_time_s=run.eval_s,
    )


def _files(run: PackagedRun) -> SeedFiles:
    return SeedFiles(
        artifact=artifact_name(run.seed),
        log=log_name(run.seed),
        ledger=None if run.ledger is None else ledger_name(run.seed),
        ledger_digest=run.ledger_digest,
    )


def _validation(text: ScoredText, recipe: Recipe, files: dict[str, bytes]) -> ValidationText:
    """Digests of the scored text; where it is small, its files are added to `files`."""
    included = sum(path.stat().st_size for path in text.shards) <= INCLUDED_BYTES
    if included:
        files |= {f"{DATA}/{path.name}": path.read_bytes() for path in text.shards}
        files[f"{DATA}/{TOKENIZER_FILE}"] = text.tokenizer
    return ValidationText(
        tokens=text.tokens,
        bytes=text.num_bytes,
        documents=text.documents,
        vocab_size=recipe.data.vocab_size,
        shards={path.name: entry_of_file(path) for path in text.shards},
        tokenizer=entry_of(text.tokenizer),
        included=included,
    )


def _write(out: Path, submission: Submission, files: Mapping[str, bytes], runs: Sequence[PackagedRun]) -> Submission:
    files = dict(files)
    listed = submission.model_copy(update={"fairway": submission.fairway.model_copy(update={"files": _entries(files)})})
    for run in runs:
        files[log_name(run.seed)] = log_text(listed, str(run.seed), list(run.curve)).encode()
    files[README] = readme_text(listed).encode()
    files[REQUIREMENTS] = requirements_text(listed).encode()
    whole = submission.model_copy(update={"fairway": submission.fairway.model_copy(update={"files": _entries(files)})})
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for name, content in {**files, FILE: whole.as_text().encode()}.items():
            (aside / name).parent.mkdir(exist_ok=True)
            (aside / name).write_bytes(content)
        aside.chmod(0o755)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return whole


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {name: entry_of(files[name]) for name in sorted(files)}
