"""Makes and writes the record of a run. Imports no torch: a run whose stages are all stored is not computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.data.corpus import text_digests
from trainer.spec.checked_json import with_checksum
from trainer.spec.environment import commit, environment, hardware, versions
from trainer.spec.fingerprint import TextDigests, fingerprints
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record, StageOutcome, budget_complaint, now
from trainer.spec.runnable import Runnable, read_runnable
from trainer.spec.stage_table import headline_stage
from trainer.store.atomic_write import write_once
from trainer.store.local import StageStore
from trainer.store.mirror import publish_file_once
from trainer.store.unreadable import not_written


@dataclass(frozen=True)
class RunRequest:
    """A request to compute one run, of plain values, so that it can be sent to other processes."""

    run_id: str
    preset: str
    recipe: Mapping[str, Any]
    """The full recipe or program, seed included, as nested sections."""
    record_path: str
    """Where the record is written, once."""

    @classmethod
    def of(cls, run_id: str, preset: str, recipe: Runnable, record_path: Path) -> RunRequest:
        plain = recipe.model_dump(mode="json")
        with_shards = isinstance(recipe, Recipe) and recipe.data.source == "shards"
        if with_shards:  # the run may be computed by a process with another working folder
            plain["data"] |= {key: str(Path(plain["data"][key]).absolute()) for key in ("folder", "tokenizer")}
        return cls(run_id, preset, plain, str(Path(record_path).absolute()))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_recipe(self) -> Runnable:
        return read_runnable(self.recipe)


NO_TEXT = TextDigests("", "")
"""Of a program, whose files are hashed in their place."""


def fingerprints_of(recipe: Runnable, num_ranks: int, place: str = "") -> dict[str, str]:
    """Fingerprints of the run's stages with this machine's text and, under a wall-clock budget, its environment.

    place:  the environment of the machines that compute, where they are others; else empty
    """
    texts = text_digests(recipe.data) if isinstance(recipe, Recipe) else NO_TEXT
    return fingerprints(recipe, texts, place or environment(num_ranks))


def make_record(
    request: RunRequest,
    recipe: Runnable,
    stages: Mapping[str, StageOutcome],
    stages_run: Sequence[str],
    started_at: str,
    num_ranks: int,
    error: str = "",
    machine: Mapping[str, str] | None = None,
) -> Record:
    """The record of a finished or failed run. A run over its budget has failed; its metrics are kept.

    machine:  facts of the machine that computed it; None if nothing was computed
    """
    over = budget_complaint(recipe, stages)
    status: Literal["done", "failed"] = "failed" if error or over else "done"
    return Record(
        run_id=request.run_id,
        preset=request.preset,
        seed=recipe.seed,
        status=status,
        recipe=request.recipe,
        headline=headline_stage(recipe),
        stages=stages,
        stages_run=tuple(stages_run),
        within_budget=_within_budget(recipe, stages, error, over),
        error=error or over,
        started_at=started_at,
        commit=commit(),
        hardware=hardware(),
        versions=versions(),
        num_ranks=num_ranks,
        machine=machine or {},
    )


def _within_budget(recipe: Runnable, stages: Mapping[str, StageOutcome], error: str, over: str) -> bool | None:
    """None where it is not known: nothing was exported, or a program failed, perhaps at a limit."""
    if not isinstance(recipe, Recipe):
        return None if error else True
    return None if "export" not in stages else not over


def adopt(request: RunRequest, store: StageStore, num_ranks: int, place: str = "") -> Record | None:
    """The run's record if every stage that it needs is in the store, else None. `place`: as in `fingerprints_of`."""
    recipe = request.load_recipe()
    stored = {stage: store.find(stage, key) for stage, key in fingerprints_of(recipe, num_ranks, place).items()}
    stages = {stage: outcome for stage, outcome in stored.items() if outcome is not None}
    if len(stages) < len(stored):
        return None
    return make_record(request, recipe, stages, (), now(), num_ranks)


def keep_record(request: RunRequest, record: Record) -> bool:
    """Writes `run.json` at the request's path unless it exists. Returns whether this call wrote it.

    Raises StoreFull when it cannot be written.
    """
    try:
        first = write_once(Path(request.record_path), with_checksum(record.model_dump_json(indent=1).encode()))
    except OSError as fault:
        raise not_written(request.record_path, fault) from None
    publish_file_once(Path(request.record_path))
    return first
