"""Round to nearest, one scale per row: the arithmetic that export stores and that training may look through.

Export and training share one rule, so a model trained on fake-quantised weights meets the very same values after
export. It does not decide which tensors become integers: that is `packing`.

    R rows (outputs) · C columns (inputs)
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.spec.errors import ArtifactError

SMALLEST_SCALE = 2.0**-24
"""Smallest positive float16. A larger floor would coarsen every row below it (recipe notes 7.7)."""


def quantize_rows(weight_RC: Tensor, bits: int, name: str = "weight") -> tuple[Tensor, Tensor]:
    """Codes and scales of a matrix, `weight ≈ codes * scale`.

    weight_RC:  any float dtype; computed in float32
    bits:       2..8; the range is symmetric, [-(2^(bits-1) - 1), 2^(bits-1) - 1]
    Returns codes_RC int8 and scales_R float16.  Raises ArtifactError if a row does not fit a float16 scale.
    Source: recipe notes 4.2.
    """
    codes_RC, scales_R = _nearest(weight_RC.float(), bits)
    if not scales_R.isfinite().all():
        row = int((~scales_R.isfinite()).nonzero()[0])
        largest = weight_RC[row].abs().max().item()
        limit = torch.finfo(torch.float16).max * _largest_code(bits)
        raise ArtifactError(f"{name}: row {row} reaches {largest:g}; a float16 scale allows at most {limit:g}")
    return codes_RC.to(torch.int8), scales_R


def dequantize_rows(codes_RC: Tensor, scales_R: Tensor) -> Tensor:
    """The float32 matrix that codes and scales stand for."""
    return codes_RC.float() * scales_R.float()[:, None]


def fake_quantize(weight_RC: Tensor, bits: int) -> Tensor:
    """The matrix as export will store it, with the gradient of the matrix as it is (straight-through).

    Bit for bit `dequantize_rows(*quantize_rows(weight))` in float32.  Source: recipe notes 4.3.
    """
    weight_RC = weight_RC.float()
    stored_RC = dequantize_rows(*_nearest(weight_RC.detach(), bits))
    # The bracket is an exact zero: it leaves the value alone and carries the gradient.
    return stored_RC + (weight_RC - weight_RC.detach())


def _nearest(weight_RC: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    # Codes come from the rounded scale, the one the file holds (recipe notes 7.18).
    qmax = _largest_code(bits)
    scales_R = (weight_RC.abs().amax(dim=1) / qmax).clamp(min=SMALLEST_SCALE).to(torch.float16)
    codes_RC = (weight_RC / scales_R.float()[:, None]).round().clamp(-qmax, qmax)
    return codes_RC, scales_R


def _largest_code(bits: int) -> int:
    return 2 ** (bits - 1) - 1
