"""The text of a sweep, computed by a process of its own while a local Ray and the first slot start."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from orchestrator.run.trainer_process import TwoParts, run_trainer_on
from orchestrator.sweep.sweep import Sweep
from trainer.spec.errors import UserError
from trainer.spec.messages import TEXT_BEGUN
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import TEXT_STAGES
from trainer.stages.run_record import fingerprints_of
from trainer.store.shared import stage_store


class TextsAhead:
    """Has the tokenizer and the shards of the sweep's base recipe computed, where the store lacks them.

    The first run would compute them, with all others waiting for it, when a core or more have had nothing to do for
    some seconds. If it fails the runs compute the text themselves, and say what is wrong with it. The process that
    checks a recipe of this text goes on with it: another one would spend two seconds of a core on its imports.
    """

    def __init__(self, sweep: Sweep, store: Path):
        self._base, self._store = sweep.space.base, store
        self._checked: TwoParts | None = None

    def check(self, recipe: Recipe, *options: str) -> subprocess.CompletedProcess[str]:
        """`python -m trainer check` of a recipe; where the text is missing and is this recipe's, it follows."""
        lacking = self._lacking()
        if not lacking or lacking != _texts_of(recipe):
            return run_trainer_on(recipe, "check", *options)
        self._checked = TwoParts(recipe, TEXT_BEGUN, "check", *options, "--prepare", str(self._store))
        return self._checked.first

    def finish(self) -> None:
        """Computes what is missing still, or waits for it."""
        if self._checked is not None:
            self._checked.finish()
        elif self._lacking():
            assert isinstance(self._base, Recipe)
            with contextlib.suppress(UserError, OSError):
                run_trainer_on(self._base, "prepare", "--store", str(self._store))

    def _lacking(self) -> Mapping[str, str]:
        """Fingerprints of the text's stages where one is missing; empty if none is, or if nothing makes a text."""
        if not isinstance(self._base, Recipe) or self._base.data.source == "shards":
            return {}
        with contextlib.suppress(UserError, OSError):
            texts, stages = _texts_of(self._base), stage_store(self._store)
            if not all(stages.find(stage, fingerprint) for stage, fingerprint in texts.items()):
                return texts
        return {}


def _texts_of(recipe: Recipe) -> Mapping[str, str]:
    fingerprints = fingerprints_of(recipe, 1)
    return {stage: fingerprints[stage] for stage in TEXT_STAGES}
