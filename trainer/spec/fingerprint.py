"""A stage's name for ever: a hash of what it reads and of what it stands on.

Same fingerprint, same content: the stage is never run again, on any node, in any sweep. Under a wall-clock budget the
hardware is part of the question, so there the environment enters too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.spec.field_index import flat
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import STAGES, fields_read, stages_of


@dataclass(frozen=True)
class TextDigests:
    """What the corpus holds, whatever its place: hashes of the train text and of the validation text."""

    train: str
    val: str


def digest(content: Any) -> str:
    """16 hex digits of a SHA-256 over canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprints(recipe: Recipe, texts: TextDigests, environment: str = "") -> dict[str, str]:
    """Fingerprint of each stage the recipe needs, in running order.

    environment: hardware, ranks and versions; enters only while `budget.train_s` is set
    """
    found: dict[str, str] = {}
    for name in stages_of(recipe):
        found[name] = _fingerprint(name, recipe, texts, environment, found)
    return found


def _fingerprint(name: str, recipe: Recipe, texts: TextDigests, environment: str, found: Mapping[str, str]) -> str:
    stage = STAGES[name]
    content: dict[str, Any] = {
        "stage": name,
        "version": stage.version,
        "fields": fields_read(recipe, name),
        "stands_on": {below: found[below] for below in stage.stands_on},
    }
    if name == "train_text":
        content["text"] = texts.train
    if name == "val_text":
        content["text"] = texts.val
    if name == "train" and recipe.budget.train_s is not None:
        content["environment"] = environment
    return digest(content)


def workload(recipe: Recipe, stage: str) -> str:
    """What a stage's seconds depend on, roughly: sizes and choices, not rates, seeds or the settings of TTT.

    Two recipes of one workload take about equally long on one machine; estimates are made within it.
    """
    values = flat(recipe)
    sections = ("model.", "data.")
    read = fields_read(recipe, stage) | {key: value for key, value in values.items() if key.startswith(sections)}
    counted = {
        key: value
        for key, value in read.items()
        if not isinstance(value, float) and key != "seed" and not key.startswith("ttt.")
    }
    return digest([stage, counted])


def configuration_id(recipe: Recipe) -> str:
    """Identity of a recipe without its seed: what a sweep calls a configuration. 10 hex digits."""
    values = {key: value for name in stages_of(recipe) for key, value in fields_read(recipe, name).items()}
    values.pop("seed", None)
    return digest(values)[:10]
