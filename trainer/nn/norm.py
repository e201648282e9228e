"""RMS normalisation without a learned weight, the only norm of this model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

RMS_EPS = 1.1920929e-7
"""Float32 machine epsilon, given explicitly: PyTorch's default has changed between versions."""


def rms_norm(x: Tensor) -> Tensor:
    """Divides the last dimension by its root mean square; computed in float32, returned in x's dtype."""
    return F.rms_norm(x.float(), (x.size(-1),), eps=RMS_EPS).to(x.dtype)
