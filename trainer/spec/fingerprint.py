"""Fingerprints: a hash of the fields that a stage reads and of the fingerprints of the stages it depends on.

Stages with equal fingerprints have equal results, so such a stage is computed once, on any machine, in any sweep. Under
a wall-clock budget the result depends on the hardware too, so the environment is hashed as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.spec.field_index import flat
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable
from trainer.spec.stage_table import STAGES, fields_read, stages_of


@dataclass(frozen=True)
class TextDigests:
    """Hashes of the contents of the train text and of the validation text, wherever they are stored."""

    train: str
    val: str


def digest(content: Any) -> str:
    """16 hex digits of a SHA-256 over canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprints(recipe: Runnable, texts: TextDigests, environment: str = "") -> dict[str, str]:
    """Fingerprint of each stage that the recipe or program needs, in running order.

    environment:  hardware, ranks and versions; hashed only if `budget.train_s` is set, and for every program
    """
    if isinstance(recipe, Program):
        return recipe.fingerprints(environment)
    known: dict[str, str] = {}
    for name in stages_of(recipe):
        known[name] = _fingerprint(name, recipe, texts, environment, known)
    return known


def _fingerprint(name: str, recipe: Recipe, texts: TextDigests, environment: str, known: Mapping[str, str]) -> str:
    stage = STAGES[name]
    content: dict[str, Any] = {
        "stage": name,
        "version": stage.version,
        "fields": fields_read(recipe, name),
        "stands_on": {below: known[below] for below in stage.stands_on},
    }
    if name == "train_text":
        content["text"] = texts.train
    if name == "val_text":
        content["text"] = texts.val
    if name == "train" and recipe.budget.train_s is not None:
        content["environment"] = environment
    return digest(content)


def workload(recipe: Runnable, stage: str) -> str:
    """Hash of the sizes and choices that a stage's duration depends on; not of rates, seeds or settings of TTT.

    Two recipes of one workload take about equally long on one machine, so time estimates are made within a workload.
    """
    if isinstance(recipe, Program):
        return recipe.workload(stage)
    values = flat(recipe)
    sections = ("model.", "data.")
    read = fields_read(recipe, stage) | {key: value for key, value in values.items() if key.startswith(sections)}
    counted = {
        key: value
        for key, value in read.items()
        if not isinstance(value, float) and key != "seed" and not key.startswith("ttt.")
    }
    return digest([stage, counted])


def configuration_id(recipe: Runnable) -> str:
    """Identity of a recipe or program without its seed, as sweeps use it for a configuration: 10 hex digits."""
    if isinstance(recipe, Program):
        return recipe.identity()[:10]
    values = {key: value for name in stages_of(recipe) for key, value in fields_read(recipe, name).items()}
    values.pop("seed", None)
    return digest(values)[:10]
