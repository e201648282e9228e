"""RMS normalisation without a learned weight, the only norm of this model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.nn import few_passes

RMS_EPS = 1.1920929e-7
"""Float32 machine epsilon, given explicitly: PyTorch's default has changed between versions."""


def rms_norm(x: Tensor) -> Tensor:
    """Divides the last dimension by its root mean square; computed in float32, returned in x's dtype."""
    if few_passes.suits(x):
        return few_passes.Norm.apply(x, RMS_EPS)
    return F.rms_norm(x.float(), (x.size(-1),), eps=RMS_EPS).to(x.dtype)


def norm_beside(x: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor, to go on with in the place of the given one, and `rms_norm` of it."""
    if few_passes.suits(x):
        return few_passes.NormBeside.apply(x, RMS_EPS)
    return x, rms_norm(x)
