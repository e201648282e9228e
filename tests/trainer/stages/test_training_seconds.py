"""The recorded seconds of training are the seconds it took, on a device that works behind its host and over ranks."""

import contextlib
import math
import threading

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.fakes import AsynchronousRanks, HandClock, on_ranks
from tests.trainer.stages.conftest import small
from tests.trainer.stages.test_training_clock import TINIEST, WALL_CLOCK
from trainer.nn.block import Block
from trainer.optim.first_order import AdamW
from trainer.spec.errors import BudgetExceeded
from trainer.spec.record import StageOutcome
from trainer.stages.context import StageContext
from trainer.stages.export import export
from trainer.stages.run_record import fingerprints_of
from trainer.stages.train import initial_model, train_model
from trainer.store.local import StageStore

STEPS = {"budget__train_steps": 20, "averaging__use": "none", "averaging__swa_every": 0}
FORWARD_S, OPTIMIZER_S = 0.070, 0.015


@pytest.fixture
def optimizers_take_time(monkeypatch):
    """Every step of Adam launches work on the device of the rank whose thread takes it."""
    worker = threading.local()
    step = AdamW.step

    def slow_step(adam):
        step(adam)
        worker.device.launch(OPTIMIZER_S)

    monkeypatch.setattr(AdamW, "step", slow_step)
    return worker


def trained(text_store, tmp_path, here, num_ranks, **changes):
    """Metrics of the first rank, and how long its training really took."""
    eight = {"data__train_batch_tokens": 8 * 16, "data__micro_batches": 8}
    recipe = small(**TINIEST | eight | changes)

    def work(ranks):
        here.device = ranks.worker
        model = initial_model(recipe, torch.device("cpu"))
        share_s = FORWARD_S * (1.2 if ranks.rank == 1 else 1.0) * ranks.size / recipe.data.micro_batches  # one lags
        model.tok_emb.register_forward_pre_hook(lambda *_: ranks.worker.launch(share_s))
        ranks.worker.advance(100.0)  # before the first step: nothing to do with training
        store, stages = StageStore(text_store), fingerprints_of(recipe, 1)
        context = StageContext(recipe, "run", store, stages, ranks, clock=ranks.worker, snapshot_every_s=math.inf)
        metrics = train_model(context, tmp_path, model)
        return metrics, ranks.worker.busy_until_s - 100.0

    return on_ranks(num_ranks, work, AsynchronousRanks)[0]


@pytest.mark.parametrize("num_ranks", [1, 8])
def test_recorded_seconds_are_those_until_the_last_step_is_done_on_the_device(
    text_store, tmp_path, optimizers_take_time, num_ranks
):
    metrics, true_s = trained(text_store, tmp_path, optimizers_take_time, num_ranks, **STEPS)
    assert metrics["train_s"] == pytest.approx(true_s, rel=0.01)


@pytest.mark.parametrize("num_ranks", [1, 8])
def test_a_budget_of_seconds_is_kept_by_the_device_not_by_the_host(
    text_store, tmp_path, optimizers_take_time, num_ranks
):
    budget = WALL_CLOCK | {"budget__train_s": 4.0}
    metrics, true_s = trained(text_store, tmp_path, optimizers_take_time, num_ranks, **budget)
    assert metrics["train_s"] == pytest.approx(true_s, rel=0.01)
    assert 0.97 * 4.0 < metrics["train_s"] <= 4.0


def test_snapshots_between_two_steps_count_as_training(text_store, tmp_path, monkeypatch):
    recipe, clock, save = small(**TINIEST | STEPS), HandClock(), torch.save

    def save_on_a_slow_disk(*arguments):
        save(*arguments)
        clock.advance(2.0)

    monkeypatch.setattr(torch, "save", save_on_a_slow_disk)
    model = initial_model(recipe, torch.device("cpu"))
    model.tok_emb.register_forward_pre_hook(lambda *_: clock.advance(1.0))
    stages = fingerprints_of(recipe, 1) | {"train": "with_snapshots"}
    context = StageContext(recipe, "run", StageStore(text_store), stages, clock=clock, snapshot_every_s=0.0)
    metrics = train_model(context, tmp_path, model)
    assert metrics["train_s"] == 20 * 1.0 + 19 * 2.0  # that of the last step follows the end of training


def test_seconds_of_calibration_are_those_of_the_device(text_store, tmp_path):
    recipe, ranks = small(quantization__method="gptq", quantization__calibration_batches=3), AsynchronousRanks()
    store, worker = StageStore(text_store), ranks.worker
    context = StageContext(recipe, "run", store, fingerprints_of(recipe, 1), ranks, clock=worker)
    hook = register_module_forward_pre_hook(lambda module, _: worker.launch(2.0) if isinstance(module, Block) else None)
    with contextlib.ExitStack() as undone:
        undone.callback(hook.remove)
        metrics = export(context, tmp_path)
    assert metrics["calibration_s"] == pytest.approx(3 * 2.0 * recipe.model.num_layers)


def test_calibration_ends_at_the_batch_that_is_over_the_budget(text_store, tmp_path):
    gptq = {"quantization__method": "gptq", "quantization__calibration_batches": 50}
    recipe, ranks = small(**gptq, budget__train_s=30.0, budget__reserve_s=9.0), AsynchronousRanks()
    stages, worker = fingerprints_of(small(**gptq), 1), ranks.worker
    context = StageContext(recipe, "run", StageStore(text_store), stages, ranks, clock=worker)
    context.outcomes["train"] = StageOutcome(
        stage="train", fingerprint="", seconds=0.0, started_at="", host="", metrics={"train_s": 20.0}
    )
    hook = register_module_forward_pre_hook(lambda module, _: worker.launch(1.0) if isinstance(module, Block) else None)
    with contextlib.ExitStack() as undone:
        undone.callback(hook.remove)
        with pytest.raises(BudgetExceeded, match=r"20.0 s \+ 12.0 s of calibration exceeds budget.train_s = 30 s"):
            export(context, tmp_path)
    assert not (tmp_path / "artifact.bin").exists()
