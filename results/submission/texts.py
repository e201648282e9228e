"""README and logs of a submission folder: pure functions of its submission.json, and of a run's learning curve.

So a number can be changed in one place only by being wrong in another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from results.submission.manifest import (
    DATA,
    LIMIT_BYTES,
    LIMIT_S,
    REQUIREMENTS,
    SCRIPT,
    SOURCE,
    Submission,
)
from results.verdicts.policies import POLICIES
from trainer.spec.errors import UserError
from trainer.spec.printable import printable
from trainer.spec.record import run_id_of
from trainer.spec.stage_table import TOKENIZER_FILE

PACKAGES = ("torch", "numpy", "safetensors", "sentencepiece", "protobuf", "zstandard", "brotli")
"""What the script imports beside the standard library."""
CODERS = {"zstandard": "zstd", "brotli": "brotli"}
"""Packages of which a script needs one alone, and the `quantization.compressor` that needs it."""
LEAST = {"torch": "2.6", "numpy": "2", "sentencepiece": "0.2", "protobuf": "5", "safetensors": "0.4"}
STEP = re.compile(r"step:(\d+)/(\d+) train_loss:(-?\d+\.\d+) lr_multiplier:(\d+\.\d+) train_time_s:(\d+\.\d+)")
CURVE_COLUMNS = "step,train_loss,multiplier,elapsed_s"


@dataclass(frozen=True)
class CurvePoint:
    """One training step."""

    step: int
    """Counted from 0."""
    train_loss: str
    multiplier: str
    elapsed_s: str
    """As the training wrote them."""


def read_curve(text: str) -> list[CurvePoint]:
    """The points of a training's `curve.csv`. Raises UserError for anything else."""
    header, *lines = text.splitlines() or [""]
    cells = [line.split(",") for line in lines]
    if header != CURVE_COLUMNS or any(len(row) != 4 for row in cells):
        raise UserError(f"the learning curve has columns {header[:80]!r}; expected {CURVE_COLUMNS}")
    return [CurvePoint(int(step), loss, multiplier, elapsed) for step, loss, multiplier, elapsed in cells]


def log_text(submission: Submission, seed: str, curve: list[CurvePoint]) -> str:
    """The log of one seed's run."""
    steps = submission.seed_results[seed].steps
    middle = [
        f"step:{point.step + 1}/{steps} train_loss:{point.train_loss} lr_multiplier:{point.multiplier} "
        f"train_time_s:{point.elapsed_s}"
        for point in curve
    ]
    return "\n".join([*log_head(submission, seed), *middle, *log_foot(submission, seed)]) + "\n"


def log_head(submission: Submission, seed: str) -> list[str]:
    """The lines before the first step."""
    extra = submission.fairway
    return [
        f"run {run_id_of(extra.config, int(seed))} of sweep {extra.sweep}, seed {seed}, preset {extra.preset}, "
        f"{extra.label}, {submission.date}",
        f"trainer {extra.commit}, script {extra.script_commit}",
        f"hardware {submission.hardware}",
        f"versions {submission.versions}",
    ]


def log_foot(submission: Submission, seed: str) -> list[str]:
    """The lines after the last step."""
    run, extra = submission.seed_results[seed], submission.fairway
    text = extra.validation
    return [
        f"stopping: {run.steps} steps, train_time_s:{run.train_time_s!r} calibration_time_s:{run.calibration_time_s!r}",
        f"Total submission size: {run.artifact_bytes} bytes = {submission.bytes_code} of code + {run.model_bytes}",
        f"final_{extra.headline}_exact val_loss:{run.val_loss!r} val_bpb:{run.val_bpb!r} "
        f"eval_time_s:{run.eval_time_s!r}",
        f"scored {text.tokens} tokens, {text.bytes} bytes, {text.documents} documents; ledger "
        f"{extra.runs[seed].ledger_digest}",
    ]


def steps_of_log(text: str, submission: Submission, seed: str) -> list[CurvePoint]:
    """The steps between head and foot of a log. Raises UserError for the first line that is none."""
    head, foot, lines = log_head(submission, seed), log_foot(submission, seed), text.splitlines()
    between = lines[len(head) : len(lines) - len(foot)]
    points = []
    for number, line in enumerate(between, start=len(head) + 1):
        match = STEP.fullmatch(line)
        if match is None:
            raise UserError(f"line {number} is no step of a training: {line[:80]!r}")
        points.append(CurvePoint(int(match[1]) - 1, match[3], match[4], match[5]))
    return points


def requirements_text(submission: Submission) -> str:
    """The packages that the script imports, one a line."""
    needed = required_packages(submission.fairway.whole_recipe().quantization.compressor)
    return "".join(f"{name}>={LEAST[name]}\n" if name in LEAST else f"{name}\n" for name in needed)


def required_packages(compressor: str) -> list[str]:
    """Names of the packages that the script of a recipe with this compressor imports."""
    return [name for name in PACKAGES if CODERS.get(name, compressor) == compressor]


def readme_text(submission: Submission, names_test: bool = True) -> str:
    """The README: results, budgets, acceptance, how to run and verify, model card.

    names_test:  whether it names the test of its rule; packages of version 0.1 do not
    """
    text = "\n".join(
        [
            f"# {submission.name}",
            "",
            *([submission.blurb, ""] if submission.blurb else []),
            *_results(submission),
            *_budgets(submission),
            *_acceptance(submission, names_test),
            *_use(submission),
            *_files(submission),
            *_model_card(submission),
        ]
    )
    return printable(text)


