"""One transformer block: attention and MLP on a residual stream that is mixed with the token embedding."""

# B batch · T positions, of which the last S are computed · D width · E width of all values
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn import few_passes
from trainer.nn.attention import Attention, positions_from
from trainer.nn.attention_backend import AttentionFn
from trainer.nn.few_passes_block import AfterAttention, BeforeAttention, Settings
from trainer.nn.linear import Linear, Parameters
from trainer.nn.norm import RMS_EPS, norm_beside
from trainer.nn.rotary import RotaryTables
from trainer.spec import recipe


class MLP(nn.Module):
    """Two linear maps around a squared (leaky) ReLU."""

    def __init__(self, model: recipe.Model):
        super().__init__()
        self.negative_slope = {"relu2": 0.0, "leaky_relu2": 0.5}[model.activation]
        self.fc = Linear(model.model_dim, model.mlp_hidden)
        self.proj = Linear(model.mlp_hidden, model.model_dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.proj(squared_relu(self.fc(x_BTD), self.negative_slope))


def squared_relu(x: Tensor, negative_slope: float) -> Tensor:
    """The square of a leaky ReLU, or of a plain one where the slope is 0. May overwrite x."""
    if few_passes.suits(x):
        return few_passes.squared_relu(x, negative_slope)
    return F.leaky_relu(x, negative_slope).square()


class Block(Parameters):
    """Mixes the stream with the embedding, then adds scaled attention and a scaled MLP (docs/recipe.md 2.7).

    With the parallel residual both read the same input and are added at once.
    """

    def __init__(self, model: recipe.Model, layer: int, attention: AttentionFn):
        super().__init__()
        self.input_scale = (layer + 1) ** -0.5 if model.ln_scale else 1.0
        self.parallel = model.parallel_residual == "one_lane" and layer >= model.parallel_from
        self.attn = Attention(model, exclusive=layer in model.xsa_layers, attention=attention)
        self.mlp = MLP(model)
        self.num_heads = (model.num_heads, model.num_kv_heads)
        self.settings = Settings(self.attn.head_dim, self.input_scale, self.mlp.negative_slope, RMS_EPS)
        self.attn_scale = nn.Parameter(torch.zeros(model.model_dim))
        self.mlp_scale = nn.Parameter(torch.zeros(model.model_dim))
        self.resid_mix = nn.Parameter(torch.zeros(2, model.model_dim))

    def forward(
        self,
        x_BTD: Tensor,
        x0_BTD: Tensor,
        rotary: RotaryTables,
        extra_value_BTE: Tensor | None = None,
        first: int = 0,
    ) -> Tensor:
        """The stream behind the block at the positions from `first` on, (B,S,D); keys and values come from all."""
        if few_passes.suits(x_BTD) and torch.is_grad_enabled() and not self.parallel and not first:
            return self._in_halves(x_BTD, x0_BTD, rotary, extra_value_BTE)
        keep_D, recall_D = self.used("resid_mix", self.resid_mix).to(x_BTD.dtype)
        attn_scale_D = self.used("attn_scale", self.attn_scale).to(x_BTD.dtype)
        mlp_scale_D = self.used("mlp_scale", self.mlp_scale).to(x_BTD.dtype)
        x_BTD = (keep_D * x_BTD).add_(recall_D * x0_BTD)
        x_BTD, normed_BTD = self._norm_beside(x_BTD)
        read_BSD = self.attn(normed_BTD, rotary, extra_value_BTE, first)
        x_BSD = (attn_scale_D * read_BSD).add_(positions_from(x_BTD, first))
        x_BSD, normed_BSD = (x_BSD, positions_from(normed_BTD, first)) if self.parallel else self._norm_beside(x_BSD)
        return (mlp_scale_D * self.mlp(normed_BSD)).add_(x_BSD)

    def _in_halves(self, x_BTD: Tensor, x0_BTD: Tensor, rotary: RotaryTables, extra_value_BTE: Tensor | None) -> Tensor:
        """The same bits, of halves that are differentiated as one."""
        attn, mlp, settings = self.attn, self.mlp, self.settings
        weights = [layer.used_weight() for layer in (attn.c_q, attn.c_k, attn.c_v)]
        tables = [table for num_heads in self.num_heads for table in rotary.of_heads(num_heads)]
        mix_2D, gain_H = self.used("resid_mix", self.resid_mix), attn.used("q_gain", attn.q_gain)
        x_BTD, q_BTHK, k_BTGK, v_BTGK = BeforeAttention.apply(
            x0_BTD, x_BTD, mix_2D, *weights, gain_H, *tables, settings
        )
        if extra_value_BTE is not None:
            v_BTGK = v_BTGK + extra_value_BTE.view_as(v_BTGK)
        return AfterAttention.apply(
            x_BTD,
            attn.attended(q_BTHK, k_BTGK, v_BTGK),
            attn.proj.used_weight(),
            self.used("attn_scale", self.attn_scale),
            mlp.fc.used_weight(),
            mlp.proj.used_weight(),
            self.used("mlp_scale", self.mlp_scale),
            settings,
        )

    def _norm_beside(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        x_BTD, normed_BTD = norm_beside(x_BTD)
        return x_BTD, normed_BTD if self.input_scale == 1.0 else normed_BTD * self.input_scale
