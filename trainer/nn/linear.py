"""Linear layers and embedding tables with float32 master weights, and what every module with parameters is.

Weights are cast where they are used, so autocast is not needed. An optional transform is applied to them before, as
quantisation-aware training does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Parameters(nn.Module):
    """A module with float32 parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.transform: Callable[[str, Tensor], Tensor] | None = None
        """(name within this module, parameter) → what to compute with."""

    def used(self, name: str, parameter: Tensor) -> Tensor:
        """The float32 values that are computed with, after the transform."""
        return parameter if self.transform is None else self.transform(name, parameter)


class Master(Parameters):
    """A float32 matrix; zero until it is initialised or loaded."""

    def __init__(self, num_rows: int, num_columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_rows, num_columns, dtype=torch.float32))

    def used_weight(self) -> Tensor:
        """The float32 weight that is computed with, after the transform."""
        return self.used("weight", self.weight)


class Linear(Master):
    """y = x W^T without bias, in the dtype of x; the weight is stored (out, in)."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__(out_dim, in_dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.used_weight().to(x.dtype))


class Embedding(Master):
    """Rows of a table by integer key, cast after the look-up so that gradients accumulate in float32."""

    def __init__(self, num_rows: int, width: int, dtype: torch.dtype):
        super().__init__(num_rows, width)
        self.dtype = dtype

    def forward(self, keys: Tensor) -> Tensor:
        return F.embedding(keys, self.used_weight()).to(self.dtype)
