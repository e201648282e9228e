"""Chooses the kernel of softmax attention: FlashAttention 3 on Hopper, 2 on other GPUs, else PyTorch's own.

The choice depends on the machine, not on the recipe; callers record its name. Extensions are imported only when they
are chosen, so none is needed, nor a GPU.

FlashAttention 3 is the package `flash_attn_3` with the module `flash_attn_interface`. To compile, a build from December
2025 or later is needed: only pull request 1769 of its repository told a compiler what its operators return, and until
July 2025 not every build registered them.
"""

# B batch · T positions, S the last of them · H query heads · G key and value heads · K head width
from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AttentionFn:
    """Scaled dot-product attention by one back end.

    Takes q (B,S,H,K), k and v (B,T,G,K) and whether to mask the future; returns (B,S,H,K).
    Query head h reads key and value head floor(h * G / H): consecutive query heads share one.
    With fewer queries than keys they are the last S positions of the T, and the future is masked from there.
    """

    name: str
    kernel: Callable[[Tensor, Tensor, Tensor, bool], Tensor]

    def __call__(self, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, causal: bool) -> Tensor:
        return self.kernel(q_BTHK, k_BTGK, v_BTGK, causal)


def _sdpa(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, causal: bool) -> Tensor:
    q_BHTK, k_BGTK, v_BGTK = (tensor.transpose(1, 2) for tensor in (q_BTHK, k_BTGK, v_BTGK))
    shared = q_BHTK.size(1) != k_BGTK.size(1)
    mask_ST = _mask_of_last(q_BHTK.size(2), k_BGTK) if causal and q_BHTK.size(2) < k_BGTK.size(2) else None
    y_BHTK = F.scaled_dot_product_attention(
        q_BHTK, k_BGTK, v_BGTK, attn_mask=mask_ST, is_causal=causal and mask_ST is None, enable_gqa=shared
    )
    return y_BHTK.transpose(1, 2)


def _mask_of_last(num_queries: int, k_BGTK: Tensor) -> Tensor:
    """Which keys each of the last positions may read: PyTorch's own causal mask begins at the first key."""
    num_keys = k_BGTK.size(2)
    positions_T = torch.arange(num_keys, device=k_BGTK.device)
    return positions_T <= positions_T[num_keys - num_queries :, None]


SDPA = AttentionFn("sdpa", _sdpa)
"""PyTorch's own attention; works on every device."""


def flash_attention(name: str, module_name: str) -> AttentionFn:
    """An adapter to `flash_attn_func` of an installed extension; ImportError without it."""
    flash_attn_func = importlib.import_module(module_name).flash_attn_func

    def kernel(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, causal: bool) -> Tensor:
        result = flash_attn_func(q_BTHK, k_BTGK, v_BTGK, causal=causal)
        return result[0] if isinstance(result, tuple) else result  # with the log-sum-exp, as version 3 did at first

    return AttentionFn(name, kernel)


def attention_backend(device: torch.device, dtype: torch.dtype) -> AttentionFn:
    """The fastest installed back end for this device and dtype."""
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16):
        for name, module_name in _flash_modules(torch.cuda.get_device_capability(device)):
            try:
                return flash_attention(name, module_name)
            except ImportError:
                continue
    return SDPA


def _flash_modules(capability: tuple[int, int]) -> list[tuple[str, str]]:
    """Names and modules of the extensions that are faster than PyTorch's own attention on this generation of GPUs.

    On Hopper version 3 alone: PyTorch takes cuDNN's there, which is a quarter faster than version 2 (results/LOG.md).
    """
    if capability[0] == 9:
        return [("flash_attention_3", "flash_attn_interface")]
    return [("flash_attention_2", "flash_attn")] if capability[0] >= 8 else []
