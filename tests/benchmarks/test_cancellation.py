"""How long a cancelled run keeps its slot, stage by stage: from the flag to the slot being free for the next run.

Of the full `tiny`, through the board on a real local Ray; each stage is cancelled at random moments of its work.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from itertools import count
from statistics import median

import pytest

from tests.ray.test_slot_on_ray import Slot
from tests.trainer.stages.conftest import run
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe
from trainer.stages.run_record import RunRequest

pytestmark = pytest.mark.bench
TRIES = 6
WORK = {"ttt.mode": "score_first", "quantization.method": "gptq", "evaluation.diagnose": False}
FRESH = {
    "train": lambda number: {"seed": number},
    "export": lambda number: {"quantization.clip_stds": 3 + 0.01 * number},
    "evaluate": lambda number: {"evaluation.window_tokens": 128, "evaluation.stride_tokens": 32 + number},
    "adapt": lambda number: {"ttt.lr": 1e-3 * number},
}
"""What makes a stage one that nobody computed yet, and keeps those before it."""


def recipe(changes: dict) -> Recipe:
    return load_preset("tiny", WORK | changes).recipe


@pytest.fixture(scope="module")
def slot(tmp_path_factory) -> Iterator[Slot]:
    from orchestrator.run.ray_session import ray_session

    folder = tmp_path_factory.mktemp("cancelling")
    assert run(folder / "store", recipe({}), "first").status == "done"
    with ray_session(None):
        made = Slot(folder)
        yield made
        made.ask("close")
        made.thread.join(timeout=30)


def freed_after_s(slot: Slot, request: RunRequest, stage: str, dice: random.Random) -> float | None:
    """Seconds from the cancellation of a run that is in this stage to its end; None if the run was faster."""
    record = slot.folder / "records" / f"{request.run_id}.json"
    slot.ask("submit", request)
    while not _is_in(slot, request, stage):
        if record.exists():
            return None
        time.sleep(0.01)
    time.sleep(dice.uniform(0, 0.5))
    started_s = time.monotonic()
    slot.ask("cancel", request.run_id)
    slot.wait(request)
    took_s = time.monotonic() - started_s
    return None if record.exists() else took_s


def _is_in(slot: Slot, request: RunRequest, stage: str) -> bool:
    progress = slot.ask("status").slots[0].progress
    return progress is not None and (progress.run_id, progress.stage) == (request.run_id, stage)


@pytest.mark.parametrize("stage", FRESH)
def test_a_cancelled_run_frees_its_slot_within_a_second(slot, stage):
    dice, took_s = random.Random(stage), []
    for number in count(1):
        request = slot.request(f"{stage}{number}", recipe(FRESH[stage](number)))
        if (freed_s := freed_after_s(slot, request, stage, dice)) is not None:
            took_s.append(freed_s)
        if len(took_s) == TRIES:
            break
        assert number < 5 * TRIES, f"{stage} is over before it can be cancelled"
    load = os.getloadavg()[0]
    print(f"\n| {stage} | median {median(took_s):.2f} s, most {max(took_s):.2f} s of {TRIES} | load {load:.1f} |")
    assert max(took_s) < 1.0
