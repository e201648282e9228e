"""The checks of a submission folder that read it and compute again what it claims; nothing is scored here.

Each yields a line for every claim that does not hold.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.submission.acceptance_claim import acceptance_claim
from results.submission.frozen_recipe import without_places
from results.submission.manifest import (
    DATA,
    FILE,
    LIMIT_BYTES,
    README,
    REQUIREMENTS,
    SCRIPT,
    SOURCE,
    Submission,
    over_seeds,
)
from results.submission.package_folder import artifact_name, entry_of_file, log_name, over_limits
from results.submission.texts import log_foot, log_head, readme_text, requirements_text, steps_of_log
from trainer.spec.errors import UserError
from trainer.spec.json_text import parse_json
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import TOKENIZER_FILE, headline_stage

LARGEST_TEXT_BYTES = 2**26
"""Of a log, README or script that is read."""
MOST_FILES = 1000
MOST_PASSES = 100
"""Times that the positions of a text may be scored and learned from, over all ranks."""
NEAR = 1e-9
"""Relative difference of a number that was computed again."""


OrderOf = Callable[[Mapping[str, Any]], list[str]]
"""What is wrong with the order of score and train events in a ledger's summary."""


@dataclass(frozen=True)
class Checked:
    """A folder with its claims, and the script that its recipe gives."""

    folder: Path
    submission: Submission
    recipe: Recipe
    script: str
    order_of: OrderOf

    def path(self, name: str) -> Path:
        return self.folder / name

    def text(self, name: str) -> str:
        """A text file of the folder. Raises UserError where there is none to read."""
        path = self.path(name)
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{name} is missing")
        if path.stat().st_size > LARGEST_TEXT_BYTES:
            raise UserError(f"{name} has {path.stat().st_size:,} bytes; at most {LARGEST_TEXT_BYTES:,} are read")
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{name} is no UTF-8 text at byte {error.start}") from None


def _files(checked: Checked) -> Iterator[str]:
    """Every listed file is there with its size and digest, and no other one is."""
    listed = checked.submission.fairway.files
    present: set[str] = set()
    for number, path in enumerate(sorted(checked.folder.rglob("*"))):
        name = path.relative_to(checked.folder).as_posix()
        if number >= MOST_FILES:
            yield f"the folder holds more than {MOST_FILES:,} files"
            return
        if path.is_symlink():
            yield f"{name} is a link; expected a file"
        elif path.is_file():
            present.add(name)
        elif not path.is_dir() or name != DATA:
            yield f"{name} is not part of a submission"
    yield from (f"{name} is not listed in {FILE}" for name in sorted(present - {FILE, *listed}))
    for name, entry in listed.items():
        if name not in present:
            yield f"{name} is missing"
        elif (size := checked.path(name).stat().st_size) != entry.bytes:
            yield f"{name} has {size:,} bytes; {FILE} lists {entry.bytes:,}"
        elif entry_of_file(checked.path(name)).sha256 != entry.sha256:
            yield f"{name} was changed: its SHA-256 differs from the one in {FILE}"


def _seeds(checked: Checked) -> Iterator[str]:
    """Seeds, results, artifacts and logs belong to one another."""
    claim, listed = checked.submission, checked.submission.fairway.files
    seeds = {str(seed) for seed in claim.seeds}
    if len(seeds) != len(claim.seeds) or not seeds:
        yield "seeds names a seed twice, or none"
    for name, there in (("seed_results", claim.seed_results), ("fairway.runs", claim.fairway.runs)):
        if set(there) != seeds:
            yield f"{name} has seeds {', '.join(sorted(there)) or 'none'}; seeds has {', '.join(sorted(seeds))}"
    expected = {SCRIPT, README, REQUIREMENTS, *map(artifact_name, claim.seeds), *map(log_name, claim.seeds)}
    expected |= {files.ledger for files in claim.fairway.runs.values() if files.ledger is not None}
    yield from (f"{name} is not listed among fairway.files" for name in sorted(expected - set(listed)))
    shards = {f"{DATA}/{name}" for name in claim.fairway.validation.shards}
    known = expected | shards | {SOURCE, f"{DATA}/{TOKENIZER_FILE}"}
    yield from (f"{name} is listed among fairway.files and belongs to no seed" for name in sorted(set(listed) - known))
    for seed, files in claim.fairway.runs.items():
        if (files.artifact, files.log) != (f"artifact_seed{seed}.bin", f"train_seed{seed}.log"):
            yield f"seed {seed} names {files.artifact} and {files.log} as its artifact and log"
        if files.ledger is not None and (files.ledger != f"ledger_seed{seed}.json" or files.ledger not in listed):
            yield f"seed {seed} names {files.ledger} as its ledger"


