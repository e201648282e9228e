import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from trainer.nn.attention_backend import SDPA, attention_backend
from trainer.nn.gpt import GPT
from trainer.spec.load import load_preset

GPU = torch.device("cuda")
FLASH = {"flash_attn_interface": "flash_attention_3", "flash_attn": "flash_attention_2"}


@pytest.fixture
def machine(monkeypatch):
    """Sets a machine up: its GPU's generation and the extensions installed, as stand-ins of their signature."""

    def set_up(generation: tuple[int, int], installed: dict[str, bool]) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
        for module_name in FLASH:
            there = module_name in installed
            stand_in = flash_module(module_name, with_zeros, installed[module_name]) if there else None
            monkeypatch.setitem(sys.modules, module_name, stand_in)

    return set_up


def with_zeros(q, k, v, causal):
    """Attention, and zeros for the log-sum-exp."""
    return SDPA(q.float(), k.float(), v.float(), causal).to(q.dtype), torch.zeros(1)


def flash_module(name: str, attend: Callable, returns_lse: bool) -> ModuleType:
    """An extension's module with `flash_attn_func` over (B,T,H,K), of its parameters, which differ in their order.

    attend:       (q, k, v, causal) → result and log-sum-exp
    returns_lse:  whether both are returned though nobody asks, as version 3 did at first
    """

    def version_3(
        q,
        k,
        v,
        softmax_scale=None,
        causal=False,
        qv=None,
        q_descale=None,
        k_descale=None,
        v_descale=None,
        window_size=(-1, -1),
        attention_chunk=0,
        softcap=0.0,
        num_splits=1,
        pack_gqa=None,
        deterministic=False,
        sm_margin=0,
        return_attn_probs=False,
    ):
        assert softmax_scale is None
        both = attend(q, k, v, causal)
        return both if returns_lse or return_attn_probs else both[0]

    def version_2(
        q,
        k,
        v,
        dropout_p=0.0,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
        softcap=0.0,
        alibi_slopes=None,
        deterministic=False,
        return_attn_probs=False,
    ):
        assert dropout_p == 0.0
        both = attend(q, k, v, causal)
        return both if returns_lse or return_attn_probs else both[0]

    module = ModuleType(name)
    module.flash_attn_func = {"flash_attention_3": version_3, "flash_attention_2": version_2}[FLASH[name]]
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


@pytest.fixture(scope="module")
def attend_on_a_gpu():
    """Attention as version 3 computes it: two custom operators that a compiler cannot look into, in a Function."""

    @torch.library.custom_op("tests_flash_attn_3::forward", mutates_args=())
    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return SDPA(q, k, v, causal).contiguous(), q.new_zeros(q.size(0), q.size(2), q.size(1))

    @forward.register_fake
    def _(q, k, v, causal):
        return torch.empty_like(q), q.new_empty(q.size(0), q.size(2), q.size(1))

    @torch.library.custom_op("tests_flash_attn_3::backward", mutates_args=("dq", "dk", "dv"))
    def backward(
        dy: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        dq: torch.Tensor,
        dk: torch.Tensor,
        dv: torch.Tensor,
        causal: bool,
    ) -> None:
        scale = q.size(3) ** -0.5
        qs, ks, vs, dys = (
            tensor.repeat_interleave(q.size(2) // tensor.size(2), 2).transpose(1, 2) for tensor in (q, k, v, dy)
        )
        later = torch.ones(q.size(1), q.size(1)).triu(1).bool() if causal else torch.zeros(1, 1).bool()
        p = ((qs @ ks.mT) * scale).masked_fill(later, -torch.inf).softmax(-1)
        dp = dys @ vs.mT
        ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * scale
        for into, gradient in zip((dq, dk, dv), (ds @ ks, ds.mT @ qs, p.mT @ dys), strict=True):
            into.copy_(gradient.transpose(1, 2).unflatten(2, (into.size(2), -1)).sum(3))

    @backward.register_fake
    def _(dy, q, k, v, dq, dk, dv, causal):
        return None

    class Attend(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, causal):
            ctx.save_for_backward(q, k, v)
            ctx.causal = causal
            return forward(q, k, v, causal)

        @staticmethod
        def backward(ctx, dy, of_lse):
            gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
            backward(dy, *ctx.saved_tensors, *gradients, ctx.causal)
            return *gradients, None

    return Attend.apply


@pytest.mark.parametrize(
    ("module_name", "generation", "returns_lse"),
    [("flash_attn_interface", (9, 0), False), ("flash_attn_interface", (9, 0), True), ("flash_attn", (8, 0), False)],
)
def test_a_step_with_an_extension_is_one_graph_with_the_gradients_of_pytorchs_own(
    machine, monkeypatch, attend_on_a_gpu, module_name, generation, returns_lse
):
    machine(generation, {})
    monkeypatch.setitem(sys.modules, module_name, flash_module(module_name, attend_on_a_gpu, returns_lse))
    recipe = load_preset("tiny_nano", {"model.num_layers": 1}).recipe
    ids_BT = torch.randint(0, recipe.data.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    results = []
    extension = attention_backend(GPU, torch.bfloat16)
    assert extension.name == FLASH[module_name]
    for attention, compiled in ((SDPA, False), (extension, True)):
        model = GPT(recipe.model, recipe.data.vocab_size, attention)
        model.init_weights(torch.Generator().manual_seed(0))
        loss_of = model.cross_entropy
        if compiled:
            loss_of = torch.compile(loss_of, backend="aot_eager", fullgraph=True, dynamic=False)
        loss = loss_of(ids_BT[:, :-1], ids_BT[:, 1:])
        loss.backward()
        results.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*results)


def test_fewer_queries_than_keys_are_the_last_positions():
    q, k, v = (torch.randn(2, 7, heads, 8, generator=torch.Generator().manual_seed(heads)) for heads in (4, 2, 2))
    whole = SDPA(q, k, v, causal=True)
    for first in (1, 4, 6):
        torch.testing.assert_close(SDPA(q[:, first:], k, v, causal=True), whole[:, first:])
    torch.testing.assert_close(SDPA(q[:, 4:], k, v, causal=False), SDPA(q, k, v, causal=False)[:, 4:])
