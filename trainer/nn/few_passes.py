"""Layers and cross-entropy in few passes over memory, for eager float32 on a CPU.

There a pass over activations costs as much as a product of a narrow model, and autograd makes several for each
operation and its gradient. These functions do the same arithmetic, operation by operation and added in autograd's
order, in place where nobody reads a value again: values and gradients have the bits of the plain forms, which are
written beside each call of these. A GPU's compiler fuses those itself. Gradients of gradients are not defined.
"""

# B batch · T positions · H heads · G key and value heads · Q query heads of one G · K head width
# M rotated dimensions, the first of K
# N rows · C rows of a chunk · D width · V vocabulary
from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 2**16
"""Logits that are worked on at once: they stay in a core's cache over several passes."""


def suits(x: Tensor) -> bool:
    """Whether these functions take a tensor: not a subclass, such as the tensors without values of a tracer."""
    plain = type(x) is Tensor and not torch.compiler.is_compiling()
    return plain and x.device.type == "cpu" and x.dtype == torch.float32


def turned_heads(x_BTHK: Tensor, cos_THM: Tensor, sin_THM: Tensor, gain_H: Tensor | None, eps: float) -> Tensor:
    """Heads normed, turned by their positions, and gained where there is a gain."""
    if torch.is_grad_enabled():
        turned_BTHK: Tensor = TurnedHeads.apply(x_BTHK, cos_THM, sin_THM, gain_H, eps)
        return turned_BTHK
    turned_BTHK = turn(x_BTHK * inverse_rms(x_BTHK, eps), cos_THM, sin_THM)
    return turned_BTHK if gain_H is None else turned_BTHK.mul_(of_heads(gain_H, x_BTHK))


def squared_relu(x: Tensor, negative_slope: float) -> Tensor:
    """The square of a leaky ReLU; x is overwritten where nothing is differentiated."""
    if torch.is_grad_enabled():
        squared: Tensor = SquaredReLU.apply(x, negative_slope)
        return squared
    return F.leaky_relu(x, negative_slope, inplace=True).square_()


def without_own_value(y_BTGQK: Tensor, v_BTGK: Tensor, eps: float) -> Tensor:
    """Outputs less their component along the value of their own position."""
    if torch.is_grad_enabled():
        result_BTGQK: Tensor = WithoutOwnValue.apply(y_BTGQK, v_BTGK, eps)
        return result_BTGQK
    rest_BTGQK, _ = _without(y_BTGQK, v_BTGK / _length(v_BTGK, eps))
    return rest_BTGQK


class Norm(torch.autograd.Function):
    """x over its root mean square; arguments (x, eps)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        ctx.save_for_backward(x, inverse)
        return x * inverse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, inverse = ctx.saved_tensors
        return norm_gradient(grad, x, inverse), None


class NormBeside(torch.autograd.Function):
    """x itself, for those who go on with it, and x over its root mean square; arguments (x, eps).

    In one function, so that the gradients of both are added in autograd's order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        inverse = inverse_rms(x, eps)
        ctx.save_for_backward(x, inverse)
        return x, x * inverse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_of_x: Tensor, grad: Tensor) -> tuple[Tensor, None]:
        x, inverse = ctx.saved_tensors
        return norm_gradient(grad, x, inverse, grad_of_x), None


class TurnedHeads(torch.autograd.Function):
    """`turned_heads`, differentiable."""

    @staticmethod
    def forward(
        ctx: Any, x_BTHK: Tensor, cos_THM: Tensor, sin_THM: Tensor, gain_H: Tensor | None, eps: float
    ) -> Tensor:
        inverse_BTH1 = inverse_rms(x_BTHK, eps)
        turned_BTHK = turn(x_BTHK * inverse_BTH1, cos_THM, sin_THM)
        if gain_H is None:
            ctx.save_for_backward(x_BTHK, inverse_BTH1, cos_THM, sin_THM)
            return turned_BTHK
        gain_HK = of_heads(gain_H, x_BTHK)
        ctx.save_for_backward(x_BTHK, inverse_BTH1, cos_THM, sin_THM, gain_HK, turned_BTHK)
        return turned_BTHK * gain_HK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTHK: Tensor) -> tuple[Tensor, None, None, Tensor | None, None]:
        x_BTHK, inverse_BTH1, cos_THM, sin_THM, *gained = ctx.saved_tensors
        gain_gradient_H = None
        if gained:
            gain_HK, turned_BTHK = gained
            gain_gradient_H = (grad_BTHK * turned_BTHK).sum((0, 1, 3))
            grad_BTHK = grad_BTHK * gain_HK
        else:
            grad_BTHK = grad_BTHK.clone()
        of_normed_BTHK = turned_gradient(grad_BTHK, cos_THM, sin_THM)
        return norm_gradient(of_normed_BTHK, x_BTHK, inverse_BTH1), None, None, gain_gradient_H, None


