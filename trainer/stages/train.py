"""The stage `train`: trains the model on the training shards.

Reads model, optimizer, schedule, seed, the training budget, which averages to keep, and the training text. Uses no
validation text. Leaves `last.safetensors`, `swa.safetensors` or `ema.safetensors` where tracked, and
`curve.csv`. Starts again when any of those fields, the text, or (under a wall clock) the environment changes. Goes on
from its last snapshot when it was stopped or killed.
"""

from __future__ import annotations

import math
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.loader import Loader, make_loader
from trainer.data.shards import read_shard, split_files
from trainer.nn.gpt import GPT, num_parameters
from trainer.optim.averaging import EMA, SWA
from trainer.optim.optimizers import clip_gradients, make_optimizers
from trainer.quant.fit import estimated_multiplier
from trainer.quant.packing import weight_transform
from trainer.ranks import Ranks
from trainer.spec.budget import model_limit_bytes, training_ends
from trainer.spec.errors import Interrupted, UserError
from trainer.spec.flops import mfu
from trainer.spec.recipe import Recipe
from trainer.spec.record import Metric
from trainer.spec.schedule import multiplier, takes_snapshot, used_fraction, warmdown_is_due
from trainer.spec.stage_table import CURVE_FILE
from trainer.stages.compiling import Graphs, LossOf, Variant, compiler_for, is_compiled, mean_nats
from trainer.stages.context import RunContext, StageContext
from trainer.stages.training import SnapshotTimer, Training, read_snapshot, write_snapshot
from trainer.stages.training_clock import TrainingClock
from trainer.stages.weights import build_model, save_weights

LAST, SWA_FILE, EMA_FILE = "last.safetensors", "swa.safetensors", "ema.safetensors"
REPORT_EVERY_STEPS = 10
FITTED_PARTS = 20
"""Parts of the training budget, in each of which QAT under `fit_bytes` chooses its scales anew."""
CURVE_COLUMNS = "step,train_loss,multiplier,elapsed_s"
AfterStep = Callable[[float], None]
"""Called with the seconds of the budget that no step has a claim on; infinite without a wall clock."""


@dataclass(frozen=True)
class Decision:
    """What holds for the coming step; the same on every rank, since the clocks of all hold the first one's times."""

    ends: bool
    multiplier: float
    """On every learning rate."""
    settled_multiplier: float
    """What SWA and late QAT wait for: the multiplier, or 1 while only a step estimate that may yet change lowers it."""
    looped: bool
    """Whether the step repeats the recurrent layers."""
    part: int
    """Number of the part of the budget that the step lies in."""

    @classmethod
    def of(cls, recipe: Recipe, step: int, clock: TrainingClock) -> Decision:
        """Also begins the warm-down on the clock when it is due."""
        schedule, budget = recipe.schedule, recipe.budget
        if warmdown_is_due(schedule, budget, clock.elapsed_s, clock.fast_step_s):
            clock.begin_warmdown()
        used = used_fraction(budget, step, clock.elapsed_s)
        return cls(
            ends=training_ends(budget, step, clock.elapsed_s, clock.next_step_s),
            multiplier=multiplier(schedule, budget, step, clock.elapsed_s, clock.step_s),
            settled_multiplier=multiplier(schedule, budget, step, clock.elapsed_s, clock.warmdown_step_s),
            # Without recurrence the flag never moves: a compiled graph would be made again for nothing.
            looped=not recipe.model.recur_loops or used >= recipe.model.recur_at,
            part=int(used * FITTED_PARTS),
        )


AT_WARM_UP = Decision(ends=False, multiplier=1.0, settled_multiplier=1.0, looped=True, part=0)
"""Of a step that is undone; its graph is chosen by `Variant`."""


def train(context: StageContext, folder: Path) -> dict[str, Metric]:
    """Runs on every rank; the first one writes."""
    return train_model(context, folder, initial_model(context.recipe, context.ranks.device))


def initial_model(recipe: Recipe, device: torch.device) -> GPT:
    """The model at step 0, drawn from the run's seed; the same bits on every device."""
    model = build_model(recipe.model, recipe.data.vocab_size, device)
    model.init_weights(torch.Generator(device="cpu").manual_seed(recipe.seed))
    return model


def train_model(context: StageContext, folder: Path, model: GPT) -> dict[str, Metric]:
    """Trains a model that is given, from its latest snapshot on; `train` is this from the run's own start.

    Asked to stop, it raises Interrupted after a snapshot, so that not a step is lost.
    """
    training, path, is_first = begin(context, model), context.snapshot_path("train"), context.ranks.is_first
    started_at_step = training.step
    timer = SnapshotTimer(context.snapshot_every_s, training.clock.elapsed_s)

    def after_step(left_s: float) -> None:
        timer(path, training, left_s, context.clock)

    try:
        metrics = run_steps(context, training, after_step)
    except Interrupted:
        if is_first and training.step:
            write_snapshot(path, training)
        raise
    if is_first:
        save_training(training, folder)
    used = _mfu(context.recipe, context.ranks, float(metrics["tokens_per_s"] or 0.0))
    return metrics | {"mfu": used, "continued_at_step": started_at_step}


