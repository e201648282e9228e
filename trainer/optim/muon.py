"""Muon: momentum whose direction is replaced by the nearest orthogonal matrix.

The orthogonalisation is divided among the ranks; the result is bit for bit that of a single rank. Gradient clipping,
schedules and parameter groups are in other modules.
"""

# M rows · N columns
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.ranks import Ranks

NS_COEFFICIENTS = {
    "fixed": ((3.4445, -4.7750, 2.0315),) * 5,
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
}
"""Coefficients (a, b, c) of the quintic polynomial in each iteration."""


def newton_schulz(
    update_MN: Tensor, steps: int = 5, coefficients: str = "fixed", dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """Moves every singular value of a matrix toward 1; all arithmetic, the norm included, in `dtype`.

    Returns (M,N) in `dtype`. Singular values end near 1, not exactly: between about 0.7 and 1.15 for a wide Gaussian.
    Source: K. Jordan, "Muon"; Amsel et al., "The Polar Express".
    """
    x = update_MN.to(dtype)
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    for a, b, c in NS_COEFFICIENTS[coefficients][:steps]:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for matrices (docs/recipe.md 3.1).

    Gradients must already be reduced over ranks. Every rank keeps the momentum of all parameters: this costs one
    multiply-add and makes the state dict complete and independent of the number of ranks.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        ns_steps: int = 5,
        ns_coefficients: str = "fixed",
        ns_dtype: torch.dtype = torch.bfloat16,
        row_normalize: bool = False,
        ranks: Ranks | None = None,
    ):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.ns_steps = ns_steps
        self.ns_coefficients = ns_coefficients
        self.ns_dtype = ns_dtype
        self.row_normalize = row_normalize
        self.ranks = ranks or Ranks()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing here re-evaluates a loss
        """Decays, then steps, every matrix that has a gradient."""
        for group in self.param_groups:
            matrices = [parameter for parameter in group["params"] if parameter.grad is not None]
            for matrix, update in zip(matrices, self._shared_updates(matrices, group["momentum"]), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"])

    def _shared_updates(self, matrices: Sequence[Tensor], momentum: float) -> list[Tensor]:
        """Orthogonalised updates: each rank computes a part and has zeros elsewhere, so the sum over ranks is exact."""
        if not matrices:
            return []
        sizes = [matrix.numel() for matrix in matrices]
        flat = torch.zeros(sum(sizes), dtype=self.ns_dtype, device=matrices[0].device)
        updates = [part.view_as(matrix) for part, matrix in zip(flat.split(sizes), matrices, strict=True)]
        for index, (matrix, update) in enumerate(zip(matrices, updates, strict=True)):
            direction = self._direction(matrix, momentum)
            if index % self.ranks.size == self.ranks.rank:
                update.copy_(self._orthogonal(direction))
        self.ranks.sum_(flat)
        return updates

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        state: dict[str, Any] = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        gradient = matrix.grad
        assert gradient is not None
        total = state["momentum"].mul_(momentum).add_(gradient)
        return gradient.add(total, alpha=momentum)

    def _orthogonal(self, direction_MN: Tensor) -> Tensor:
        if self.row_normalize:
            direction_MN = F.normalize(direction_MN, dim=1, eps=1e-7)
        update_MN = newton_schulz(direction_MN, self.ns_steps, self.ns_coefficients, self.ns_dtype)
        rows, columns = update_MN.shape
        return update_MN * max(1.0, rows / columns) ** 0.5