def _bytes(checked: Checked) -> Iterator[str]:
    """The counted bytes are those of the files."""
    claim = checked.submission
    if (size := checked.path(SCRIPT).stat().st_size if checked.path(SCRIPT).is_file() else 0) != claim.bytes_code:
        yield f"bytes_code = {claim.bytes_code:,}; {SCRIPT} has {size:,}"
    for seed, run in claim.seed_results.items():
        path = checked.path(f"artifact_seed{seed}.bin")
        size = path.stat().st_size if path.is_file() else 0
        if run.model_bytes != size:
            yield f"seed {seed}: model_bytes = {run.model_bytes:,}; {path.name} has {size:,}"
        if run.artifact_bytes != run.model_bytes + claim.bytes_code:
            yield (
                f"seed {seed}: artifact_bytes = {run.artifact_bytes:,}; code and artifact are "
                f"{run.model_bytes + claim.bytes_code:,}"
            )


def _budgets(checked: Checked) -> Iterator[str]:
    """Every run is within the contest's limits and those of its recipe."""
    claim, budget = checked.submission, checked.recipe.budget
    for seed, run in claim.seed_results.items():
        yield from (f"seed {seed}: {problem}" for problem in over_limits(run, claim.bytes_code))
        train_s = run.train_time_s + run.calibration_time_s
        if budget.train_s is not None and train_s > budget.train_s:
            yield f"seed {seed}: {train_s:.1f} s of training, {train_s - budget.train_s:.1f} more than budget.train_s"
        if run.eval_time_s > budget.eval_s:
            over_s = run.eval_time_s - budget.eval_s
            yield f"seed {seed}: {run.eval_time_s:.1f} s of scoring, {over_s:.1f} more than budget.eval_s"
        if budget.train_steps is not None and run.steps > budget.train_steps:
            yield f"seed {seed}: {run.steps:,} steps, more than budget.train_steps = {budget.train_steps:,}"


def _legality(checked: Checked) -> Iterator[str]:
    """The recipe's evaluation is legal, and is the headline."""
    recipe, extra = checked.recipe, checked.submission.fairway
    if recipe.ttt.mode == "pre_eval":
        yield "ttt.mode = pre_eval learns the text before it is scored (condition E3, docs/recipe.md 1.4)"
    if headline_stage(recipe) != extra.headline:
        yield f"fairway.headline = {extra.headline}; the recipe's headline is {headline_stage(recipe)}"
    if recipe.data.vocab_size != extra.validation.vocab_size:
        yield f"validation.vocab_size = {extra.validation.vocab_size}; the recipe has {recipe.data.vocab_size}"
    if checked.submission.seeds and recipe.seed != checked.submission.seeds[0]:
        yield f"the recipe's seed is {recipe.seed}; the first seed is {checked.submission.seeds[0]}"
    if without_places(recipe) != recipe:
        yield "fairway.recipe names places of a machine"


def _statistics(checked: Checked) -> Iterator[str]:
    """Means, deviations and the policy's answer follow from the scores of the seeds."""
    claim = checked.submission
    for name, value in over_seeds(claim.seed_results).items():
        if not _near(getattr(claim, name), value):
            yield f"{name} = {getattr(claim, name)}; the seeds give {value}"
    stated = claim.fairway.acceptance
    found = acceptance_claim(stated.policy, claim.seed_results, stated.incumbent, stated.scores, stated.objection)
    for name in ("answer", "gain_bpb", "gain_nats", "margin_bpb", "statistic", "p", "sentence"):
        if not _near(getattr(stated, name), getattr(found, name)):
            yield f"acceptance.{name} = {getattr(stated, name)}; the scores give {getattr(found, name)}"
    if claim.comparison_baseline != stated.incumbent:
        yield f"comparison_baseline = {claim.comparison_baseline!r}; acceptance.incumbent = {stated.incumbent!r}"


def _near(stated: object, found: object) -> bool:
    if isinstance(stated, float) and isinstance(found, float):
        return math.isclose(stated, found, rel_tol=NEAR, abs_tol=1e-300)
    return stated == found


def _logs(checked: Checked) -> Iterator[str]:
    """Each log says what submission.json says, and its steps are those of one training."""
    claim = checked.submission
    for seed, run in claim.seed_results.items():
        if seed not in claim.fairway.runs:
            continue
        name = f"train_seed{seed}.log"
        text = checked.text(name)
        lines, head, foot = text.splitlines(), log_head(claim, seed), log_foot(claim, seed)
        stated = [*lines[: len(head)], *lines[len(lines) - len(foot) :]]
        differing = [(found, made) for found, made in zip(stated, [*head, *foot], strict=False) if found != made]
        if differing or len(lines) < len(head) + len(foot):
            found, made = differing[0] if differing else (f"{len(lines)} lines", f"at least {len(head) + len(foot)}")
            yield f"{name} says {found[:100]!r}; {FILE} gives {made[:100]!r}"
            continue
        points = steps_of_log(text, claim, seed)
        times = [float(point.elapsed_s) for point in points]
        if [point.step for point in points] != list(range(run.steps)):
            yield f"{name} has {len(points):,} steps; {FILE} says {run.steps:,}, in order"
        elif times != sorted(times) or (times and abs(times[-1] - run.train_time_s) > 1e-3):
            yield f"{name}: its last step ends at {times[-1]} s; train_time_s = {run.train_time_s}"


