"""Muon: momentum whose direction is replaced by the nearest orthogonal matrix.

The orthogonalisation is divided among the ranks; the result is bit for bit that of a single rank. Gradient clipping,
schedules and parameter groups are in other modules.
"""

# B matrices of a batch · M rows · N columns
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.optim.base import Optimizer
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
ROW_EPS = 1e-7
"""Smallest norm that a row is divided by."""


def newton_schulz(
    update_MN: Tensor, steps: int = 5, coefficients: str = "fixed", dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """Moves every singular value of a matrix toward 1; all arithmetic, the norm included, in `dtype`.

    update_MN:  or a batch (B,M,N) of them: each comes out with the bits that it has alone where M is at most N
    Returns the same shape in `dtype`. Singular values end near 1, not exactly: between about 0.7 and 1.15 for a wide
    Gaussian.  Source: K. Jordan, "Muon"; Amsel et al., "The Polar Express".
    """
    x = update_MN.to(dtype)
    norms = torch.stack([matrix.norm() for matrix in x.view(-1, *x.shape[-2:])])  # one over a batch rounds otherwise
    x = x / (norms + 1e-7).view(*x.shape[:-2], 1, 1)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    for a, b, c in NS_COEFFICIENTS[coefficients][:steps]:
        gram = x @ x.mT
        polynomial = (c * gram @ gram).add_(gram.mul_(b))
        product = polynomial @ x
        x.mul_(a).add_(product)  # in the layout of x, on which the rounding of the next product may depend
    return x.mT if tall else x


def newton_schulz_batch(
    updates_BMN: Tensor, steps: int = 5, coefficients: str = "fixed", dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """`newton_schulz` of each matrix of a batch, M at most N, with three matrix products a step and nothing between.

    Equal to it up to rounding: each product adds its scaled term before it rounds. Rows of zeros stay zero.
    """
    x_BMN = updates_BMN.to(dtype)
    x_BMN = x_BMN / (torch.linalg.matrix_norm(x_BMN, keepdim=True) + 1e-7)
    for a, b, c in NS_COEFFICIENTS[coefficients][:steps]:
        gram_BMM = x_BMN @ x_BMN.mT
        polynomial_BMM = torch.baddbmm(gram_BMM, gram_BMM, gram_BMM, beta=b, alpha=c)
        x_BMN = torch.baddbmm(x_BMN, polynomial_BMM, x_BMN, beta=a)
    return x_BMN


class Muon(Optimizer):
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
        super().__init__([{"params": parameters}], lr=lr, weight_decay=weight_decay, momentum=momentum)
        self.ns_steps = ns_steps
        self.ns_coefficients = ns_coefficients
        self.ns_dtype = ns_dtype
        self.row_normalize = row_normalize
        self.ranks = ranks or Ranks()

    @torch.no_grad()
    def step(self) -> None:
        """Decays, then steps, every matrix that has a gradient."""
        self.begin_step()()

    @torch.no_grad()
    def begin_step(self) -> Callable[[], None]:
        """The first part of a step: computes this rank's updates and begins to exchange them.

        Returns the function that changes the matrices once the updates of all ranks are there.
        """
        begun: list[tuple[dict[str, Any], list[Tensor], Callable[[], list[Tensor]]]] = []
        for group in self.param_groups:
            matrices = [parameter for parameter in group["params"] if parameter.grad is not None]
            if matrices:
                begun.append((group, matrices, self._shared_updates(self._directions(matrices, group["momentum"]))))

        @torch.no_grad()
        def finish() -> None:
            for group, matrices, updates in begun:
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, updates(), alpha=-group["lr"])

        return finish

    def _directions(self, matrices: Sequence[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's look-ahead of each gradient; updates the momentum."""
        gradients: list[Tensor] = []
        totals: list[Tensor] = []
        for matrix in matrices:
            assert matrix.grad is not None
            state: dict[str, Any] = self.state[matrix]
            if not state:
                state["momentum"] = torch.zeros_like(matrix)
            gradients.append(matrix.grad)
            totals.append(state["momentum"])
        torch._foreach_mul_(totals, momentum)
        torch._foreach_add_(totals, gradients)
        return list(torch._foreach_add(gradients, totals, alpha=momentum))

    def _shared_updates(self, directions: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
        """Begins to exchange orthogonalised updates: of R matrices in a row each rank computes one and gathers all."""
        size = self.ranks.size
        if size == 1:
            updates = self._updates(directions)
            return lambda: updates
        shares = [directions[rank::size] for rank in range(size)]
        longest = max(sum(direction.numel() for direction in share) for share in shares)
        sent = torch.zeros(longest, dtype=self.ns_dtype, device=directions[0].device)
        if own := shares[self.ranks.rank]:
            torch._foreach_copy_(_parts(sent, own), self._updates(own))
        gathered = self.ranks.start_gather(sent)

        def all_updates() -> list[Tensor]:
            of_rank = [_parts(row, share) for row, share in zip(gathered().float(), shares, strict=True)]
            return [of_rank[place % size][place // size] for place in range(len(directions))]

        return all_updates

    def _updates(self, directions: Sequence[Tensor]) -> list[Tensor]:
        """The update of each direction, float32: on a CPU with the bits that it has alone, which are promised."""
        if directions[0].device.type != "cpu":
            return self._updates_in_batches(directions)
        updates: list[Tensor] = [torch.empty(0)] * len(directions)
        for shape, indices in _of_shape(directions).items():
            if shape[0] > shape[1]:  # turned over, so that a batch may round otherwise, as under AVX2
                for index in indices:
                    updates[index] = self._update(directions[index])
                continue
            updates_BMN = self._update(torch.stack([directions[index] for index in indices]))
            for index, update_MN in zip(indices, updates_BMN.unbind(), strict=True):
                updates[index] = update_MN
        return updates

    def _update(self, direction_MN: Tensor) -> Tensor:
        """Of a matrix, or of each of a batch (B,M,N)."""
        if self.row_normalize:
            direction_MN = F.normalize(direction_MN, dim=-1, eps=ROW_EPS)
        update_MN = newton_schulz(direction_MN, self.ns_steps, self.ns_coefficients, self.ns_dtype)
        return (update_MN * _step_size(update_MN)).float()

    def _updates_in_batches(self, directions: Sequence[Tensor]) -> list[Tensor]:
        """All matrices of a width in one batch, so that a GPU starts tens of kernels and not thousands.

        Tall matrices are transposed; shorter ones get rows of zeros, which stay zero and change nothing else.
        """
        of_shape = _of_shape(directions)
        wide = {shape: self._wide_batch([directions[index] for index in of_shape[shape]]) for shape in of_shape}
        updates: list[Tensor] = [torch.empty(0)] * len(directions)
        for width in {batch_BMN.size(2) for batch_BMN in wide.values()}:
            shapes = [shape for shape, batch_BMN in wide.items() if batch_BMN.size(2) == width]
            height = max(wide[shape].size(1) for shape in shapes)
            padded = [_padded(wide[shape], height) for shape in shapes]
            turned_BMN = newton_schulz_batch(torch.cat(padded), self.ns_steps, self.ns_coefficients, self.ns_dtype)
            for shape, part_BMN in zip(
                shapes, turned_BMN.split([len(of_shape[shape]) for shape in shapes]), strict=True
            ):
                part_BMN = part_BMN[:, : min(shape)]
                if shape[0] > shape[1]:
                    part_BMN = part_BMN.mT * _step_size(directions[of_shape[shape][0]])
                float_BMN = part_BMN.to(torch.float32, memory_format=torch.contiguous_format)
                for index, update_MN in zip(of_shape[shape], float_BMN.unbind(), strict=True):
                    updates[index] = update_MN
        return updates

    def _wide_batch(self, directions: Sequence[Tensor]) -> Tensor:
        """Matrices of one shape as (B, M, N) with M at most N."""
        batch_BMN = torch.stack(list(directions))
        if self.row_normalize:
            batch_BMN = F.normalize(batch_BMN, dim=2, eps=ROW_EPS)
        return batch_BMN.mT if batch_BMN.size(1) > batch_BMN.size(2) else batch_BMN


def _of_shape(matrices: Sequence[Tensor]) -> dict[torch.Size, list[int]]:
    """Places of the matrices of each shape."""
    places: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(matrix.shape, []).append(place)
    return places


def _parts(flat: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    """The start of a flat tensor as matrices of those shapes."""
    sizes = [matrix.numel() for matrix in matrices]
    return [part.view_as(matrix) for part, matrix in zip(flat[: sum(sizes)].split(sizes), matrices, strict=True)]


def _padded(batch_BMN: Tensor, height: int) -> Tensor:
    missing = height - batch_BMN.size(1)
    return F.pad(batch_BMN, (0, 0, 0, missing)) if missing else batch_BMN


def _step_size(matrix_MN: Tensor) -> float:
    """A tall matrix steps further, by the root of its proportions."""
    return max(1.0, matrix_MN.size(-2) / matrix_MN.size(-1)) ** 0.5
