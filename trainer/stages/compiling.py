"""Compiled training: every graph that the schedule will activate is made before the clock starts, and none after.

A switch that acts late (recurrence, late QAT) is another graph. PR #150 met its second one inside the timed loop, which
cost 300 steps; later records let the compiler freeze the switch, which cost the technique. So all variants are run once
beforehand, what that changed is put back, and graphs are counted to the end. Knows nothing about the steps themselves.
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
    """The loss of one micro-batch: what is differentiated, and what is compiled."""
    return functional.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())


def is_compiled(recipe: Recipe, device: torch.device) -> bool:
    """Whether training compiles: as the recipe says, else where seconds are the budget and a GPU makes it pay."""
    automatic = device.type == "cuda" and recipe.budget.train_s is not None
    return {"on": True, "off": False, "auto": automatic}[recipe.system.compile]


def variants(recipe: Recipe) -> list[Variant]:
    """All settings that the recipe's schedule may reach."""
    model, quantization = recipe.model, recipe.quantization
    starts_plain, ends_looped = model.recur_at > 0, model.recur_at < 1
    looped = [False] * starts_plain + [True] * ends_looped if model.recur_loops else [True]
    late = [False] + [True] * (quantization.qat_late_below > 0)
    quantized = {"off": [False], "always": [True], "late": late}[quantization.qat]
    return [Variant(*switches) for switches in itertools.product(looped, quantized)]


class Graphs:
    """The compiled loss of one training, and how many graphs it took."""

    def __init__(self, compiler: str):
        self.made = 0
        self._made_before_clock = 0
        self._compile = torch._dynamo.lookup_backend(compiler)
        torch.compiler.reset()  # an earlier run's graphs are of no use, but count towards torch's limit
        self.loss_of: LossOf = torch.compile(mean_nats, backend=self._counted, fullgraph=True, dynamic=False)

    def warm_up(self, training: Training, recipe: Recipe, step: Callable[[Variant], None]) -> None:
        """Runs `step` under every variant, then puts everything back: weights, moments, averages, place in the data.

        Raises UserError when this machine cannot compile.
        """
        state = copy.deepcopy(training.state_dict())
        try:
            for variant in variants(recipe):
                step(variant)
        except torch._dynamo.exc.TorchDynamoException as fault:
            told = str(getattr(fault, "inner_exception", fault)) or type(fault).__name__
            said = told.strip().splitlines()[0]
            raise UserError(f"training cannot be compiled here: {said}; use system.compile = 'off'") from fault
        training.load_state_dict(state)
        self._made_before_clock = self.made

    @property
    def made_inside_clock(self) -> int:
        """Graphs that the warm-up should have met."""
        return self.made - self._made_before_clock

    def _counted(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.made += 1
        return self._compile(graph, inputs)


def recompile_reason() -> str:
    """Which guard made torch compile last, in its words."""
    latest = torch._dynamo.utils.get_compilation_metrics()[-1:]
    return (latest[0].recompile_reason or "").split("\n")[0].strip() if latest else ""
