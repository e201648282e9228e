"""Floating point operations of training, and how much of a GPU's peak they use (MFU). Imports no torch."""

from __future__ import annotations

from trainer.spec.recipe import Model, Recipe

PEAK_FLOPS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
}
"""Dense bfloat16 operations per second of one GPU as NVIDIA states them, by a part of its name; the first that fits."""


def flops_per_token(recipe: Recipe, looped: bool = True) -> float:
    """Operations of a forward pass per token, a multiply-add counted as two; backward takes twice that.

    2 per weight of every matrix product, each time its layer runs, the head included; attention 2 T D per layer, since
    a causal position sees T / 2 others on average, in two products of 2 D each.
    looped:  whether recurrent layers run again; in training they do so from a certain step on
    """
    model = recipe.model
    visits = model.num_layers + (_repeated_layers(model) if looped else 0)
    dim, kv_dim = model.model_dim, model.num_kv_heads * model.model_dim // model.num_heads
    layer = dim * (2 * dim + 2 * kv_dim + 2 * model.mlp_hidden)
    attention = 2 * recipe.data.train_seq_len * dim
    return 2.0 * (visits * layer + dim * recipe.data.vocab_size) + visits * attention


def _repeated_layers(model: Model) -> int:
    return model.recur_loops * (model.recur_last - model.recur_first + 1) if model.recur_loops else 0


def mfu(recipe: Recipe, gpu: str, num_gpus: int, tokens_per_s: float, looped_part: float = 1.0) -> float | None:
    """Part of the GPUs' peak that a training of this speed uses; None for a device whose peak is not in the table.

    gpu:          name of one GPU, as nvidia-smi or PyTorch prints it; of a MIG slice no peak is known
    looped_part:  of the tokens, those of steps in which recurrent layers ran again; at 1 it is too high before those
    """
    peak = None if "MIG" in gpu else next((peak for name, peak in PEAK_FLOPS.items() if name in gpu), None)
    if peak is None:
        return None
    once, again = flops_per_token(recipe, looped=False), flops_per_token(recipe)
    return 3 * (once + looped_part * (again - once)) * tokens_per_s / (peak * num_gpus)
