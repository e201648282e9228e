import sys
from types import ModuleType

import pytest
import torch

from trainer.nn.attention_backend import SDPA, attention_backend

GPU = torch.device("cuda")
FLASH = {"flash_attn_interface": "flash_attention_3", "flash_attn": "flash_attention_2"}


@pytest.fixture
def machine(monkeypatch):
    """Sets a machine up: its GPU's generation and the extensions installed, as stand-ins of their signature."""

    def set_up(generation: tuple[int, int], installed: dict[str, bool]) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
        for module_name in FLASH:
            stand_in = flash_module(installed[module_name]) if module_name in installed else None
            monkeypatch.setitem(sys.modules, module_name, stand_in)

    return set_up


def flash_module(returns_lse: bool) -> ModuleType:
    """flash_attn_func(q, k, v, causal=...) over (B,T,H,K), with or without the log-sum-exp beside its result."""

    def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
        y = SDPA(q.float(), k.float(), v.float(), causal).to(q.dtype)
        return (y, torch.zeros(1)) if returns_lse else y

    module = ModuleType("flash")
    module.flash_attn_func = flash_attn_func
    return module


@pytest.mark.parametrize(
    ("generation", "installed", "name"),
    [
        ((9, 0), ["flash_attn_interface", "flash_attn"], "flash_attention_3"),
        ((9, 0), ["flash_attn"], "sdpa"),  # cuDNN's is faster there
        ((8, 0), ["flash_attn_interface", "flash_attn"], "flash_attention_2"),
        ((7, 5), ["flash_attn_interface", "flash_attn"], "sdpa"),
        ((9, 0), [], "sdpa"),
    ],
)
def test_the_fastest_attention_for_the_gpu_is_chosen(machine, generation, installed, name):
    machine(generation, dict.fromkeys(installed, False))
    assert attention_backend(GPU, torch.bfloat16).name == name


def test_float32_and_cpu_take_pytorchs_own(machine):
    machine((9, 0), dict.fromkeys(FLASH, False))
    assert attention_backend(GPU, torch.float32) is SDPA
    assert attention_backend(torch.device("cpu"), torch.bfloat16) is SDPA


@pytest.mark.parametrize("module_name", FLASH)
@pytest.mark.parametrize("returns_lse", [False, True])
def test_adapters_agree_with_pytorchs_own(machine, module_name, returns_lse):
    machine((9, 0) if module_name == "flash_attn_interface" else (8, 0), {module_name: returns_lse})
    q, k, v = (torch.randn(2, 5, heads, 8, generator=torch.Generator().manual_seed(heads)) for heads in (4, 2, 2))
    attention = attention_backend(GPU, torch.bfloat16)
    assert attention.name == FLASH[module_name]
    assert torch.equal(attention(q, k, v, causal=True), SDPA(q, k, v, causal=True))
    assert not torch.equal(attention(q, k, v, causal=False), SDPA(q, k, v, causal=True))
