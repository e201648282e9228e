"""A small recipe, and stores that hold its text (`text_store` of tests/conftest.py)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.stages.pipeline import run_pipeline
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

SMALL = {
    "budget.train_steps": 6,
    "schedule.warmdown_steps": 3,
    "averaging.swa_every": 1,
    "averaging.swa_min_step": 0,
    "averaging.swa_below": 0.9,
    "data.val_bytes": 1,  # one document, the first
    "ttt.chunk_tokens": 1024,
    "evaluation.diagnose": False,
}
FITTED = {"quantization.fit_bytes": True, "budget.artifact_bytes": RESERVED_CODE_BYTES + 150_000}
"""Makes the small recipe's artifact coarser: it takes 157,000 bytes."""
TTT = {"ttt.mode": "score_first", "ttt.lr": 0.01, "ttt.epochs": 1}


def small(**changes: object) -> Recipe:
    """The tiny preset, cut down to a second; dots in keys are written as double underscores."""
    return load_preset("tiny", SMALL | {key.replace("__", "."): value for key, value in changes.items()}).recipe


def fitted(**changes: object) -> Recipe:
    """The small recipe whose artifact is made to fit a limit below its size."""
    return small(**FITTED, **changes)


def run(store: Path, recipe: Recipe, name: str = "run", **hooks: object) -> Record:
    request = RunRequest.of(name, "tiny", recipe, store / "records" / f"{name}.json")
    return run_pipeline(request, StageStore(store), **hooks)  # type: ignore[arg-type]


@pytest.fixture
def fresh_store(text_store, tmp_path) -> Callable[[str], Path]:
    """Makes stores that hold the prepared text and nothing else."""

    def make(name: str) -> Path:
        store = tmp_path / name
        (store / "stages").mkdir(parents=True)
        for stage in ("train_text", "val_text"):
            (store / "stages" / stage).symlink_to(text_store / "stages" / stage)
        return store

    return make
