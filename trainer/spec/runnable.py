"""What a run computes: a recipe of our own trainer, or a program of the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainer.spec.program import Program
from trainer.spec.recipe import Recipe

Runnable = Recipe | Program


def read_runnable(plain: Mapping[str, Any]) -> Runnable:
    """What a record or a request holds as nested plain values. Raises pydantic's ValidationError."""
    if is_program(plain):
        return Program.model_validate_json(json.dumps(plain))
    return Recipe.model_validate(dict(plain))


def is_program(plain: Mapping[str, Any]) -> bool:
    """Whether nested plain values are those of a program."""
    return plain.get("kind") == "program"


def by_the_clock(runnable: Runnable) -> bool:
    """Whether the result depends on the hardware's speed: a recipe's training ends by the clock; of a program nobody
    knows, so it is taken to."""
    return isinstance(runnable, Program) or runnable.budget.train_s is not None
