"""The text of a sweep, computed by a process of its own while a local Ray and the first slot start."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.run.trainer_process import run_trainer_on
from orchestrator.sweep.sweep import Sweep
from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import TEXT_STAGES
from trainer.stages.run_record import fingerprints_of
from trainer.store.shared import stage_store


def prepare_texts(sweep: Sweep, store: Path) -> None:
    """Has the tokenizer and the shards of the sweep's base recipe computed, where the store lacks them.

    The first run would compute them, with all others waiting for it, when a core or more have had nothing to do for
    some seconds. If it fails the runs compute the text themselves, and say what is wrong with it.
    """
    recipe = sweep.space.base
    if not isinstance(recipe, Recipe) or recipe.data.source == "shards":
        return
    with contextlib.suppress(UserError, OSError):
        fingerprints, stages = fingerprints_of(recipe, 1), stage_store(store)
        if not all(stages.find(stage, fingerprints[stage]) for stage in TEXT_STAGES):
            run_trainer_on(recipe, "prepare", "--store", str(store))