def _ledgers(checked: Checked) -> Iterator[str]:
    """Each ledger has its digest, covers the text, and scored every position before it was learned from."""
    text = checked.submission.fairway.validation
    for files in checked.submission.fairway.runs.values():
        if files.ledger is None:
            continue
        try:
            summary = parse_json(checked.text(files.ledger))
            plain = json.dumps(summary, sort_keys=True, separators=(",", ":"))
            counts = [summary["positions"], summary["tokens"], summary["bytes"]]
            work = sum(abs(end - start) for rank in summary["ranks"] for _, start, end in rank["events"])
        except (ValueError, KeyError, TypeError):
            yield f"{files.ledger} is no ledger's summary"
            continue
        if (digest := hashlib.sha256(plain.encode()).hexdigest()) != files.ledger_digest:
            yield f"{files.ledger} has digest {digest[:12]}; {FILE} says {files.ledger_digest[:12]}"
        if counts != [text.tokens, text.tokens, text.bytes]:
            found = f"{files.ledger} covers {counts[1]} tokens of {counts[2]} bytes"
            yield f"{found}; {FILE} says {text.tokens} of {text.bytes}"
        elif work > MOST_PASSES * text.tokens:
            yield f"{files.ledger} scores or learns from more positions than any evaluation does"
        else:
            yield from (f"{files.ledger}: {complaint}" for complaint in _order(checked, summary))


def _order(checked: Checked, summary: Mapping[str, Any]) -> list[str]:
    try:
        return checked.order_of(summary)
    except (ValueError, KeyError, TypeError, IndexError):
        return ["its events are not those of a ledger"]


def _texts(checked: Checked) -> Iterator[str]:
    """README and requirements are those that submission.json gives."""
    claim = checked.submission
    expected = {
        README: (readme_text(claim), readme_text(claim, names_test=False)),
        REQUIREMENTS: (requirements_text(claim),),
    }
    for name, made in expected.items():
        found = checked.text(name)
        if found not in made:
            yield f"{name} {first_difference(found, made[0])}"


def first_difference(found: str, made: str) -> str:
    ours, theirs = made.splitlines(), found.splitlines()
    for number, (line, expected) in enumerate(zip(theirs, ours, strict=False), start=1):
        if line != expected:
            return f"line {number} says {line[:100]!r}; expected {expected[:100]!r}"
    return f"has {len(theirs)} lines; expected {len(ours)}"


def _data(checked: Checked) -> Iterator[str]:
    """The listed data files are those of the validation text."""
    validation, listed = checked.submission.fairway.validation, checked.submission.fairway.files
    stated = {f"{DATA}/{name}": entry for name, entry in validation.shards.items()}
    stated[f"{DATA}/{TOKENIZER_FILE}"] = validation.tokenizer
    if not validation.shards:
        yield "validation.shards is empty"
    for name, entry in stated.items():
        if validation.included and listed.get(name) != entry:
            yield f"{name} is another file than validation names"
        if not validation.included and name in listed:
            yield f"{name} is listed, though validation.included = false"


def _says_ledger(claim: Submission) -> str:
    there = sum(files.ledger is not None for files in claim.fairway.runs.values())
    return f"{there} of {len(claim.seeds)} ledgers are there; each position scored once, before it was learned from"


CHECKS: dict[str, Callable[[Checked], Iterator[str]]] = {
    "files": _files,
    "seeds": _seeds,
    "bytes": _bytes,
    "budgets": _budgets,
    "legality": _legality,
    "statistics": _statistics,
    "logs": _logs,
    "ledger": _ledgers,
    "texts": _texts,
    "data": _data,
}
SAYS: dict[str, Callable[[Submission], str]] = {
    "files": lambda claim: f"{len(claim.fairway.files)} files, every one with its size and SHA-256",
    "seeds": lambda claim: f"seeds {', '.join(map(str, claim.seeds))}, each with result, artifact and log",
    "bytes": lambda claim: f"{claim.bytes_total:,} bytes of code and artifact at most, as the files have them",
    "budgets": lambda claim: f"{LIMIT_BYTES - claim.bytes_total:,} bytes to spare; seconds within the limits",
    "legality": lambda claim: f"headline by {claim.fairway.headline}, each token scored before it is learned from",
    "statistics": lambda claim: f"val_bpb {claim.val_bpb:.8f}; {claim.fairway.acceptance.answer}, recomputed",
    "logs": lambda claim: f"{len(claim.seeds)} logs agree with {FILE}",
    "ledger": _says_ledger,
    "texts": lambda claim: f"{README} and {REQUIREMENTS} agree with {FILE}",
    "data": lambda claim: f"{len(claim.fairway.validation.shards)} validation shards and the tokenizer",
}
"""What a check that found nothing says."""
