"""Bytes of the artifact of each configuration, estimated before it runs, held against the limit.

In this order: what no artifact exceeds, 4 bytes a weight, where that fits; bits per weight that earlier sweeps of the
preset in this store measured under the same rules of quantisation; random weights, whose codes the trainer counts in a
process of its own. Imports neither torch nor Ray.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator.run.trainer_process import run_trainer
from orchestrator.space.configuration import Configuration
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.sweep import list_sweeps
from trainer.spec.budget import model_limit_bytes
from trainer.spec.fingerprint import digest
from trainer.spec.parameter_count import num_parameters
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.spec.stage_table import fields_read

WIDEST_BYTES = 4
"""Of a weight: nothing is stored wider than float32."""
SECTIONS = ("model.", "data.", "quantization.", "budget.")
"""Of the recipe, all that an artifact's bytes depend on, weights apart."""
Range = tuple[int, int]
Estimate = Callable[[Sequence[Recipe]], Sequence[Range] | None]
"""Fewest and most bytes of each recipe's artifact by its rule of scales; None where they cannot be estimated."""
Source = Literal["limit", "width", "history", "random weights", "unknown"]


@dataclass(frozen=True)
class ArtifactSize:
    """Estimated bytes of one artifact, and the configurations that have such."""

    configurations: tuple[str, ...]
    """Their ids; of a search also those at the ends of its ranges, which it may not choose."""
    limit_bytes: int
    """Most that fits beside the code."""
    source: Source
    low_bytes: int | None = None
    high_bytes: int | None = None
    num_runs: int = 0
    """Runs that measured it."""

    @property
    def may_exceed(self) -> bool:
        """Whether the range reaches beyond the limit."""
        return self.high_bytes is not None and self.high_bytes > self.limit_bytes


def estimate_by_trainer(recipes: Sequence[Recipe]) -> Sequence[Range] | None:
    """Ranges over distributions of random weights; takes seconds, most of them torch's start."""
    done = run_trainer("trainer.liveness.size", text=json.dumps([recipe.model_dump(mode="json") for recipe in recipes]))
    return [(low, high) for low, high in json.loads(done.stdout)] if done.returncode == 0 else None


def no_estimate(recipes: Sequence[Recipe]) -> None:
    """Leaves unknown what the store cannot tell."""


def artifact_sizes(
    space: SearchSpace, configurations: Iterable[Configuration], store: Path, estimate: Estimate
) -> tuple[ArtifactSize, ...]:
    """One of each size; configurations whose artifacts have the same shapes and rules share it. None of a program."""
    if space.program:
        return ()
    groups: dict[str, tuple[Recipe, list[str]]] = {}
    recipes: dict[str, tuple[str, Recipe]] = {}  # by the values that may matter: a recipe takes milliseconds
    for item in {item.id: item for item in configurations}.values():
        values = digest({key: value for key, value in item.values.items() if key.startswith(SECTIONS)})
        if values not in recipes:
            recipe = space.recipe(item.values)
            assert isinstance(recipe, Recipe)
            recipes[values] = _shapes_and_rules(recipe), recipe
        key, recipe = recipes[values]
        groups.setdefault(key, (recipe, []))[1].append(item.id)
    sizes = {key: _known(recipe, tuple(ids)) for key, (recipe, ids) in groups.items()}
    if any(size.source == "unknown" for size in sizes.values()):
        measured = list(_measured(space.preset, store))
        sizes = {key: _from_history(size, groups[key][0], measured) for key, size in sizes.items()}
    left = [key for key, size in sizes.items() if size.source == "unknown"]
    ranges = estimate([groups[key][0] for key in left]) if left else None
    for key, (low, high) in zip(left, ranges or (), strict=ranges is not None):
        size = sizes[key]
        sizes[key] = ArtifactSize(size.configurations, size.limit_bytes, "random weights", low, high)
    return tuple(sizes.values())


def _shapes_and_rules(recipe: Recipe) -> str:
    shapes = recipe.model.model_dump(mode="json"), recipe.data.vocab_size
    return digest([*shapes, _rules(recipe), recipe.quantization.fit_bytes, recipe.budget.artifact_bytes])


def _rules(recipe: Recipe) -> dict[str, Any]:
    """How the export stores weights."""
    read = fields_read(recipe, "export")
    return {key: value for key, value in read.items() if key.startswith("quantization.") and "fit_bytes" not in key}


def _known(recipe: Recipe, configurations: tuple[str, ...]) -> ArtifactSize:
    """What is certain without any weights."""
    limit_bytes = model_limit_bytes(recipe.budget)
    if recipe.quantization.fit_bytes:
        return ArtifactSize(configurations, limit_bytes, "limit")
    widest_bytes = WIDEST_BYTES * num_parameters(recipe.model, recipe.data.vocab_size)
    if widest_bytes <= limit_bytes:
        return ArtifactSize(configurations, limit_bytes, "width", 0, widest_bytes)
    return ArtifactSize(configurations, limit_bytes, "unknown")


def _measured(preset: str, store: Path) -> Iterable[tuple[dict[str, Any], float]]:
    """Rules and bits per weight of every finished export of the preset's sweeps that no limit coarsened."""
    for sweep in list_sweeps(store):
        if sweep.preset == preset:
            for record in sweep.readable_records()[0].values():
                yield from _bits_per_weight(record)


def _bits_per_weight(record: Record) -> Iterable[tuple[dict[str, Any], float]]:
    model_bytes = record.metric("export", "model_bytes")
    try:
        recipe = Recipe.model_validate(record.recipe)
    except ValidationError:  # of another version
        return
    if isinstance(model_bytes, int) and not recipe.quantization.fit_bytes:
        yield _rules(recipe), 8 * model_bytes / num_parameters(recipe.model, recipe.data.vocab_size)


def _from_history(size: ArtifactSize, recipe: Recipe, measured: Sequence[tuple[dict[str, Any], float]]) -> ArtifactSize:
    bits = [bits_per_weight for rules, bits_per_weight in measured if rules == _rules(recipe)]
    if size.source != "unknown" or not bits:
        return size
    count = num_parameters(recipe.model, recipe.data.vocab_size)
    low_bytes, high_bytes = (round(count * most / 8) for most in (min(bits), max(bits)))
    return ArtifactSize(size.configurations, size.limit_bytes, "history", low_bytes, high_bytes, len(bits))
