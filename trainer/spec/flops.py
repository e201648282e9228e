"""Floating point operations of training and scoring, and how much of a GPU's peak they use (MFU). Imports no torch."""

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

    2 per weight of every matrix product, each time its layer runs, the head and the projections of embedding tables
    included; attention 2 T D per layer, since a causal position sees T / 2 others on average, in two products of 2 D
    each.
    looped:  whether recurrent layers run again; in training they do so from a certain step on
    """
    model = recipe.model
    visits = model.num_layers + (_repeated_layers(model) if looped else 0)
    attention = 2 * recipe.data.train_seq_len * model.model_dim
    weights = _embedding_weights(model) + visits * sum(_layer_weights(model)) + model.model_dim * recipe.data.vocab_size
    return 2.0 * weights + visits * attention


def scoring_flops(recipe: Recipe, num_windows: int, scored_tokens: int) -> float:
    """Operations of a forward pass over windows of T = `evaluation.window_tokens` that score their last S positions.

    As `flops_per_token` counts them. The last layer computes keys and values of T positions, and for S alone queries,
    attention (each sees T - S / 2 on average), projection and MLP; the head runs on S.
    """
    model, tokens = recipe.model, recipe.evaluation.window_tokens
    of_scored, of_all = _layer_weights(model)
    layers_before = model.num_layers + _repeated_layers(model) - 1
    everywhere = _embedding_weights(model) + layers_before * (of_scored + of_all) + of_all
    products = tokens * everywhere + scored_tokens * (of_scored + model.model_dim * recipe.data.vocab_size)
    seen = layers_before * tokens**2 / 2 + scored_tokens * (tokens - scored_tokens / 2)
    return num_windows * (2.0 * products + 4 * model.model_dim * seen)


def _layer_weights(model: Model) -> tuple[int, int]:
    """Weights of a layer's queries, projection and MLP, and of its keys and values."""
    kv_dim = model.num_kv_heads * model.model_dim // model.num_heads
    return 2 * model.model_dim * (model.model_dim + model.mlp_hidden), 2 * model.model_dim * kv_dim


def _embedding_weights(model: Model) -> int:
    """Weights of the projections behind embedding tables; a table of the width it is added to has none."""
    kv_dim = model.num_kv_heads * model.model_dim // model.num_heads
    bigram = bool(model.bigram_buckets) and model.bigram_dim != model.model_dim
    values = bool(model.value_embed_layers) and model.value_embed_dim not in (0, kv_dim)
    return bigram * model.bigram_dim * model.model_dim + values * model.value_embed_dim * kv_dim


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