class WithoutOwnValue(torch.autograd.Function):
    """`without_own_value`, differentiable."""

    @staticmethod
    def forward(ctx: Any, y_BTGQK: Tensor, v_BTGK: Tensor, eps: float) -> Tensor:
        length_BTG1 = _length(v_BTGK, eps)
        along_BTGK = v_BTGK / length_BTG1
        rest_BTGQK, amount_BTGQ1 = _without(y_BTGQK, along_BTGK)
        ctx.save_for_backward(y_BTGQK, along_BTGK, length_BTG1, amount_BTGQ1)
        ctx.eps = eps
        return rest_BTGQK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTGQK: Tensor) -> tuple[Tensor, Tensor, None]:
        y_BTGQK, along_BTGK, length_BTG1, amount_BTGQ1 = ctx.saved_tensors
        of_y_BTGQK, slope_BTGQ1 = _without(grad_BTGQK, along_BTGK)
        product_BTGQK = grad_BTGQK * amount_BTGQ1
        of_along_BTGK = product_BTGQK.sum(-2)
        of_along_BTGK += torch.mul(slope_BTGQ1, y_BTGQK, out=product_BTGQK).sum(-2)
        of_length_BTG1 = (along_BTGK / length_BTG1).mul_(of_along_BTGK).sum(-1, keepdim=True)
        of_length_BTG1.masked_fill_(length_BTG1 <= ctx.eps, 0)  # a shorter value is divided by a constant
        return of_y_BTGQK, (along_BTGK * of_length_BTG1).sub_(of_along_BTGK.div_(length_BTG1)), None


