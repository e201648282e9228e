"""The record of a run, made of the outcomes of its stages and written once as `run.json`.

Making a record needs no torch: a run whose stages are all in the store is finished without computing.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.spec.budget import check_artifact_bytes, check_eval_s, check_train_s
from trainer.spec.errors import BudgetExceeded
from trainer.spec.program import Program
from trainer.spec.runnable import Runnable
from trainer.spec.stage_table import headline_stage

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What may name a run or a sweep: it becomes a folder."""
Metric = float | int | str | bool | None
SCORES = "val_bpb", "val_loss"


def usable_name(text: str) -> str:
    """A text as such a name: 'my sweep (2)' becomes 'my-sweep-2', 'Größe' 'Grosse'; usable ones stay as they are."""
    if re.fullmatch(NAME_PATTERN, text):
        return text
    letters = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:100] or "sweep"


class StageOutcome(BaseModel):
    """Result of one stage, as in its folder's `result.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    stage: str
    fingerprint: str
    seconds: float
    """Wall-clock seconds of the stage when it was computed."""
    started_at: str
    """UTC, ISO 8601."""
    host: str
    metrics: Mapping[str, Metric]
    """Numbers of the stage by name, units in the names."""
    workload: str = ""
    """Hash of what its duration depends on, for time estimates; see `fingerprint.workload`."""


class Record(BaseModel):
    """One run: its recipe and seed, the outcomes of its stages, and the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    run_id: str
    preset: str
    seed: int
    status: Literal["done", "failed", "stopped", "drifted"]
    """`drifted`: set aside because its machine differs from the sweep's others; the run is repeated elsewhere."""
    recipe: Mapping[str, Any]
    """The full recipe as nested sections, enough to run it again."""
    headline: str
    """The stage that `val_bpb` comes from."""
    stages: Mapping[str, StageOutcome] = Field(default_factory=dict)
    stages_run: tuple[str, ...] = ()
    """Stages this run computed itself; the others were in the store."""
    within_budget: bool | None = None
    error: str = ""
    started_at: str
    commit: str
    hardware: str
    versions: str
    num_ranks: int = 1
    machine: Mapping[str, str] = Field(default_factory=dict)
    """Facts of the machine that computed the run: its name, versions, driver, attention back end, shards."""

    def metric(self, stage: str, name: str) -> Metric:
        """A stage's number, or None when the stage did not run."""
        outcome = self.stages.get(stage)
        return None if outcome is None else outcome.metrics.get(name)

    def has_score(self, metric: str) -> bool:
        """Whether the run is done or, though it failed, has a finite number of this name or in our own units."""
        numbers = (outcome.metrics.get(name) for outcome in self.stages.values() for name in (metric, *SCORES))
        return self.status == "done" or any(isinstance(one, int | float) and math.isfinite(one) for one in numbers)


def run_id_of(config: str, seed: int) -> str:
    """Name of the run of a configuration with a seed: 'a1b2c3d4e5-s42'. Equal configurations have equal runs."""
    return f"{config}-s{seed}"


def split_run_id(run_id: str) -> tuple[str, int]:
    """The configuration and the seed that `run_id_of` made the name of. Raises ValueError for any other name."""
    config, found, seed = run_id.rpartition("-s")
    if not found or not seed.removeprefix("-").isdecimal():
        raise ValueError(f"run id '{run_id}' does not end in '-sSEED', a configuration's seed")
    return config, int(seed)


def budget_complaint(recipe: Runnable, stages: Mapping[str, StageOutcome]) -> str:
    """Which limit the run exceeded, or the empty string. These limits enter no fingerprint.

    A program's limits are looked at where it runs: `trainer.program.run_program`.
    """
    if isinstance(recipe, Program):
        return ""
    try:
        if "export" in stages:
            exported = stages["export"].metrics
            check_artifact_bytes(int(exported["model_bytes"] or 0), recipe.budget)
            train_s = float(stages["train"].metrics.get("train_s") or 0.0)
            check_train_s(train_s, float(exported.get("calibration_s") or 0.0), recipe.budget)
        headline = headline_stage(recipe)
        if headline in stages:
            check_eval_s(float(stages[headline].metrics["eval_s"] or 0.0), recipe.budget)
    except BudgetExceeded as error:
        return str(error)
    return ""


def now() -> str:
    """The present in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
