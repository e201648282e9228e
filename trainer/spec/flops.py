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


def flops_per_token(recipe: Recipe) -> float:
    """Operations of one training token, forward and backward. Layers that are run again count each time.

    By the usual count: 6 for each weight of a matrix, and 12 times width x sequence length for the attention of a layer
    (PaLM, appendix B).
    """
    model = recipe.model
    layers = model.num_layers + _repeated_layers(model)
    dim, kv_dim = model.model_dim, model.num_kv_heads * (model.model_dim // model.num_heads)
    matrices = 2 * dim * dim + 2 * dim * kv_dim + 2 * dim * model.mlp_hidden
    head = recipe.data.vocab_size * dim
    return 6.0 * (head + layers * matrices) + 12.0 * layers * dim * recipe.data.train_seq_len


def _repeated_layers(model: Model) -> int:
    return model.recur_loops * (model.recur_last - model.recur_first + 1) if model.recur_loops else 0


def mfu(recipe: Recipe, gpu: str, num_gpus: int, tokens_per_s: float) -> float | None:
    """Part of the GPUs' peak that a training of this speed uses; None for a device whose peak is not in the table.

    gpu:  name of one GPU, as nvidia-smi prints it
    """
    peak = next((peak for name, peak in PEAK_FLOPS.items() if name in gpu), None)
    return None if peak is None else flops_per_token(recipe) * tokens_per_s / (peak * num_gpus)
