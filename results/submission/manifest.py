"""`submission.json`: what a submission folder claims of itself, all of it made from rows and files.

Beside the contest's own fields it holds `fairway`: recipe, limits, ledger digests, data and the digest of every file.
README and logs are made from it, and `verify_folder` makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.spec.record import NAME_PATTERN

FILE = "submission.json"
README, SCRIPT, SOURCE, REQUIREMENTS = "README.md", "train_gpt.py", "train_gpt_source.py", "requirements.txt"
DATA = "data"
LARGEST_BYTES = 2**22
"""Of a submission.json that is read."""
MOST_TOKENS = 200_000_000
"""Of a validation text; FineWeb's has 62 million."""
LIMIT_BYTES, LIMIT_S = 16_000_000, 600.0
"""The contest's: code and artifact; training with calibration, and scoring, each."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=rf"^(?:{DATA}/)?{NAME_PATTERN}$")]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(max_length=2000)]


class Part(BaseModel):
    """A part of a submission.json: strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class FileEntry(Part):
    """Size and SHA-256 of a file of the folder."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class SeedResult(Part):
    """What one seed's run gave, in the contest's names."""

    val_loss: float
    val_bpb: float
    model_bytes: Annotated[int, Field(ge=0)]
    """Of the artifact's file."""
    artifact_bytes: Annotated[int, Field(ge=0)]
    """With the code, as the contest counts."""
    steps: Annotated[int, Field(ge=0)]
    train_time_s: Seconds
    calibration_time_s: Seconds
    eval_time_s: Seconds


class SeedFiles(Part):
    """Artifact, log and ledger of one seed's run."""

    artifact: Name
    log: Name
    ledger: Name | None
    """Of what the ledger's digest covers: order of score and train events, coverage, tokens, bytes."""
    ledger_digest: Digest


class ValidationText(Part):
    """The text that was scored."""

    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    """Targets scored."""
    bytes: Annotated[int, Field(ge=1)]
    documents: Annotated[int, Field(ge=0)] | None
    vocab_size: Annotated[int, Field(ge=1)]
    shards: Mapping[Name, FileEntry]
    tokenizer: FileEntry
    included: bool
    """Whether the folder holds them, under data/."""


class IncumbentScore(Part):
    """A run of what the policy compares with."""

    seed: int
    val_bpb: float
    val_loss: float | None


class AcceptanceClaim(Part):
    """What a policy says of the submission, with its numbers; they follow from the scores beside them."""

    policy: Text
    incumbent: Text
    scores: tuple[IncumbentScore, ...]
    objection: Text
    """Why no policy can judge these runs, such as seeds whose outcomes were known; empty where nothing speaks so."""
    answer: Literal["accepted", "not accepted", "cannot say"]
    gain_bpb: float | None
    gain_nats: float | None
    margin_bpb: float | None
    statistic: float | None
    p: float | None
    sentence: Text


class Fairway(Part):
    """What is more than the contest asks for."""

    format: Literal[1]
    sweep: Text
    config: Text
    label: Text
    preset: Text
    commit: Text
    """At which the runs were made."""
    script_commit: Text
    code_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """Of the trainer that the script was made of, at `script_commit`."""
    headline: Literal["evaluate", "adapt"]
    recipe: Mapping[str, Any]
    runs: Mapping[str, SeedFiles]
    """By seed."""
    validation: ValidationText
    acceptance: AcceptanceClaim
    files: Mapping[Name, FileEntry]
    """Every file of the folder but this one."""

    def whole_recipe(self) -> Recipe:
        """The recipe, with the defaults of fields that it does not have. Raises UserError if it is none."""
        try:
            return Recipe.model_validate(dict(self.recipe))
        except ValueError as error:
            lines = str(error).splitlines()
            raise UserError(f"{FILE}: fairway.recipe is no recipe: {' '.join(lines[1:3]) or lines[0]}") from None


class Submission(Part):
    """A submission.json."""

    author: Text
    github_id: Text
    name: Text
    blurb: Text
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    track: Text
    val_loss: float
    val_bpb: float
    val_loss_std: float | None
    val_bpb_std: float | None
    """Over seeds, with n - 1; null for one seed."""
    seeds: tuple[int, ...]
    seed_results: Mapping[str, SeedResult]
    bytes_code: Annotated[int, Field(ge=0)]
    bytes_total: Annotated[int, Field(ge=0)]
    """Of the largest seed: code and artifact."""
    bytes_model: Annotated[int, Field(ge=0)]
    hardware: Text
    versions: Text
    comparison_baseline: Text
    fairway: Fairway

    def as_text(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def over_seeds(results: Mapping[str, SeedResult]) -> dict[str, Any]:
    """The fields that follow from the results of all seeds."""
    runs = list(results.values())
    numbers: dict[str, Any] = {}
    for name in ("val_loss", "val_bpb"):
        scores = [getattr(run, name) for run in runs]
        numbers |= {name: fmean(scores), f"{name}_std": stdev(scores) if len(scores) > 1 else None}
    return numbers | {
        "bytes_total": max(run.artifact_bytes for run in runs),
        "bytes_model": max(run.model_bytes for run in runs),
    }


def read_submission(folder: Path) -> Submission:
    """The claims of a folder. Raises UserError naming the field for anything that is not a submission.json of ours."""
    path = folder / FILE
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the folder that orchestrator package wrote")
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path} is missing; name the folder that orchestrator package wrote")
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise UserError(f"{path} has {size:,} bytes; at most {LARGEST_BYTES:,} are read")
    try:
        return Submission.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)
        shown = [f"  {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in first[:5]]
        more = [f"  and {len(first) - 5} more"] if len(first) > 5 else []
        raise UserError("\n".join([f"{path} is no submission of this program", *shown, *more])) from None
