"""Coarser scales until the artifact fits: as little coarser as an entropy estimate and few encodings can find.

Every row scale of the recipe's rule is multiplied by one number, at least 1. Deterministic: the same weights, limit
and coder give the same number. What the limit is, and what the bytes are counted with, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.quant.artifact import encode_artifact
from trainer.quant.fake_quant import RowScale, quantize_rows
from trainer.quant.packing import clip_stds_of, integer_bits, row_scale, searches_clip, storage_of
from trainer.spec.recipe import Model, Quantization

MOST_ENCODINGS = 3
COARSEST = 64.0
"""At this multiple of any rule's scale nearly every code is zero."""
PRECISION = 1e-3
"""Relative precision of the multiplier."""
SLACK = 0.003
"""Share of the limit that an artifact may leave unused before a finer one is tried."""
MARGIN, EXTRAPOLATION = 0.0015, 0.08
"""Shares of the limit that a guess keeps free: the first, more for a later guess, and more the further it reaches."""
SAMPLED_ROWS = 64
"""Rows of each matrix that the estimate looks at, evenly spread."""


@dataclass(frozen=True)
class Fitted:
    """An artifact, and how it was made to fit."""

    artifact: bytes
    coarser: float
    """What the scales of the rule were multiplied by; 1 if the rule itself fits."""
    encodings: int


def encode_to_fit(
    state: Mapping[str, Tensor],
    model: Model,
    vocab_size: int,
    quantization: Quantization,
    limit_bytes: int,
    hessians: Mapping[str, Tensor] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Fitted:
    """The finest artifact of at most `limit_bytes` that was found; the smallest one tried where none fits.

    The ratio of coded to estimated bytes in each encoding gives the next step of the search.
    """

    def encoded(coarser: float, number: int) -> Fitted:
        artifact = encode_artifact(state, model, vocab_size, quantization, hessians, between, coarser)
        return Fitted(artifact, coarser, number)

    by_gptq = frozenset(hessians or ())
    tried = [encoded(1.0, 1)]
    while len(tried) < MOST_ENCODINGS:
        latest = tried[-1]
        size = len(latest.artifact)
        if size <= limit_bytes and (latest.coarser == 1.0 or size >= limit_bytes * (1 - SLACK)):
            break
        points = [(estimated_bytes(state, quantization, one.coarser, by_gptq), len(one.artifact)) for one in tried]
        wanted = limit_bytes * (1 - MARGIN * len(tried) - EXTRAPOLATION * abs(size / limit_bytes - 1))
        guess = coarsening(state, quantization, _estimate_of(wanted, points), by_gptq)
        if guess in (one.coarser for one in tried):
            break
        tried.append(encoded(guess, len(tried) + 1))
    fitting = [one for one in tried if len(one.artifact) <= limit_bytes]
    best = min(fitting, key=lambda one: one.coarser) if fitting else min(tried, key=lambda one: len(one.artifact))
    return Fitted(best.artifact, best.coarser, len(tried))


def _estimate_of(wanted_bytes: float, points: Sequence[tuple[float, int]]) -> float:
    """The estimate at which the coder makes so many bytes, by the line through two encodings, or one and the origin."""
    estimate, size = points[-1]
    first_estimate, first_size = points[-2] if len(points) > 1 else (0.0, 0)
    return estimate + (wanted_bytes - size) * (estimate - first_estimate) / (size - first_size)


def coarsening(
    state: Mapping[str, Tensor], quantization: Quantization, wanted_bytes: float, by_gptq: Set[str] = frozenset()
) -> float:
    """The smallest multiple of the rule's scales, from 1 on, whose estimate is at most `wanted_bytes`."""
    low, high = 1.0, COARSEST
    if estimated_bytes(state, quantization, low, by_gptq) <= wanted_bytes:
        return low
    while high / low > 1 + PRECISION:
        middle = (low * high) ** 0.5
        if estimated_bytes(state, quantization, middle, by_gptq) <= wanted_bytes:
            high = middle
        else:
            low = middle
    return high


def estimated_bytes(
    state: Mapping[str, Tensor], quantization: Quantization, coarser: float, by_gptq: Set[str] = frozenset()
) -> float:
    """Bytes of the stored tensors where integers take the entropy of their codes, floats their width.

    Codes are those of rounding to nearest, of some rows of each matrix: GPTQ's have nearly the same entropy.

    by_gptq:  names of the matrices that GPTQ rounds, by SDClip's scale
    """
    return sum(_tensor_bytes(name, tensor, quantization, coarser, name in by_gptq) for name, tensor in state.items())


def _tensor_bytes(name: str, tensor: Tensor, quantization: Quantization, coarser: float, by_gptq: bool) -> float:
    storage = storage_of(name, tensor.shape, quantization)
    bits = integer_bits(storage)
    if bits is None:
        return tensor.numel() * {"float16": 2, "float32": 4}[storage]
    sample = tensor.detach()[:: max(len(tensor) // SAMPLED_ROWS, 1)]
    scale = row_scale(name, quantization, coarser)
    if by_gptq:
        scale = RowScale("sdclip", clip_stds_of(name, quantization), coarser)
    codes, scales = quantize_rows(sample, bits, name, searches_clip(name, quantization), scale)
    counts = torch.bincount(codes.flatten().int() + 2**bits).double()
    shares = counts[counts > 0] / codes.numel()
    entropy = -(shares * shares.log2()).sum().item()
    return tensor.numel() * entropy / 8 + len(tensor) * scales.element_size()
