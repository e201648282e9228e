"""Compiled training: all graphs that the schedule needs are compiled before the clock starts, and none afterwards.

A switch that acts late (recurrence, late QAT) needs a second graph. PR #150 compiled it inside the timed loop, which
cost 300 steps; in later records the compiler removed the switch, and with it the technique. Therefore all variants are
run once beforehand, the training state is restored, and later compilations are counted.

`torch._dynamo` is imported by torch at its first use here: it takes 1.4 s of a CPU, and eager runs need none of it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.nn.gpt import GPT
from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.sliding import Windows
from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.stages.training import Training

MIN_COMPILED_STEPS = 500
"""Steps for each graph below which training by steps is not compiled: each saves 0.1 s, a graph takes 45 s."""

MIN_COMPILED_BATCHES = 650
"""Batches of windows a rank below which scoring is not compiled: on an H100 each saves 25 ms, compiling takes 16 s."""

SCORING_GRAPHS = 2
"""Of one function: the rows of a chunk that fill a step of test-time training, and those that are left."""

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
    return model.cross_entropy(x_BT, y_BT)


def is_compiled(recipe: Recipe, device: torch.device) -> bool:
    """Whether training is compiled; `auto` compiles on a GPU, unless training ends after too few steps to repay it."""
    steps = recipe.budget.train_steps
    repaid = recipe.budget.train_s is not None or (steps or 0) >= MIN_COMPILED_STEPS * len(variants(recipe))
    automatic = device.type == "cuda" and repaid
    return {"on": True, "off": False, "auto": automatic}[recipe.system.compile]


def variants(recipe: Recipe) -> list[Variant]:
    """All variants that the recipe's schedule may need."""
    model, quantization = recipe.model, recipe.quantization
    starts_plain, ends_looped = model.recur_at > 0, model.recur_at < 1
    looped = [False] * starts_plain + [True] * ends_looped if model.recur_loops else [True]
    late = [False] + [True] * (quantization.qat_late_below > 0)
    quantized = {"off": [False], "always": [True], "late": late}[quantization.qat]
    return [Variant(*switches) for switches in itertools.product(looped, quantized)]


class Compiler:
    """One of torch's back ends; its graphs are kept, so that the next run of a slot compiles nothing."""

    def __init__(self, name: str):
        self.made = 0
        """Graphs compiled so far."""
        self._compile = torch._dynamo.lookup_backend(name)
        self.loss_of: LossOf = torch.compile(mean_nats, backend=self, fullgraph=True, dynamic=False)

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.made += 1
        return self._compile(graph, inputs)


_compilers: dict[str, Compiler] = {}
_kept_variants: dict[str, int] = {}
"""Graphs that trainings and scorings so far needed, by what they depend on."""


def compiler_for(recipe: Recipe, name: str) -> Compiler:
    """The process's compiler of this name, with room for the recipe's graphs under torch's limit for one function.

    Where there is none, all graphs are dropped; those that inductor made come back from its cache on disk.
    """
    _make_room((name, recipe.model, recipe.data, recipe.quantization), len(variants(recipe)))
    if name not in _compilers:
        _compilers[name] = Compiler(name)
    return _compilers[name]


def _make_room(depends_on: tuple[object, ...], needed: int) -> None:
    """Drops all graphs where `needed` more would exceed torch's limit; counts them unless they are kept already."""
    key = repr(depends_on)
    if key not in _kept_variants and sum(_kept_variants.values()) + needed > torch._dynamo.config.recompile_limit:
        drop_graphs()
    _kept_variants[key] = needed


def drop_graphs() -> None:
    """Forgets every graph of this process."""
    torch.compiler.reset()
    _kept_variants.clear()
    _compilers.clear()


class Graphs:
    """The compiled loss of one training, and the number of graphs compiled for it: none where all were kept."""

    def __init__(self, compiler: Compiler):
        self._compiler = compiler
        self._made_earlier = self._made_before_clock = compiler.made
        self.loss_of = compiler.loss_of

    @property
    def made(self) -> int:
        """Graphs compiled for this training."""
        return self._compiler.made - self._made_earlier

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
        self._made_before_clock = self._compiler.made

    @property
    def made_inside_clock(self) -> int:
        """Graphs compiled after the warm-up, although it should have compiled them."""
        return self._compiler.made - self._made_before_clock


def scoring_forward(model: GPT, recipe: Recipe, num_positions: int, ranks: Ranks) -> Forward:
    """The model's functions for scoring a text: compiled on a GPU where the text is long enough to repay it.

    Compiled states are computed for `evaluation.batch_windows` rows always, the last batch padded, and from the first
    position that windows score, so that one graph serves all batches; but for that of the text's first window, which
    scores all it sees and is not compiled. Compilation counts as evaluation time.
    """
    evaluation = recipe.evaluation
    plain = Forward.of(model)
    windows = Windows(num_positions, evaluation.window_tokens, evaluation.stride_tokens)
    num_batches = len(windows) / (evaluation.batch_windows * ranks.size)
    if ranks.device.type != "cuda" or recipe.system.compile == "off" or num_batches < MIN_COMPILED_BATCHES:
        return plain
    _make_room(("scoring", model.model, evaluation), SCORING_GRAPHS)
    hidden = torch.compile(model.hidden, fullgraph=True, dynamic=False)

    def states(ids_BT: Tensor, first: int) -> Tensor:
        if first != evaluation.window_tokens - evaluation.stride_tokens:
            return plain.states(ids_BT, first)
        missing_rows = evaluation.batch_windows - len(ids_BT)
        return hidden(functional.pad(ids_BT, (0, 0, 0, missing_rows)), first)[: len(ids_BT)]

    def summed_nats(ids_RT: Tensor, targets_RT: Tensor) -> Tensor:
        return model.cross_entropy(ids_RT, targets_RT, "sum")

    return Forward(states, plain.head, torch.compile(summed_nats, fullgraph=True, dynamic=False))


def recompile_reason() -> str:
    """Torch's reason for the latest recompilation."""
    latest = torch._dynamo.utils.get_compilation_metrics()[-1:]
    return (latest[0].recompile_reason or "").split("\n")[0].strip() if latest else ""
