"""Calibration of GPTQ: Hessians of the layers' inputs, from train text in the float model.

Reads the data order and the number of batches; uses no validation text. Its seconds count as training (conditions E7
and E8, docs/recipe.md 1.4), for which the training loop leaves `budget.reserve_s`. The ranks divide the batches.
"""

# B rows · T positions · D width · N inputs of a layer · C their width
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from trainer.data.loader import make_loader
from trainer.data.shards import read_shard, split_files
from trainer.nn.gpt import GPT
from trainer.nn.linear import Linear
from trainer.quant.gptq import Hessian
from trainer.ranks import Ranks
from trainer.spec.budget import check_train_s
from trainer.spec.errors import Interrupted
from trainer.spec.tensors import EMBEDDING, HEAD
from trainer.stages.context import RunContext

SAME_INPUT = {"c_k": "c_q", "c_v": "c_q"}
"""Layers with the same input as another one, whose Hessian they use."""


def calibration_batches(context: RunContext) -> Iterable[Tensor]:
    """Inputs ids_BT of this rank's share of the first micro-batches of the recipe's data order.

    Every rank must take all of its share. Raises on all ranks before the same batch: BudgetExceeded where training and
    calibration are over `budget.train_s`, Interrupted where the run should stop.
    """
    recipe, ranks, device = context.recipe, context.ranks, context.ranks.device
    paths = split_files(context.text_folder("train_text"), "train")
    shards = [read_shard(path, recipe.data.vocab_size) for path in paths]
    loader = make_loader(recipe.data, recipe.seed, shards, Ranks(device=device), device)
    train_s, started_s = float(context.metrics("train").get("train_s") or 0.0), math.nan
    num_batches = recipe.quantization.calibration_batches
    for first in range(0, num_batches, ranks.size):
        now_s, stop = context.settled_on_first()
        if stop:
            raise Interrupted(context.run_id)
        started_s = now_s if first == 0 else started_s
        check_train_s(train_s, now_s - started_s, recipe.budget)
        if first + ranks.rank < num_batches:
            loader.load_state_dict({"micro_batches_taken": first + ranks.rank})
            yield loader.next_micro_batch()[0]


@torch.no_grad()
def layer_hessians(model: GPT, batches: Iterable[Tensor], ranks: Ranks | None = None) -> dict[str, Hessian]:
    """Sum of x x^T over the inputs of every linear layer, in float32, by the name of its weight.

    The head reads the final normed state; a tied embedding is the head (docs/recipe.md 4.5). With `ranks` the sum over
    the batches of all.
    """
    sums: dict[str, Tensor] = {}
    linears = {name: module for name, module in model.named_modules() if isinstance(module, Linear) and name != "head"}
    own = {name: module for name, module in linears.items() if _leaf(name) not in SAME_INPUT}
    hooks = [module.register_forward_pre_hook(_adder(sums, f"{name}.weight")) for name, module in own.items()]
    head = EMBEDDING if model.head is None else HEAD
    model.eval()
    for ids_BT in batches:
        _add(sums, head, model.hidden(ids_BT))
    for hook in hooks:
        hook.remove()
    if ranks and ranks.size > 1:
        _sum_over(ranks, sums, {f"{name}.weight": module.weight for name, module in own.items()}, head, model)
    hessians = {name: Hessian(inputs_CC) for name, inputs_CC in sums.items()}
    for name in linears:
        if shared := SAME_INPUT.get(_leaf(name)):
            hessians[f"{name}.weight"] = hessians[f"{name.removesuffix(_leaf(name))}{shared}.weight"]
    return hessians


def _sum_over(ranks: Ranks, sums: dict[str, Tensor], weights: Mapping[str, Tensor], head: str, model: GPT) -> None:
    """Sums in place; a rank that had no batch brings zeros."""
    widths = {name: weight.size(1) for name, weight in weights.items()} | {head: model.model.model_dim}
    for name, width in widths.items():
        if name not in sums:
            sums[name] = torch.zeros(width, width, device=ranks.device)
        ranks.sum_(sums[name])


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _adder(sums: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]  # torch's own hook type is loose
    def hook(module: nn.Module, inputs: tuple[Tensor]) -> None:
        _add(sums, name, inputs[0])

    return hook


def _add(sums: dict[str, Tensor], name: str, inputs_BTC: Tensor) -> None:
    gram_CC = _gram(inputs_BTC.flatten(0, -2))
    sums[name] = sums[name].add_(gram_CC) if name in sums else gram_CC


def _gram(inputs_NC: Tensor) -> Tensor:
    """x^T x in float32. Products of bfloat16 numbers are exact there, so a GPU multiplies them as they are."""
    if inputs_NC.is_cuda and inputs_NC.dtype == torch.bfloat16:
        return torch.mm(inputs_NC.T, inputs_NC, out_dtype=torch.float32)
    return inputs_NC.T.float() @ inputs_NC.float()
