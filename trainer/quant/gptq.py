"""GPTQ: rounds a matrix column by column and adjusts the remaining columns to compensate for each error.

Errors are weighted by the Hessian of the layer's squared output error, the sum of x x^T over calibration inputs. Row
scales are SDClip's: a multiple of the row's standard deviation.

    R rows (outputs) · C columns (inputs)
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from trainer.quant.fake_quant import SMALLEST_SCALE, checked_scales, largest_code

BLOCK_COLUMNS = 128
DAMPING = 0.01
"""Share of the Hessian's mean diagonal added to it, so that it can be inverted."""


class Hessian:
    """The Hessian of a layer's squared output error, and what GPTQ derives from it, computed once for all encodings.

    Layers with the same inputs share one.

    inputs_CC:  float, symmetric: the sum of x x^T over the inputs, not changed any more
    """

    def __init__(self, inputs_CC: Tensor):
        self.inputs_CC = inputs_CC

    @cached_property
    def dead_C(self) -> Tensor:
        """bool, columns that had only zero inputs."""
        return self.inputs_CC.diagonal() == 0

    @cached_property
    def order_C(self) -> Tensor:
        """int64, the columns from the largest inputs to the smallest."""
        return self._invertible().diagonal().argsort(descending=True, stable=True)

    @cached_property
    def factor_CC(self) -> Tensor:
        """Upper U with U^T U = H^-1, in float32, its columns in that order."""
        hessian_CC = self._invertible()[self.order_C][:, self.order_C]
        damping = torch.eye(len(hessian_CC), device=hessian_CC.device) * (DAMPING * hessian_CC.diagonal().mean())
        inverse_CC = torch.cholesky_inverse(torch.linalg.cholesky(hessian_CC + damping))
        return torch.linalg.cholesky(inverse_CC, upper=True).float()

    def _invertible(self) -> Tensor:
        hessian_CC = self.inputs_CC.double().clone()
        hessian_CC.diagonal()[self.dead_C] = 1
        return hessian_CC


def gptq_rows(
    weight_RC: Tensor,
    hessian: Hessian,
    bits: int,
    clip_stds: float,
    name: str = "weight",
    hessian_clip: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Codes and scales of a matrix, `weight ≈ codes * scale`, with small error on the calibration inputs.

    hessian:       of the matrix's inputs; a column that had only zero inputs gets zero weights
    clip_stds:     the largest code stands for so many standard deviations of its row
    hessian_clip:  share by which that follows the row's importance; 0 is the same for all rows
    Returns codes_RC int8 and scales_R float16.  Raises ArtifactError if a row does not fit a float16 scale.
    Source: Frantar et al., "GPTQ"; docs/recipe.md 4.5.
    """
    weight_RC = weight_RC.float().clone()
    qmax = largest_code(bits)
    clips_R = clip_stds * weight_RC.std(dim=1)
    if hessian_clip:
        clips_R = clips_R * (1 + hessian_clip * (row_importance(weight_RC, hessian.inputs_CC) - 1))
    scales_R = (clips_R / qmax).clamp(min=SMALLEST_SCALE).to(torch.float16)
    checked_scales(scales_R, weight_RC, qmax, name)
    weight_RC[:, hessian.dead_C] = 0
    order_C = hessian.order_C
    codes_RC = torch.empty_like(weight_RC)
    codes_RC[:, order_C] = _round_columns(weight_RC[:, order_C], hessian.factor_CC, scales_R.float(), qmax)
    return codes_RC.to(torch.int8), scales_R


def row_importance(weight_RC: Tensor, hessian_CC: Tensor) -> Tensor:
    """Mean magnitude of each row's weights, weighted by the squares of their inputs; 1 on average over the rows.

    Source: PR #1412; docs/recipe.md 4.5.
    """
    inputs_C = hessian_CC.diagonal().float()
    importance_R = weight_RC.abs() @ inputs_C
    mean = importance_R.mean()
    return importance_R / mean if mean > 0 else torch.ones_like(importance_R)


def _round_columns(weight_RC: Tensor, factor_CC: Tensor, scales_R: Tensor, qmax: int) -> Tensor:
    """Codes of columns in the given order.

    Works on the transpose, where a column is contiguous. The product over a block keeps the orientation of its
    operands, which may decide over the last bit.

        B columns of a block
    """
    weight_CR = weight_RC.t().contiguous()
    codes_CR = torch.empty_like(weight_CR)
    for start in range(0, len(weight_CR), BLOCK_COLUMNS):
        block = slice(start, min(start + BLOCK_COLUMNS, len(weight_CR)))
        weight_BR, codes_BR, factor_BB = weight_CR[block], codes_CR[block], factor_CC[block, block].contiguous()
        errors_BR = torch.empty_like(weight_BR)
        for column in range(len(weight_BR)):
            codes_R, error_R = codes_BR[column], errors_BR[column]
            torch.div(weight_BR[column], scales_R, out=codes_R).round_().clamp_(-qmax, qmax)
            torch.sub(weight_BR[column], codes_R * scales_R, out=error_R).div_(factor_BB[column, column])
            weight_BR[column:] -= factor_BB[column, column:, None] * error_R
        weight_CR[block.stop :] -= (errors_BR.t().contiguous() @ factor_CC[block, block.stop :]).t()
    return codes_CR.t()
