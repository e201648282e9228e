"""Quantisation by rounding to nearest with one scale per row, for export and for quantisation-aware training.

Both use the same code, so a model that was trained with fake-quantised weights has the same values after export.
`packing` decides which tensors become integers.

    R rows (outputs) · C columns (inputs)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.spec.errors import ArtifactError

SMALLEST_SCALE = 2.0**-24
"""Smallest positive float16. A larger floor coarsens every row below it (docs/recipe.md 7.7)."""

CLIP_QUANTILES = (1.0, 0.99999, 0.9999, 0.9995, 0.999)
"""Clips that the search tries, as quantiles of a row's magnitudes; the maximum is first, so it is taken on ties."""


@dataclass(frozen=True)
class RowScale:
    """What the largest code of a row stands for (docs/recipe.md 4.2, 4.5, 7.7)."""

    rule: str = "row_max"
    """'row_max': the row's largest magnitude; 'floor': that, but at least 1, as PR #150 had it; 'sdclip': a multiple
    of the row's standard deviation."""
    clip_stds: float = 0.0
    """The multiple of 'sdclip'."""
    coarser: float | Tensor = 1.0
    """What the scale is multiplied by in the end; 1 changes nothing. A float32 number, in a tensor while training may
    change it."""


def quantize_rows(
    weight_RC: Tensor,
    bits: int,
    name: str = "weight",
    clip_search: bool = False,
    scale: RowScale = RowScale(),
) -> tuple[Tensor, Tensor]:
    """Codes and scales of a matrix, `weight ≈ codes * scale`.

    weight_RC:    any float dtype; computed in float32
    bits:         2..8; the range is symmetric, [-(2^(bits-1) - 1), 2^(bits-1) - 1]
    clip_search:  whether each row takes the clip with the smallest squared error instead of its maximum
    scale:        the rule of the row scales
    Returns codes_RC int8 and scales_R float16.  Raises ArtifactError if a row does not fit a float16 scale.
    Source: docs/recipe.md 4.2; with the search of docs/recipe.md 4.4 ("GPTQ-lite"), chosen per row.
    """
    codes_RC, scales_R = _nearest(weight_RC.float(), bits, clip_search, scale)
    checked_scales(scales_R, weight_RC, largest_code(bits), name)
    return codes_RC.to(torch.int8), scales_R


def checked_scales(scales_R: Tensor, weight_RC: Tensor, qmax: int, name: str) -> None:
    """Raises ArtifactError if a row's scale is beyond float16, naming the row and what it reaches."""
    if not scales_R.isfinite().all():
        row = int((~scales_R.isfinite()).nonzero()[0])
        largest = weight_RC[row].abs().max().item()
        limit = torch.finfo(torch.float16).max * qmax
        raise ArtifactError(f"{name}: row {row} reaches {largest:g}; a float16 scale allows at most {limit:g}")


def dequantize_rows(codes_RC: Tensor, scales_R: Tensor) -> Tensor:
    """The float32 matrix that codes and scales stand for."""
    return codes_RC.float() * scales_R.float()[:, None]


def fake_quantize(
    weight_RC: Tensor,
    bits: int,
    clip_search: bool = False,
    scale: RowScale = RowScale(),
) -> Tensor:
    """The matrix as export will store it, with the gradient of the matrix as it is (straight-through).

    Bit for bit `dequantize_rows(*quantize_rows(weight))` in float32.  Source: docs/recipe.md 4.3.
    """
    weight_RC = weight_RC.float()
    coarser = scale.coarser if isinstance(scale.coarser, Tensor) else torch.tensor(scale.coarser)
    stored_RC = nearest_rows(weight_RC.detach(), bits, clip_search, scale.rule, scale.clip_stds, coarser)
    return _straight_through(stored_RC, weight_RC)


def fake_float16(weight: Tensor) -> Tensor:
    """The float tensor as float16 will store it, with the gradient of the tensor as it is."""
    weight = weight.float()
    return _straight_through(float16_rounded(weight.detach()), weight)


def _straight_through(stored: Tensor, weight: Tensor) -> Tensor:
    # The bracket is an exact zero: it leaves the value alone and carries the gradient.
    return stored + (weight - weight.detach())


@torch.library.custom_op("fairway::nearest_rows", mutates_args=())
def nearest_rows(
    weight_RC: torch.Tensor, bits: int, clip_search: bool, rule: str, clip_stds: float, coarser: torch.Tensor
) -> torch.Tensor:
    """Float32 weights as they will be stored; an operator of its own, so that no compiler rearranges its arithmetic."""
    return dequantize_rows(*_nearest(weight_RC, bits, clip_search, RowScale(rule, clip_stds, coarser)))


@nearest_rows.register_fake
def _(weight_RC: Tensor, bits: int, clip_search: bool, rule: str, clip_stds: float, coarser: Tensor) -> Tensor:
    return torch.empty_like(weight_RC, memory_format=torch.contiguous_format)


@torch.library.custom_op("fairway::float16_rounded", mutates_args=())
def float16_rounded(weight: torch.Tensor) -> torch.Tensor:
    """Float32 values as float16 keeps them; an operator of its own, since a compiler drops casts there and back."""
    return weight.half().float()


@float16_rounded.register_fake
def _(weight: Tensor) -> Tensor:
    return torch.empty_like(weight)


def largest_code(bits: int) -> int:
    """The largest code of so many bits, in a symmetric range."""
    return 2 ** (bits - 1) - 1


def _nearest(weight_RC: Tensor, bits: int, clip_search: bool, scale: RowScale) -> tuple[Tensor, Tensor]:
    if scale.rule == "sdclip":
        return _below_clip(weight_RC, scale.clip_stds * weight_RC.std(dim=1), bits, scale)
    if not clip_search:
        return _below_clip(weight_RC, weight_RC.abs().amax(dim=1), bits, scale)
    clips_QR = torch.quantile(weight_RC.abs(), torch.tensor(CLIP_QUANTILES, device=weight_RC.device), dim=1)
    candidates = [_below_clip(weight_RC, clip_R, bits, scale) for clip_R in clips_QR]
    errors_QR = torch.stack([(dequantize_rows(*pair) - weight_RC).square().sum(dim=1) for pair in candidates])
    best_R = errors_QR.argmin(dim=0)
    rows_R = torch.arange(len(best_R), device=best_R.device)
    codes, scales = (torch.stack(parts)[best_R, rows_R] for parts in zip(*candidates, strict=True))
    return codes, scales


def _below_clip(weight_RC: Tensor, clip_R: Tensor, bits: int, scale: RowScale) -> tuple[Tensor, Tensor]:
    # Codes come from the rounded scale, the one the file holds (docs/recipe.md 7.18).
    qmax = largest_code(bits)
    finest = 1 / qmax if scale.rule == "floor" else SMALLEST_SCALE
    scales_R = (clip_R / qmax).clamp(min=finest)
    scales_R = (scales_R * scale.coarser).to(torch.float16)  # by 1 exactly: nothing changes
    codes_RC = (weight_RC / scales_R.float()[:, None]).round().clamp(-qmax, qmax)
    return codes_RC, scales_R
