"""Cancellation: every stage looks at the flag between two units of its work, and does nothing more once it is up."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from tests.trainer.stages.conftest import TTT, run, small
from trainer.nn.block import Block
from trainer.spec.messages import Progress
from trainer.stages.context import Interrupted
from trainer.stages.run_record import fingerprints_of

RECIPE = small(
    **{key.replace(".", "__"): value for key, value in TTT.items()},
    quantization__method="gptq",
    data__val_bytes=20_000,
    seed=5,  # nobody else trained it
)
STAGES = ("train", "export", "evaluate", "adapt")
MARKS = fingerprints_of(RECIPE, 1)
ONE_UNIT = {"train": RECIPE.data.micro_batches, "export": 1, "evaluate": 1, "adapt": 1}
"""Passes through the model that no look may interrupt."""


class Watch:
    """Counts looks at the flag in each stage, and passes through the model after each of them."""

    def __init__(self, cut: str = "none", raise_at: int = 0):
        self.cut, self.raise_at, self.now = cut, raise_at, ""
        self.passes: dict[str, list[float]] = defaultdict(lambda: [0.0])

    def report(self, progress: Progress) -> None:
        self.now = progress.stage

    def stopping(self) -> bool:
        self.passes[self.now].append(0.0)
        return self.now == self.cut and self.looks(self.cut) >= self.raise_at

    def looks(self, stage: str) -> int:
        return len(self.passes[stage]) - 1

    def on_block(self, module: nn.Module, inputs: object) -> None:
        if isinstance(module, Block):
            self.passes[self.now][-1] += 1 / RECIPE.model.num_layers


def watched(store: Path, watch: Watch) -> Watch:
    hook = torch.nn.modules.module.register_module_forward_pre_hook(watch.on_block)
    try:
        run(store, RECIPE, stopping=watch.stopping, report=watch.report)
    finally:
        hook.remove()
    return watch


@pytest.fixture(scope="module")
def calm(text_store) -> Watch:
    return watched(text_store, Watch())


@pytest.mark.parametrize("stage", STAGES)
def test_no_look_is_more_than_one_unit_of_work_after_another(calm, stage):
    assert max(calm.passes[stage]) == pytest.approx(ONE_UNIT[stage])


def test_gptq_looks_before_every_calibration_batch_and_every_tensor(calm, text_store):
    with safe_open(text_store / "stages" / "train" / MARKS["train"] / "last.safetensors", "pt") as weights:
        assert calm.looks("export") >= RECIPE.quantization.calibration_batches + len(weights.keys())


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancelled_stage_passes_no_more_through_the_model_and_leaves_nothing_half(
    calm, text_store, fresh_store, stage
):
    store, raise_at = fresh_store(stage), calm.looks(stage) // 2 + 1
    for earlier in STAGES[: STAGES.index(stage)]:
        (store / "stages" / earlier).symlink_to(text_store / "stages" / earlier)
    watch = Watch(stage, raise_at)
    with pytest.raises(Interrupted):
        watched(store, watch)
    assert sum(watch.passes[stage][:raise_at]) > 0
    assert sum(watch.passes[stage][raise_at:]) == 0
    assert not (store / "stages" / stage / MARKS[stage]).exists()
    assert not (store / "records").exists()
