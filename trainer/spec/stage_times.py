"""What a preset's stages take on the hardware it names: the price of a run that nobody has made here yet.

A figure holds for the preset's own sizes. Fewer steps, or less validation text, take proportionally less; about any
other change of sizes nothing is said. Steers nothing: plans show it, and a guard may hold a machine's speed against it.
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
    """What was measured of a preset, on one kind of machine; `Figures` has the units."""

    hardware: str
    gpus: int
    step_ms: float
    seconds: Mapping[str, float]
    own: Recipe
    """The preset as it is, whose sizes these figures are for."""

    @property
    def tokens_per_s(self) -> float:
        """Training tokens per second over all ranks."""
        return self.own.data.train_batch_tokens / self.step_ms * 1000

    def stage_s(self, recipe: Recipe, stage: str) -> float | None:
        """Seconds of a stage of a recipe that changes the preset; None where it changes the sizes that count."""
        if any(_sizes(recipe, section) != _sizes(self.own, section) for section in SIZED_BY[stage]):
            return None
        if stage == "train":
            return self._train_s(recipe)
        known, val_bytes, own_bytes = self.seconds.get(stage), recipe.data.val_bytes, self.own.data.val_bytes
        if known is None or val_bytes == own_bytes or stage not in PER_VAL_BYTE:
            return known
        return known * val_bytes / own_bytes if val_bytes and own_bytes else None

    def _train_s(self, recipe: Recipe) -> float:
        """Whichever of the budget's limits comes first."""
        steps, train_s = recipe.budget.train_steps, recipe.budget.train_s
        by_steps = math.inf if steps is None else steps * self.step_ms / 1000
        return min(by_steps, math.inf if train_s is None else train_s)


def read_expected(block: Any, own: Recipe, source: str) -> Expected:
    """The `expected` block of a preset's file. Raises RecipeError naming what does not fit."""
    try:
        return Expected(**Figures.model_validate(block).model_dump(), own=own)
    except ValidationError as error:
        problems = [
            f"expected.{'.'.join(str(part) for part in item['loc'])} = {item['input']!r} {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise RecipeError(source, problems) from None


def _sizes(recipe: Recipe, section: str) -> dict[str, Any]:
    """The fields of a section that a stage's seconds depend on: not where data lies, how much is scored, nor rates."""
    fields = getattr(recipe, section).model_dump()
    return {key: value for key, value in fields.items() if key not in NO_SIZES and not isinstance(value, float)}