def _mfu(recipe: Recipe, ranks: Ranks, tokens_per_s: float) -> float | None:
    """Part of the GPUs' peak that the whole training used; None on a CPU, and on a GPU whose peak is not known.

    Under a clock recurrence begins at a part of the time; it is counted as that part of the tokens. Not called by
    `run_steps`, whose text goes into submissions, where each byte counts.
    """
    if ranks.device.type != "cuda":
        return None
    looped_part = 1.0 - recipe.model.recur_at if recipe.model.recur_loops else 0.0
    return mfu(recipe, torch.cuda.get_device_name(ranks.device), ranks.size, tokens_per_s, looped_part)


def run_steps(
    context: RunContext, training: Training, after_step: AfterStep = lambda left_s: None
) -> dict[str, Metric]:
    """Trains until the budget ends. Every rank calls it; `after_step` is called on the first one.

    Raises Interrupted when asked to stop, after a whole step.
    """
    recipe, ranks, clock = context.recipe, context.ranks, training.clock
    switch = _switches(training, recipe)
    graphs = Graphs(compiler_for(recipe, context.compiler)) if is_compiled(recipe, ranks.device) else None
    loss_of = graphs.loss_of if graphs else mean_nats
    if graphs:

        def one_step(variant: Variant) -> None:
            switch(variant)
            update(training, recipe, AT_WARM_UP, ranks, loss_of)

        context.tell("train", 0.0, "compiling")
        graphs.warm_up(training, recipe, one_step)

    context.check_interrupted()
    clock.start(ranks.broadcast_numbers(context.settled_s())[0])  # every rank has warmed up: they all just answered
    while not (decision := Decision.of(recipe, training.step, clock)).ends:
        training.sees_quantized |= _sees_quantized(recipe, decision.settled_multiplier)
        if training.sees_quantized and recipe.quantization.fit_bytes:
            fit_scales(training, recipe, decision.part, ranks)
        switch(Variant(decision.looped, training.sees_quantized))
        loss = update(training, recipe, decision, ranks, loss_of)
        end_step(context, training, decision, loss)
        if ranks.is_first:
            after_step(_left_s(recipe, clock))
    return {
        "steps": training.step,
        "train_s": clock.elapsed_s,
        "train_loss": training.loss,
        "tokens_per_s": training.step * recipe.data.train_batch_tokens / max(clock.elapsed_s, 1e-9),
        "swa_snapshots": training.swa.count if training.swa else 0,
        "graphs": graphs.made if graphs else 0,
        "graphs_inside_clock": graphs.made_inside_clock if graphs else 0,
        "peak_memory_bytes": peak_memory_bytes(ranks.device),
        "num_parameters": num_parameters(training.model),
    } | _fitted(training, recipe)


def _fitted(training: Training, recipe: Recipe) -> dict[str, Metric]:
    """The multiplier that training saw last, where it saw any, for the export to start from."""
    sees = recipe.quantization.fit_bytes and training.sees_quantized
    return {"scale_multiplier": training.scale_multiplier.item()} if sees else {}


def begin(context: StageContext, model: GPT) -> Training:
    """The training of a model at its first step, or where the latest snapshot left it."""
    training = started(context, model)
    state = read_snapshot(context.snapshot_path("train"))
    if not context.ranks.any(state is None):  # all ranks go on, or none
        assert state is not None
        training.load_state_dict(state)
    return training


def started(context: RunContext, model: GPT) -> Training:
    """The training of a model at its first step."""
    recipe, ranks = context.recipe, context.ranks
    model.train()
    shards = [
        read_shard(path, recipe.data.vocab_size) for path in split_files(context.text_folder("train_text"), "train")
    ]
    averaging = recipe.averaging
    training = Training(
        model,
        make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks),
        make_loader(recipe.data, recipe.seed, shards, ranks, ranks.device),
        swa=SWA() if averaging.swa_every else None,
        ema=EMA(averaging.ema_decay) if averaging.ema_decay else None,
        scale_multiplier=torch.ones((), device=ranks.device),
    )
    if training.ema:
        training.ema.update(model.named_parameters())  # it starts from the initial weights
    return training


