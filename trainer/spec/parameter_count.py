"""Number of weights of a recipe's model, without building it. A test compares it with the model's own parameters."""

from __future__ import annotations

from trainer.spec.recipe import Model


def num_parameters(model: Model, vocab_size: int) -> int:
    """Weights of all tensors of the model, a tied head counted once."""
    dim, kv_dim = model.model_dim, model.num_kv_heads * (model.model_dim // model.num_heads)
    embedding = vocab_size * dim * (1 if model.tie_embeddings else 2)
    return embedding + _tables(model, vocab_size, kv_dim) + _skips(model) + model.num_layers * _block(model, kv_dim)


def _block(model: Model, kv_dim: int) -> int:
    dim = model.model_dim
    matrices = 2 * dim * dim + 2 * dim * kv_dim + 2 * dim * model.mlp_hidden
    return matrices + model.num_heads + 4 * dim  # gains of the queries; two scales, and the mix of two streams


def _tables(model: Model, vocab_size: int, kv_dim: int) -> int:
    """Bigram table, value embedding and smear gate, as far as there are any."""
    count = model.model_dim if model.smear_gate == "vector" else 0
    if model.bigram_buckets:
        count += _table(model.bigram_buckets, model.bigram_dim, model.model_dim)
    if model.value_embed_dim and model.value_embed_layers:
        count += _table(vocab_size, model.value_embed_dim, kv_dim) + len(model.value_embed_layers)
    return count


def _table(rows: int, width: int, used_width: int) -> int:
    """With its scale, and with its projection unless the widths are the same."""
    return rows * width + (width * used_width if width != used_width else 0) + 1


def _skips(model: Model) -> int:
    repeated = model.recur_loops * (model.recur_last - model.recur_first + 1) if model.recur_loops else 0
    return (model.num_layers + repeated) // 2 * model.model_dim * (2 if model.skip_gates else 1)
