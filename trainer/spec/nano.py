"""The nano sibling of any recipe: the same switches at tiny widths, for a few steps on the standard library's text.

One rule for all presets, so that all code that a preset switches on runs on a CPU in seconds. The depth is kept, so
lists of layers and recurrent segments stay as they are. Scores of a nano run say nothing about the preset's quality.
"""

from __future__ import annotations

from typing import Any

from trainer.spec.recipe import Recipe

SUFFIX = "_nano"
WIDTH, HEADS, SEQ_TOKENS, STEPS, WARMDOWN_STEPS = 64, 4, 64, 10, 5
LATE = 0.5
"""Smallest threshold of a late phase: in a few steps the multiplier does not fall below smaller ones."""


def nano_values(recipe: Recipe) -> dict[str, Any]:
    """Values that the nano sibling changes, by dotted key; switches, learning rates and fractions are kept."""
    return {
        **_model(recipe),
        **_data(recipe),
        **_training(recipe),
        "quantization.min_elements": 512,
        "quantization.calibration_batches": 2,
        "evaluation.window_tokens": SEQ_TOKENS,
        "evaluation.stride_tokens": SEQ_TOKENS // (1 if _scores_rows(recipe) else 4),
        "ttt.chunk_tokens": 16 * SEQ_TOKENS,
        "ttt.batch_rows": 8,
    }


def _model(recipe: Recipe) -> dict[str, Any]:
    model = recipe.model
    narrower = model.model_dim / WIDTH
    head_dim = WIDTH // HEADS
    rotated = model.rope_dims * head_dim // (model.model_dim // model.num_heads)
    native = model.rope_native_tokens * SEQ_TOKENS // recipe.data.train_seq_len
    return {
        "model.model_dim": WIDTH,
        "model.num_heads": HEADS,
        "model.num_kv_heads": max(HEADS * model.num_kv_heads // model.num_heads, 1),
        "model.mlp_hidden": round(model.mlp_hidden / narrower),
        "model.rope_dims": max(rotated // 2 * 2, 2) if model.rope_dims else 0,
        "model.rope_native_tokens": max(native, 1) if model.rope_native_tokens else 0,
        "model.bigram_buckets": min(model.bigram_buckets, 128),
        "model.bigram_dim": max(round(model.bigram_dim / narrower), 1),
        "model.value_embed_dim": round(model.value_embed_dim / narrower),
        "model.compute_dtype": "float32",
    }


def _data(recipe: Recipe) -> dict[str, Any]:
    return {
        "data.source": "stdlib",
        "data.vocab_size": min(recipe.data.vocab_size, 512),
        "data.val_bytes": 8_000,
        "data.train_seq_len": SEQ_TOKENS,
        "data.train_batch_tokens": 8 * SEQ_TOKENS,
        "data.micro_batches": 4,
    }


def _training(recipe: Recipe) -> dict[str, Any]:
    averaging = recipe.averaging
    return {
        "budget.train_steps": STEPS,
        "budget.train_s": None,
        "schedule.warmdown_steps": min(recipe.schedule.warmdown_steps, WARMDOWN_STEPS),
        "optimizer.muon.momentum_warmup_steps": min(recipe.optimizer.muon.momentum_warmup_steps, WARMDOWN_STEPS),
        "averaging.swa_every": min(averaging.swa_every, 1),
        "averaging.swa_min_step": 2,
        "averaging.swa_below": max(averaging.swa_below, LATE),
        "quantization.qat_late_below": max(recipe.quantization.qat_late_below, LATE),
        "averaging.ema_decay": min(averaging.ema_decay, 0.8),
    }


def _scores_rows(recipe: Recipe) -> bool:
    """Whether the recipe scores rows that do not overlap."""
    return recipe.evaluation.stride_tokens == recipe.evaluation.window_tokens