def _results(submission: Submission) -> Iterator[str]:
    yield "## Results"
    yield ""
    yield "| seed | val_bpb | val_loss | steps | train (s) | score (s) | model (bytes) | with code (bytes) |"
    yield "|---|---|---|---|---|---|---|---|"
    for seed, run in submission.seed_results.items():
        train_s = run.train_time_s + run.calibration_time_s
        yield (
            f"| {seed} | {run.val_bpb:.8f} | {run.val_loss:.8f} | {run.steps} | {train_s:.1f} | {run.eval_time_s:.1f} "
            f"| {run.model_bytes:,} | {run.artifact_bytes:,} |"
        )
    spread = "" if submission.val_bpb_std is None else f", standard deviation {submission.val_bpb_std:.8f}"
    yield ""
    yield f"Mean val_bpb {submission.val_bpb:.8f}{spread}, over every seed that was declared for this configuration."
    yield ""


def _budgets(submission: Submission) -> Iterator[str]:
    train_s = max(run.train_time_s + run.calibration_time_s for run in submission.seed_results.values())
    eval_s = max(run.eval_time_s for run in submission.seed_results.values())
    yield "## Budgets"
    yield ""
    yield "| limit | largest | left |"
    yield "|---|---|---|"
    yield (
        f"| code and artifact, {LIMIT_BYTES:,} bytes | {submission.bytes_total:,} "
        f"| {LIMIT_BYTES - submission.bytes_total:,} |"
    )
    yield f"| training with calibration, {LIMIT_S:g} s | {train_s:.1f} | {LIMIT_S - train_s:.1f} |"
    yield f"| scoring, {LIMIT_S:g} s | {eval_s:.1f} | {LIMIT_S - eval_s:.1f} |"
    yield ""
    yield f"Measured on {submission.hardware}. The code counts with {submission.bytes_code:,} bytes of {SCRIPT}."
    yield ""


def _acceptance(submission: Submission, names_test: bool) -> Iterator[str]:
    claim = submission.fairway.acceptance
    yield "## Would it be accepted?"
    yield ""
    yield claim.sentence
    if claim.policy in POLICIES:
        yield ""
        yield f"Rule {claim.policy}: {POLICIES[claim.policy].rule}."
        if names_test:
            yield f"Its test: {POLICIES[claim.policy].test_in_words}."
    if claim.scores:
        runs = ", ".join(f"{one.val_bpb:.8f}" for one in claim.scores)
        yield ""
        yield f"Scores of {claim.incumbent}, bits per byte: {runs}."
    yield ""


def _use(submission: Submission) -> Iterator[str]:
    seed, artifact = next((seed, files.artifact) for seed, files in submission.fairway.runs.items())
    yield "## Run and verify"
    yield ""
    yield "```"
    yield f"pip install -r {REQUIREMENTS}"
    yield f"python {SCRIPT} --data FOLDER --seed {seed}    # train, export, score; FOLDER holds shards and tokenizer"
    yield f"python {SCRIPT} --data {DATA} --seed {seed} --evaluate {artifact}"
    yield "orchestrator verify ."
    yield "```"
    yield ""
    shards = f"fineweb_train_*.bin, fineweb_val_*.bin and {TOKENIZER_FILE}"
    yield f"FOLDER holds {shards}. Python 3.10 or newer; scoring needs no training data and no network."
    yield ""


def _files(submission: Submission) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield f"- `{SCRIPT}`: the counted code, one file without further modules."
    if any(name == SOURCE for name in submission.fairway.files):
        yield f"- `{SOURCE}`: the same to be read; `{SCRIPT}` is its compressed form."
    for seed, files in submission.fairway.runs.items():
        yield f"- `{files.artifact}`, `{files.log}`: counted weights and log of seed {seed}."
        if files.ledger is not None:
            yield f"- `{files.ledger}`: what was scored and learned from, in which order."
    if submission.fairway.validation.included:
        yield f"- `{DATA}/`: validation shards and tokenizer."
    yield ""


def _model_card(submission: Submission) -> Iterator[str]:
    extra, text = submission.fairway, submission.fairway.validation
    recipe = extra.whole_recipe()
    tested = {
        "off": "none",
        "score_first": "each chunk of the text is scored before the model learns from it",
    }.get(recipe.ttt.mode, "another kind")
    corpus = {
        "stdlib": "the source text of the Python standard library",
        "shards": "FineWeb-style shards in the challenge's format",
    }.get(recipe.data.source, "another text")
    yield "## Model card"
    yield ""
    yield (
        f"- **Model**: decoder-only transformer, {recipe.model.num_layers} layers of width "
        f"{recipe.model.model_dim}, {text.vocab_size:,} tokens; preset {extra.preset}, {extra.label}."
    )
    rounded = recipe.quantization
    yield f"- **Weights**: matrices of {rounded.matrix_bits} bits, compressed by {rounded.compressor}."
    yield f"- **Training data**: {corpus}; no validation text was read in training."
    yield (
        f"- **Evaluation**: {text.tokens:,} tokens that stand for {text.bytes:,} bytes, each scored once; "
        f"bits per byte; test-time training: {tested}."
    )
    yield "- **Intended use**: research on small language models under a byte limit. Not for producing text for people."
    yield "- **Limits**: trained for minutes; output may be wrong, biased or copied from the training text."
    yield ""
