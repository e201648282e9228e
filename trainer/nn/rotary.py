"""Rotary position embedding on halves, with a negative angle as in the lineage's checkpoints.

Attention scores equal those of the usual sign, since queries and keys are rotated alike; rotated vectors do not.
"""

# B batch · T positions · H heads · K head width · M rotated dimensions, the first of K
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class RotaryTables:
    """Cosines and signed sines of every position, repeated for both halves."""

    cos_TM: Tensor
    sin_TM: Tensor
    _of_heads: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def from_position(self, first: int) -> RotaryTables:
        """The tables of the positions from `first` on."""
        return RotaryTables(self.cos_TM[first:], self.sin_TM[first:]) if first else self

    def of_heads(self, num_heads: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T,H,M), written out for each head: products with numbers in a row are fast."""
        if num_heads not in self._of_heads:
            cos_THM, sin_THM = (t[:, None].expand(-1, num_heads, -1).contiguous() for t in (self.cos_TM, self.sin_TM))
            self._of_heads[num_heads] = cos_THM, sin_THM
        return self._of_heads[num_heads]


def ntk_base(base: float, num_tokens: int, native_tokens: int, num_dims: int) -> float:
    """The rotary base at this length: raised beyond the native length, unchanged within it; 0 never raises it."""
    if not native_tokens or num_tokens <= native_tokens or num_dims <= 2:  # two dimensions turn at any base alike
        return base
    return base * (num_tokens / native_tokens) ** (num_dims / (num_dims - 2))


def rotary_tables(
    num_tokens: int, num_dims: int, base: float, device: torch.device, dtype: torch.dtype
) -> RotaryTables:
    """Tables for positions 0..num_tokens-1; angles in float32, cast to `dtype` last."""
    tables = opaque_tables if torch.compiler.is_compiling() else _tables
    return RotaryTables(*tables(num_tokens, num_dims, base, device, dtype))


@torch.library.custom_op("fairway::rotary_tables", mutates_args=())
def opaque_tables(
    num_tokens: int, num_dims: int, base: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """An operator of its own, since a compiler else computes powers and cosines anew for every element it turns."""
    return _tables(num_tokens, num_dims, base, device, dtype)


@opaque_tables.register_fake
def _(num_tokens: int, num_dims: int, base: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    cos_TM = torch.empty(num_tokens, num_dims, dtype=dtype, device=device)
    return cos_TM, torch.empty_like(cos_TM)


def _tables(
    num_tokens: int, num_dims: int, base: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    exponents_m = torch.arange(0, num_dims, 2, dtype=torch.float32, device=device) / num_dims
    positions_T = torch.arange(num_tokens, dtype=torch.float32, device=device)
    angles_Tm = torch.outer(positions_T, base**-exponents_m)
    cos_Tm, sin_Tm = angles_Tm.cos().to(dtype), angles_Tm.sin().to(dtype)
    return torch.cat([cos_Tm, cos_Tm], dim=-1), torch.cat([sin_Tm, -sin_Tm], dim=-1)


def rotate(x_BTHK: Tensor, tables: RotaryTables) -> Tensor:
    """Rotates the first M dimensions of every head: (a, b) becomes (a cos + b sin, b cos - a sin)."""
    num_dims = tables.cos_TM.size(-1)
    head, rest = x_BTHK[..., :num_dims], x_BTHK[..., num_dims:]
    swapped = head.roll(num_dims // 2, dims=-1)
    turned = head * tables.cos_TM[:, None] + swapped * tables.sin_TM[:, None]
    return torch.cat([turned, rest], dim=-1) if rest.size(-1) else turned