class SquaredReLU(torch.autograd.Function):
    """`squared_relu`, differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, negative_slope: float) -> Tensor:
        activated = F.leaky_relu(x, negative_slope)
        ctx.save_for_backward(activated)
        ctx.negative_slope = negative_slope
        return activated * activated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (activated,) = ctx.saved_tensors
        return squared_relu_gradient(grad * number(2), activated, ctx.negative_slope), None


class CappedCrossEntropy(torch.autograd.Function):
    """Cross-entropy of softly capped logits; arguments (h_ND, weight_VD, targets_N, cap, 'mean' or 'sum').

    Holds one array of the logits' size, where autograd makes eight: the forward turns each part of it into the
    gradient while it is in the cache. That is the gradient of the mean. Half of it or a quarter, as of micro-batches,
    has the same digits; for a factor that is no power of two the backward computes it again.
    """

    @staticmethod
    def forward(ctx: Any, h_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, cap: float, reduction: str) -> Tensor:
        of_target = -(number(1) / len(targets_N))
        nll_N, grad_NV = nats_and_gradient(h_ND, weight_VD, targets_N, cap, of_target)
        ctx.save_for_backward(h_ND, weight_VD, targets_N, of_target, grad_NV)
        ctx.cap, ctx.num_averaged = cap, len(targets_N) if reduction == "mean" else 1
        return F.nll_loss(nll_N[:, None], torch.zeros_like(targets_N), reduction=reduction)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        h_ND, weight_VD, targets_N, of_target, grad_NV = ctx.saved_tensors
        wanted = -(grad / ctx.num_averaged)
        times = float(wanted / of_target)
        if math.frexp(times)[0] != 0.5:  # no power of two
            times, (_, grad_NV) = 1.0, nats_and_gradient(h_ND, weight_VD, targets_N, ctx.cap, wanted)
        return (grad_NV @ weight_VD).mul_(times), (grad_NV.T @ h_ND).mul_(times), None, None, None


def nats_and_gradient(
    h_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, cap: float, of_target: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-likelihoods (N) of the targets, and the gradient (N,V) of their sum times `of_target` by uncapped logits."""
    z_NV = F.linear(h_ND, weight_VD)
    rows = max(CHUNK_ELEMENTS // z_NV.size(1), 1)
    log_p_N, caps = z_NV.new_empty(len(z_NV), 1), number(cap)
    parts = zip(z_NV.split(rows), log_p_N.split(rows), targets_N[:, None].split(rows), strict=True)
    for z_CV, log_p_C1, targets_C1 in parts:
        tanh_CV = z_CV.div_(caps).tanh_()
        grad_CV = tanh_CV * caps
        torch.log_softmax(grad_CV, -1, out=grad_CV)
        torch.gather(grad_CV, 1, targets_C1, out=log_p_C1)
        of_nats_CV = torch.zeros_like(grad_CV).scatter_(1, targets_C1, of_target.expand(targets_C1.shape))
        torch.ops.aten._log_softmax_backward_data(of_nats_CV, grad_CV, -1, grad_CV.dtype, out=grad_CV)
        torch.ops.aten.tanh_backward(grad_CV.mul_(caps), tanh_CV, grad_input=z_CV).div_(caps)
    return log_p_N.squeeze(1), z_NV


def _length(v_BTGK: Tensor, eps: float) -> Tensor:
    return torch.linalg.vector_norm(v_BTGK, dim=-1, keepdim=True).clamp_min_(eps)


def _without(y_BTGQK: Tensor, along_BTGK: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors less their component along others of length 1, and the length (B,T,G,Q,1) of what was taken away."""
    along_BTG1K = along_BTGK.unsqueeze(-2)
    product_BTGQK = y_BTGQK * along_BTG1K
    amount_BTGQ1 = product_BTGQK.sum(-1, keepdim=True)
    taken_BTGQK = torch.mul(amount_BTGQ1, along_BTG1K, out=product_BTGQK)
    return torch.sub(y_BTGQK, taken_BTGQK, out=taken_BTGQK), amount_BTGQ1


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square of the last dimension."""
    return (x * x).sum(-1, keepdim=True).div_(number(x.size(-1))).add_(number(eps)).rsqrt_()


def turn(x_BTHK: Tensor, cos_THM: Tensor, sin_THM: Tensor) -> Tensor:
    """Turns heads in place."""
    head_BTHM = x_BTHK[..., : cos_THM.size(-1)]
    swapped_BTHM = halves_swapped(head_BTHM).mul_(sin_THM)
    head_BTHM.mul_(cos_THM).add_(swapped_BTHM)
    return x_BTHK


def halves_swapped(x_BTHM: Tensor) -> Tensor:
    """A copy in which the halves of the last dimension change places, exactly.

    By a product, since `roll` takes twice as long. A value that is not finite makes the whole row NaN.
    """
    num_dims = x_BTHM.size(-1)
    swapped = torch.mm(x_BTHM.reshape(-1, num_dims), _swapping(num_dims))
    return swapped.view(x_BTHM.shape)


@cache
def _swapping(num_dims: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.eye(num_dims, device="cpu").roll(num_dims // 2, dims=1)


def turned_gradient(grad_BTHK: Tensor, cos_THM: Tensor, sin_THM: Tensor) -> Tensor:
    """Turns the gradient of `turn` back, in place."""
    head_BTHM = grad_BTHK[..., : cos_THM.size(-1)]
    swapped_BTHM = halves_swapped(head_BTHM * sin_THM)
    head_BTHM.mul_(cos_THM).add_(swapped_BTHM)
    return grad_BTHK


def squared_relu_gradient(twice_grad: Tensor, activated: Tensor, negative_slope: float) -> Tensor:
    """Gradient of x from twice that of the square of its activation, in whose place it is written."""
    gradient = twice_grad.mul_(activated)
    if negative_slope:  # else it is zero already where the ReLU is
        torch.ops.aten.leaky_relu_backward(gradient, activated, negative_slope, True, grad_input=gradient)
    return gradient


def of_heads(gain_H: Tensor, x_BTHK: Tensor) -> Tensor:
    """(H,K), written out: a product with numbers in a row is fast."""
    return gain_H[:, None].expand(-1, x_BTHK.size(-1)).contiguous()


@cache
def number(value: float) -> Tensor:
    """A number as a tensor: operations make one of a Python number each time, which takes longer than many of them."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=torch.float32, device="cpu")


def norm_gradient(grad: Tensor, x: Tensor, inverse: Tensor, grad_of_x: Tensor | None = None) -> Tensor:
    """Gradient of x from that of `x * inverse`, and of x itself where somebody goes on with it."""
    product = grad * x
    slope = product.sum(-1, keepdim=True).mul_(inverse.pow(3)).div_(number(x.size(-1)))
    gradient = grad * inverse
    if grad_of_x is not None:
        gradient.add_(grad_of_x)
    return gradient.sub_(torch.mul(x, slope, out=product))
