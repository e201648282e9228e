"""Causal self-attention with normed and gained queries, rotary positions and shared key and value heads.

The attention kernel is a parameter; see `attention_backend`.
"""

# B batch · T positions, of which the last S are computed · D width · H query heads · G key and value heads
# K head width · Q query heads of one G
# E = G K, width of all values
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn import few_passes
from trainer.nn.attention_backend import AttentionFn
from trainer.nn.linear import Linear, Parameters
from trainer.nn.norm import RMS_EPS, rms_norm
from trainer.nn.rotary import RotaryTables, rotate
from trainer.spec import recipe

NORM_EPS = 1e-12
"""Least length that a value is divided by, as PyTorch's `normalize` has it."""


class Attention(Parameters):
    """Self-attention of one block (docs/recipe.md 2.5)."""

    def __init__(self, model: recipe.Model, exclusive: bool, attention: AttentionFn):
        super().__init__()
        self.head_dim = model.model_dim // model.num_heads
        self.exclusive = exclusive
        self.attention = attention
        kv_dim = model.num_kv_heads * self.head_dim
        self.c_q = Linear(model.model_dim, model.model_dim)
        self.c_k = Linear(model.model_dim, kv_dim)
        self.c_v = Linear(model.model_dim, kv_dim)
        self.proj = Linear(model.model_dim, model.model_dim)
        self.q_gain = nn.Parameter(torch.zeros(model.num_heads))

    def forward(
        self, x_BTD: Tensor, rotary: RotaryTables, extra_value_BTE: Tensor | None = None, first: int = 0
    ) -> Tensor:
        """What the positions from `first` on read, (B,S,D)."""
        heads = (-1, self.head_dim)
        q_BSHK = self.c_q(positions_from(x_BTD, first)).unflatten(-1, heads)
        q_BSHK = turned_heads(q_BSHK, rotary.from_position(first), self.used("q_gain", self.q_gain))
        k_BTGK = turned_heads(self.c_k(x_BTD).unflatten(-1, heads), rotary)
        v_BTE = self.c_v(x_BTD)
        v_BTGK = (v_BTE if extra_value_BTE is None else v_BTE + extra_value_BTE).unflatten(-1, heads)
        return self.proj(self.attended(q_BSHK, k_BTGK, v_BTGK))

    def attended(self, q_BSHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
        """What each of the last S positions reads from those up to it, (B,S,D)."""
        y_BSHK = self.attention(q_BSHK, k_BTGK, v_BTGK, causal=True)
        if self.exclusive:
            y_BSHK = without_own_value(y_BSHK, positions_from(v_BTGK, v_BTGK.size(1) - y_BSHK.size(1)))
        return y_BSHK.flatten(-2)


def positions_from(x_BTX: Tensor, first: int) -> Tensor:
    """The positions from `first` on; from 0 the tensor itself: the gradient of a slice would be copied."""
    return x_BTX[:, first:] if first else x_BTX


def turned_heads(x_BTHK: Tensor, rotary: RotaryTables, gain_H: Tensor | None = None) -> Tensor:
    """Queries or keys: each head normed, turned by its position, and multiplied by its gain where there is one."""
    if few_passes.suits(x_BTHK):
        return few_passes.turned_heads(x_BTHK, *rotary.of_heads(x_BTHK.size(2)), gain_H, RMS_EPS)
    turned_BTHK = rotate(rms_norm(x_BTHK), rotary)
    return turned_BTHK if gain_H is None else turned_BTHK * gain_H.to(turned_BTHK.dtype)[:, None]


def without_own_value(y_BTHK: Tensor, v_BTGK: Tensor) -> Tensor:
    """Exclusive self-attention (XSA): each head's output less its component along its own position's value."""
    y_BTGQK = y_BTHK.unflatten(2, (v_BTGK.size(2), -1))
    if few_passes.suits(y_BTHK):
        return few_passes.without_own_value(y_BTGQK, v_BTGK, NORM_EPS).flatten(2, 3)
    along_BTG1K = F.normalize(v_BTGK, dim=-1, eps=NORM_EPS).unsqueeze(-2)
    amount_BTGQ1 = (y_BTGQK * along_BTG1K).sum(-1, keepdim=True)
    return (y_BTGQK - amount_BTGQ1 * along_BTG1K).flatten(2, 3)
