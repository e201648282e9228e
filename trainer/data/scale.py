"""Scores of trivial codes on the validation text, to compare a model with: uniform, token frequencies, and zstd.

All are in bits per byte, as `val_bpb` is.
"""

from __future__ import annotations

import math

import numpy as np
import zstandard

ZSTD_LEVEL = 22


def trivial_scores(
    train_tokens: np.ndarray, val_tokens: np.ndarray, vocab_size: int, val_text_bytes: bytes
) -> dict[str, float]:
    """`uniform_bpb`, `unigram_bpb` and `zstd22_bpb` of a validation text that is not empty.

    train_tokens:    any integer dtype, the unigram code is estimated from these
    val_tokens:      any integer dtype, the whole split with BOS; as for a model, the first token is not scored
    val_text_bytes:  UTF-8 bytes of the counted text; its length divides all three (level 22: about 1 s per MB)
    """
    targets = val_tokens[1:]
    num_bytes = len(val_text_bytes)
    compressed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(val_text_bytes)
    return {
        "uniform_bpb": len(targets) * math.log2(vocab_size) / num_bytes,
        "unigram_bpb": _unigram_bits(train_tokens, targets, vocab_size) / num_bytes,
        "zstd22_bpb": 8 * len(compressed) / num_bytes,
    }


def _unigram_bits(train_tokens: np.ndarray, targets: np.ndarray, vocab_size: int) -> float:
    """Bits of the targets under token frequencies with one added to each count."""
    counts = np.bincount(train_tokens, minlength=vocab_size) + 1
    bits = np.log2(counts.sum()) - np.log2(counts)
    return float(np.bincount(targets, minlength=vocab_size) @ bits)