def end_step(context: RunContext, training: Training, decision: Decision, loss: Tensor) -> None:
    """Reads loss and clock once every rank and the device are done with the step, and leaves when asked to stop.

    loss:  of `update`, on the host once the device is done: the one wait of a step
    The first rank's clock holds the wait for the slowest: its device is done when the updates of all have arrived.
    Raises UserError where training diverged.
    """
    step, clock = training.step, training.clock
    ended_s, stop = context.settled_on_first()
    clock.end_step(ended_s)
    training.loss = float(loss)
    if not math.isfinite(training.loss):
        muon, adam = context.recipe.optimizer.muon, context.recipe.optimizer.adam
        raise UserError(
            f"training diverged: the loss of step {step} is {training.loss}; lower optimizer.muon.lr = "
            f"{muon.lr:g} or optimizer.adam.embed_lr = {adam.embed_lr:g}"
        )
    training.curve.append(f"{step},{training.loss:.6f},{decision.multiplier:.6f},{clock.elapsed_s:.3f}")
    if stop:
        raise Interrupted(context.run_id)
    if step % REPORT_EVERY_STEPS == 0:
        done = min(used_fraction(context.recipe.budget, step + 1, clock.elapsed_s), 1.0)
        tokens_per_s = context.recipe.data.train_batch_tokens / clock.mean_step_s
        context.tell("train", done, f"step {step}  loss {training.loss:.3f}", tokens_per_s)


def _left_s(recipe: Recipe, clock: TrainingClock) -> float:
    """Seconds of the budget after the coming step; infinite without a wall clock."""
    loop_s = recipe.budget.loop_s
    return math.inf if loop_s is None else loop_s - clock.elapsed_s - (clock.next_step_s or 0.0)


def fit_scales(training: Training, recipe: Recipe, part: int, ranks: Ranks) -> None:
    """Chooses the scales that the coming steps see, from the weights as they are, once in each part of the budget."""
    if training.fitted_in_part == part:
        return
    training.fitted_in_part = part
    weights = {name: weight.detach() for name, weight in training.model.named_parameters()}
    multiplier = estimated_multiplier(weights, recipe.quantization, model_limit_bytes(recipe.budget))
    ranks.broadcast_(training.scale_multiplier.fill_(multiplier))


def _switches(training: Training, recipe: Recipe) -> Callable[[Variant], None]:
    """What sets the model's switches for the coming step."""
    model, quantization = training.model, recipe.quantization
    fake_quantize = weight_transform(quantization, training.scale_multiplier) if quantization.qat != "off" else None

    def switch(variant: Variant) -> None:
        model.looped = variant.looped
        model.set_weight_transform(fake_quantize if variant.quantized else None)

    return switch


def update(training: Training, recipe: Recipe, decision: Decision, ranks: Ranks, loss_of: LossOf = mean_nats) -> Tensor:
    """Launches one optimiser step, and the averages after it; waits for nothing.

    Returns the mean loss of the batch in nats per token, on the host once the device is done.
    """
    model, step, num_micro_steps = training.model, training.step, recipe.data.micro_batches // ranks.size
    loss = accumulate_gradients(model, training.loader, num_micro_steps, ranks, loss_of)
    clip_gradients(model.parameters(), recipe.optimizer.grad_clip)
    training.optimizers.step(decision.multiplier, step)
    training.optimizers.zero_grad()
    if training.swa and takes_snapshot(recipe.averaging, step + 1, decision.settled_multiplier):
        training.swa.update(model.named_parameters())
    if training.ema:
        training.ema.update(model.named_parameters())
    training.loader.prefetch()
    return ranks.to_host(loss)


def save_training(training: Training, folder: Path) -> None:
    """Writes the last weights, the averages there are, and the curve."""
    save_weights(folder / LAST, dict(training.model.named_parameters()))
    if training.swa and training.swa.count:
        save_weights(folder / SWA_FILE, training.swa.average())
    if training.ema:
        save_weights(folder / EMA_FILE, training.ema.average())
    (folder / CURVE_FILE).write_text("\n".join([CURVE_COLUMNS, *training.curve]) + "\n", encoding="utf-8")


def accumulate_gradients(
    model: GPT, loader: Loader, num_micro_steps: int, ranks: Ranks, loss_of: LossOf = mean_nats
) -> Tensor:
    """Mean gradient of one step's batch on every rank, and the mean loss of the batch in nats per token.

    Each micro-batch weighs the same; sums over ranks happen once, in one flat buffer that ends with the loss.
    """
    num_micro_batches = num_micro_steps * ranks.size
    total = torch.zeros((), dtype=torch.float32, device=ranks.device)
    for _ in range(num_micro_steps):
        x_BT, y_BT = loader.next_micro_batch()
        loss = loss_of(model, x_BT, y_BT) / num_micro_batches
        loss.backward()
        total += loss.detach()
    return total if ranks.size == 1 else _summed(list(model.parameters()), total, ranks)


def _summed(parameters: list[torch.nn.Parameter], loss: Tensor, ranks: Ranks) -> Tensor:
    """The sum of the loss over ranks; every gradient becomes that of its own, a part of the buffer that was sent."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    *gradients, summed = ranks.summed([*(parameter.grad for parameter in learning if parameter.grad is not None), loss])
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.grad = gradient
    return summed.clone()  # so that the buffer lives no longer than the gradients


def _sees_quantized(recipe: Recipe, settled_multiplier: float) -> bool:
    quantization = recipe.quantization
    return quantization.qat == "always" or settled_multiplier < quantization.qat_late_below


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process ever held: on the GPU where there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(peak[1]) * 1024
    # Not on Linux, where this begins with the peak of the process that started the program.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
