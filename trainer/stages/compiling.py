"""Compiled training: all graphs that the schedule needs are compiled before the clock starts, and none afterwards.

A switch that acts late (recurrence, late QAT) needs a second graph. PR #150 compiled it inside the timed loop, which
cost 300 steps; in later records the compiler removed the switch, and with it the technique. Therefore all variants are
run once beforehand, the training state is restored, and later compilations are counted.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch._dynamo
from torch import Tensor
from torch.nn import functional

from trainer.nn.gpt import GPT
from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.stages.training import Training

LossOf = Callable[[GPT, Tensor, Tensor], Tensor]
"""(model, inputs (B,T), targets (B,T)) → mean nats per token."""


@dataclass(frozen=True)
class Variant:
    """One setting of the switches that change the graph of a training step."""

    looped: bool
    """Whether the recurrent layers are repeated."""
    quantized: bool
    """Whether the forward sees the quantised weights."""


def mean_nats(model: GPT, x_BT: Tensor, y_BT: Tensor) -> Tensor:
    """The loss of one micro-batch, which is compiled and differentiated."""
    return functional.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())


def is_compiled(recipe: Recipe, device: torch.device) -> bool:
    """Whether training is compiled; `auto` compiles on a GPU under a wall-clock budget."""
    automatic = device.type == "cuda" and recipe.budget.train_s is not None
    return {"on": True, "off": False, "auto": automatic}[recipe.system.compile]


def variants(recipe: Recipe) -> list[Variant]:
    """All variants that the recipe's schedule may need."""
    model, quantization = recipe.model, recipe.quantization
    starts_plain, ends_looped = model.recur_at > 0, model.recur_at < 1
    looped = [False] * starts_plain + [True] * ends_looped if model.recur_loops else [True]
    late = [False] + [True] * (quantization.qat_late_below > 0)
    quantized = {"off": [False], "always": [True], "late": late}[quantization.qat]
    return [Variant(*switches) for switches in itertools.product(looped, quantized)]


class Graphs:
    """The compiled loss of one training, and the number of graphs compiled for it."""

    def __init__(self, compiler: str):
        self.made = 0
        self._made_before_clock = 0
        self._compile = torch._dynamo.lookup_backend(compiler)
        torch.compiler.reset()  # graphs of an earlier run count toward torch's limit
        self.loss_of: LossOf = torch.compile(mean_nats, backend=self._counted, fullgraph=True, dynamic=False)

    def warm_up(self, training: Training, recipe: Recipe, step: Callable[[Variant], None]) -> None:
        """Runs `step` under every variant, then restores weights, moments, averages and the data position.

        Raises UserError when this machine cannot compile.
        """
        state = copy.deepcopy(training.state_dict())
        try:
            for variant in variants(recipe):
                step(variant)
        except torch._dynamo.exc.TorchDynamoException as fault:
            message = str(getattr(fault, "inner_exception", fault)) or type(fault).__name__
            reason = message.strip().splitlines()[0]
            raise UserError(f"training cannot be compiled here: {reason}; use system.compile = 'off'") from fault
        training.load_state_dict(state)
        self._made_before_clock = self.made

    @property
    def made_inside_clock(self) -> int:
        """Graphs compiled after the warm-up, although it should have compiled them."""
        return self.made - self._made_before_clock

    def _counted(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.made += 1
        return self._compile(graph, inputs)


def recompile_reason() -> str:
    """Torch's reason for the latest recompilation."""
    latest = torch._dynamo.utils.get_compilation_metrics()[-1:]
    return (latest[0].recompile_reason or "").split("\n")[0].strip() if latest else ""
