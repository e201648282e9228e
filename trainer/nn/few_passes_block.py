"""A block's two halves, before and after attention, each differentiated as one: for eager float32 on a CPU.

In a narrow and deep model most of a step is spent on starting operations and recording them, not on arithmetic. What
`few_passes` says of bits holds here too. Layers are called by their weights, so hooks of modules do not see them: only
training comes here, which has none.
"""

# B batch · T positions · N = B T rows · H query heads · G key and value heads · K head width · E width of all heads
# D width · M width of the MLP; of tables the rotated dimensions
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.nn.few_passes import (
    inverse_rms,
    norm_gradient,
    number,
    of_heads,
    squared_relu_gradient,
    turn,
    turned_gradient,
)


class Settings(NamedTuple):
    """Numbers of a block."""

    head_dim: int
    input_scale: float
    negative_slope: float
    eps: float


class BeforeAttention(torch.autograd.Function):
    """The mixed stream (B,T,D), queries (B,T,H,K), keys and values (B,T,G,K).

    Arguments: x0_BTD, x_BTD, mix_2D, the weights of queries, keys and values, gain_H, cosines and sines for H and for G
    heads, settings. The embedding x0 comes first: in the first block it is the stream too, and autograd adds the
    gradients of one tensor in the order of the arguments.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x0_BTD: Tensor,
        x_BTD: Tensor,
        mix_2D: Tensor,
        weight_q: Tensor,
        weight_k: Tensor,
        weight_v: Tensor,
        gain_H: Tensor,
        cos_THM: Tensor,
        sin_THM: Tensor,
        cos_TGM: Tensor,
        sin_TGM: Tensor,
        settings: Settings,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mixed_BTD = (mix_2D[0] * x_BTD).add_(mix_2D[1] * x0_BTD)
        inverse_BT1 = inverse_rms(mixed_BTD, settings.eps)
        normed_BTD = mixed_BTD * inverse_BT1
        if settings.input_scale != 1.0:
            normed_BTD.mul_(settings.input_scale)
        normed_ND = normed_BTD.view(-1, normed_BTD.size(-1))
        shape = (*x_BTD.shape[:2], -1, settings.head_dim)
        q_BTHK, k_BTGK, v_BTGK = ((normed_ND @ weight.t()).view(shape) for weight in (weight_q, weight_k, weight_v))
        inverse_q, inverse_k = inverse_rms(q_BTHK, settings.eps), inverse_rms(k_BTGK, settings.eps)
        turned_BTHK = turn(q_BTHK * inverse_q, cos_THM, sin_THM)
        gain_HK = of_heads(gain_H, q_BTHK)
        ctx.settings = settings
        ctx.save_for_backward(
            *(x0_BTD, x_BTD, mix_2D, mixed_BTD, inverse_BT1, normed_ND, weight_q, weight_k, weight_v),
            *(q_BTHK, inverse_q, turned_BTHK, gain_HK, k_BTGK, inverse_k, cos_THM, sin_THM, cos_TGM, sin_TGM),
        )
        return mixed_BTD, turned_BTHK * gain_HK, turn(k_BTGK * inverse_k, cos_TGM, sin_TGM), v_BTGK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTD: Tensor, grad_q: Tensor, grad_k: Tensor, grad_v: Tensor) -> tuple[Any, ...]:
        x0_BTD, x_BTD, mix_2D, mixed_BTD, inverse_BT1, normed_ND, weight_q, weight_k, weight_v, *heads = (
            ctx.saved_tensors
        )
        q_BTHK, inverse_q, turned_BTHK, gain_HK, k_BTGK, inverse_k, cos_THM, sin_THM, cos_TGM, sin_TGM = heads
        num_rows = len(normed_ND)
        gain_gradient_H = (grad_q * turned_BTHK).sum((0, 1, 3))
        of_q = norm_gradient(turned_gradient(grad_q * gain_HK, cos_THM, sin_THM), q_BTHK, inverse_q)
        of_k = norm_gradient(turned_gradient(grad_k.clone(), cos_TGM, sin_TGM), k_BTGK, inverse_k)
        of_q, of_k, of_v = of_q.view(num_rows, -1), of_k.view(num_rows, -1), grad_v.reshape(num_rows, -1)
        of_normed_ND = (of_v @ weight_v).addmm_(of_k, weight_k).addmm_(of_q, weight_q)
        if ctx.settings.input_scale != 1.0:
            of_normed_ND.mul_(ctx.settings.input_scale)
        of_weights = [of_heads_NE.t() @ normed_ND for of_heads_NE in (of_q, of_k, of_v)]
        of_mixed_BTD = norm_gradient(of_normed_ND.view_as(mixed_BTD), mixed_BTD, inverse_BT1, grad_BTD)
        product_BTD = of_mixed_BTD * x_BTD
        of_keep_D = product_BTD.sum((0, 1))
        of_mix_2D = torch.stack([of_keep_D, torch.mul(of_mixed_BTD, x0_BTD, out=product_BTD).sum((0, 1))])
        of_x0_BTD = torch.mul(of_mixed_BTD, mix_2D[1], out=product_BTD)
        return of_x0_BTD, of_mixed_BTD.mul_(mix_2D[0]), of_mix_2D, *of_weights, gain_gradient_H, *(None,) * 5


class AfterAttention(torch.autograd.Function):
    """The stream with attention's output and the MLP's added.

    Arguments: x_BTD, attended_BTE, projection, attn_scale_D, the MLP's two weights, mlp_scale_D, settings.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BTD: Tensor,
        attended_BTE: Tensor,
        projection_DE: Tensor,
        attn_scale_D: Tensor,
        wide_MD: Tensor,
        narrow_DM: Tensor,
        mlp_scale_D: Tensor,
        settings: Settings,
    ) -> Tensor:
        x_ND = x_BTD.view(-1, x_BTD.size(-1))
        attended_NE = attended_BTE.reshape(len(x_ND), -1)
        projected_ND = attended_NE @ projection_DE.t()
        between_ND = (attn_scale_D * projected_ND).add_(x_ND)
        inverse_N1 = inverse_rms(between_ND, settings.eps)
        normed_ND = between_ND * inverse_N1
        if settings.input_scale != 1.0:
            normed_ND.mul_(settings.input_scale)
        activated_NM = F.leaky_relu(normed_ND @ wide_MD.t(), settings.negative_slope, inplace=True)
        squared_NM = activated_NM * activated_NM
        out_ND = squared_NM @ narrow_DM.t()
        ctx.settings = settings
        ctx.save_for_backward(
            *(attended_NE, projection_DE, attn_scale_D, projected_ND, between_ND, inverse_N1, normed_ND),
            *(wide_MD, activated_NM, squared_NM, narrow_DM, mlp_scale_D, out_ND),
        )
        return (mlp_scale_D * out_ND).add_(between_ND).view_as(x_BTD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Any, ...]:
        attended_NE, projection_DE, attn_scale_D, projected_ND, between_ND, inverse_N1, normed_ND, *mlp = (
            ctx.saved_tensors
        )
        wide_MD, activated_NM, squared_NM, narrow_DM, mlp_scale_D, out_ND = mlp
        grad_ND = grad_BTD.reshape(between_ND.shape)
        product_ND = grad_ND * out_ND
        of_mlp_scale_D = product_ND.sum(0)
        of_out_ND = torch.mul(grad_ND, mlp_scale_D, out=product_ND)
        of_narrow_DM = of_out_ND.t() @ squared_NM
        twice_of_squared_NM = of_out_ND.mul_(number(2)) @ narrow_DM
        of_wide_NM = squared_relu_gradient(twice_of_squared_NM, activated_NM, ctx.settings.negative_slope)
        of_wide_MD = of_wide_NM.t() @ normed_ND
        of_normed_ND = of_wide_NM @ wide_MD
        if ctx.settings.input_scale != 1.0:
            of_normed_ND.mul_(ctx.settings.input_scale)
        of_between_ND = norm_gradient(of_normed_ND, between_ND, inverse_N1, grad_ND)
        torch.mul(of_between_ND, projected_ND, out=product_ND)
        of_attn_scale_D = product_ND.sum(0)
        of_projected_ND = torch.mul(of_between_ND, attn_scale_D, out=product_ND)
        of_attended_NE = of_projected_ND @ projection_DE
        of_projection_DE = of_projected_ND.t() @ attended_NE
        shape = (*grad_BTD.shape[:2], -1)
        return (
            *(of_between_ND.view_as(grad_BTD), of_attended_NE.view(shape), of_projection_DE, of_attn_scale_D),
            *(of_wide_MD, of_narrow_DM, of_mlp_scale_D, None),
        )
