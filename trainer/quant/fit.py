"""Coarser scales until the artifact fits: as little coarser as an entropy estimate and few encodings can find.

Every row scale of the recipe's rule is multiplied by one number, at least 1. Deterministic: the same weights, limit
and coder give the same number. Training with fake quantisation cannot wait for a coder: `estimated_multiplier` chooses
its number, which export keeps where the artifact fits. What the limit is, and what the bytes are counted with, is not
known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.quant.artifact import encode_artifact
from trainer.quant.fake_quant import RowScale, quantize_rows
from trainer.quant.gptq import Hessian
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
CODER_OVERHEAD = {"zstd": 0.01, "zlib": 0.01, "brotli": 0.01, "lzma": 0.03}
"""Share of an estimate that a coder may need beyond it: near the challenge's limit -0.008 to 0.006 were measured, 0.025
with lzma. Where codes are few it is more, up to 0.07."""
LAST_MARGIN = 0.015
"""Share of the limit that the last guess keeps free as well, where nothing fits yet."""
SAMPLED_ROWS = 64
"""Rows of each matrix that the estimate looks at, evenly spread."""


@dataclass(frozen=True)
class Fitted:
    """An artifact, and how it was made to fit."""

    artifact: bytes
    coarser: float
    """What the scales of the rule were multiplied by; 1 if the rule itself fits."""
    encodings: int
    first: bytes
    """The first encoding: by the rule itself, or by the scales that training saw."""


def encode_to_fit(
    state: Mapping[str, Tensor],
    model: Model,
    vocab_size: int,
    quantization: Quantization,
    limit_bytes: int,
    hessians: Mapping[str, Hessian] | None = None,
    between: Callable[[], None] = lambda: None,
    finest: float = 1.0,
) -> Fitted:
    """The finest artifact of at most `limit_bytes` that was found; the smallest one tried where none fits.

    Each encoding tells how many bytes the coder makes of the estimated ones, and so where the next guess lies.

    finest:  the multiplier to start from: 1, or the one that training saw
    """
    by_gptq = frozenset(hessians or ())
    limit_bytes = max(limit_bytes, 1)  # a budget below the reserve for code leaves nothing
    artifacts: dict[float, bytes] = {}
    guess = finest
    while guess not in artifacts and len(artifacts) < MOST_ENCODINGS:
        artifacts[guess] = encode_artifact(state, model, vocab_size, quantization, hessians, between, guess)
        size = len(artifacts[guess])
        if size <= limit_bytes and (guess == finest or size >= limit_bytes * (1 - SLACK)):
            break
        points = [(estimated_bytes(state, quantization, one, by_gptq), len(data)) for one, data in artifacts.items()]
        free = MARGIN * len(artifacts) + EXTRAPOLATION * abs(size / limit_bytes - 1)
        if len(artifacts) == MOST_ENCODINGS - 1 and size > limit_bytes:
            free += LAST_MARGIN
        wanted = limit_bytes * (1 - free)
        guess = coarsening(state, quantization, _estimate_of(wanted, points), by_gptq, finest)
    fitting = [coarser for coarser, data in artifacts.items() if len(data) <= limit_bytes]
    best = min(fitting) if fitting else min(artifacts, key=lambda coarser: len(artifacts[coarser]))
    return Fitted(artifacts[best], best, len(artifacts), artifacts[finest])


def estimated_multiplier(state: Mapping[str, Tensor], quantization: Quantization, limit_bytes: int) -> float:
    """What training with fake quantisation multiplies the rule's scales by, without encoding anything."""
    return coarsening(state, quantization, limit_bytes / (1 + CODER_OVERHEAD[quantization.compressor]))


def _estimate_of(wanted_bytes: float, points: Sequence[tuple[float, int]]) -> float:
    """The estimate at which the coder makes so many bytes, by the line through two encodings, or one and the origin.

    0, which asks for the coarsest scales, where two encodings are equally large: then no scale changes the size.
    """
    estimate, size = points[-1]
    first_estimate, first_size = points[-2] if len(points) > 1 else (0.0, 0)
    if size == first_size:
        return 0.0
    return estimate + (wanted_bytes - size) * (estimate - first_estimate) / (size - first_size)


def coarsening(
    state: Mapping[str, Tensor],
    quantization: Quantization,
    wanted_bytes: float,
    by_gptq: Set[str] = frozenset(),
    finest: float = 1.0,
) -> float:
    """The smallest multiple of the rule's scales, from `finest` on, whose estimate is at most `wanted_bytes`.

    A float32 number, so that one in a tensor is the same.
    """
    low, high = finest, COARSEST
    if estimated_bytes(state, quantization, low, by_gptq) <= wanted_bytes:
        return low
    while high / low > 1 + PRECISION:
        middle = (low * high) ** 0.5
        if estimated_bytes(state, quantization, middle, by_gptq) <= wanted_bytes:
            high = middle
        else:
            low = middle
    return torch.tensor(high, dtype=torch.float32).item()


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
