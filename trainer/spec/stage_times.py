"""Declared durations of a preset's stages on named hardware, for time estimates before the first run.

They hold for the preset's own sizes. Fewer steps or less validation text scale them in proportion; for any other change
of sizes there is no estimate. Used in plans, and by the machine check's rule on speed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, ValidationError

from trainer.spec.errors import RecipeError
from trainer.spec.recipe import Recipe
from trainer.spec.section import Section

SCORING = ("model", "data", "evaluation")
SIZED_BY: Mapping[str, tuple[str, ...]] = {
    "train_text": ("data",),
    "val_text": ("data",),
    "train": ("model", "data"),
    "export": ("model", "quantization"),
    "evaluate": SCORING,
    "adapt": SCORING,
    "diagnose": SCORING,
}
"""Sections of the recipe whose sizes a stage's seconds depend on."""
PER_VAL_BYTE = frozenset({"val_text", "evaluate", "adapt", "diagnose"})
NO_SIZES = frozenset({"folder", "tokenizer", "val_bytes", "order_seed", "diagnose"})


class Figures(Section):
    """The `expected` block of a preset's file."""

    hardware: str
    """As a record names it, e.g. '8x NVIDIA H100 80GB HBM3'."""
    gpus: NonNegativeInt
    """GPUs that a run holds there; 0 on a CPU."""
    step_ms: PositiveFloat
    """Milliseconds of an optimiser step."""
    seconds: Mapping[Literal["train_text", "val_text", "export", "evaluate", "adapt", "diagnose"], PositiveFloat]
    """Seconds of the other stages by name."""


@dataclass(frozen=True)
class Expected:
    """Durations measured for a preset on one kind of machine; `Figures` has the units."""

    hardware: str
    gpus: int
    step_ms: float
    seconds: Mapping[str, float]
    own: Recipe
    """The unchanged preset, whose sizes these durations are for."""

    @property
    def tokens_per_s(self) -> float:
        """Training tokens per second over all ranks."""
        return self.own.data.train_batch_tokens / self.step_ms * 1000

    def stage_s(self, recipe: Recipe, stage: str) -> float | None:
        """Seconds of a stage of a recipe; None if the recipe changes a size that the stage's duration depends on."""
        if any(_sizes(recipe, section) != _sizes(self.own, section) for section in SIZED_BY[stage]):
            return None
        if stage == "train":
            return self._train_s(recipe)
        known, val_bytes, own_bytes = self.seconds.get(stage), recipe.data.val_bytes, self.own.data.val_bytes
        if known is None or val_bytes == own_bytes or stage not in PER_VAL_BYTE:
            return known
        return known * val_bytes / own_bytes if val_bytes and own_bytes else None

    def _train_s(self, recipe: Recipe) -> float:
        """By the limit of the budget that is reached first."""
        steps, train_s = recipe.budget.train_steps, recipe.budget.train_s
        by_steps = math.inf if steps is None else steps * self.step_ms / 1000
        return min(by_steps, math.inf if train_s is None else train_s)


def read_expected(block: Any, own: Recipe, source: str) -> Expected:
    """Parses the `expected` block of a preset's file. Raises RecipeError naming each invalid value."""
    try:
        return Expected(**Figures.model_validate(block).model_dump(), own=own)
    except ValidationError as error:
        problems = [
            f"expected.{'.'.join(str(part) for part in item['loc'])} = {item['input']!r} {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise RecipeError(source, problems) from None


def _sizes(recipe: Recipe, section: str) -> dict[str, Any]:
    """Fields of a section that durations depend on: without paths, the amount of validation text, and rates."""
    fields = getattr(recipe, section).model_dump()
    return {key: value for key, value in fields.items() if key not in NO_SIZES and not isinstance(value, float)}
