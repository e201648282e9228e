"""The language model: token ids in, capped logits out.

Pure PyTorch: reads no file and no environment, starts no process group and uses no global random generator.
Quantisation is applied from outside, as a transform of the weights.
"""

# B batch · T positions, S the last of them · D width · E width of all values · V vocabulary
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn import few_passes
from trainer.nn.attention_backend import SDPA, AttentionFn
from trainer.nn.block import Block
from trainer.nn.depth import layer_order
from trainer.nn.embedding import BigramHash, SmearGate, ValueEmbedding
from trainer.nn.init import initial_value
from trainer.nn.linear import Embedding, Linear, Parameters
from trainer.nn.norm import rms_norm
from trainer.nn.rotary import RotaryTables, ntk_base, rotary_tables
from trainer.spec import recipe

WeightTransform = Callable[[str, Tensor], Tensor]
"""(parameter name, float32 weight) → the weight to compute with."""


def num_parameters(module: nn.Module) -> int:
    """Number of weights of a module, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


class GPT(Parameters):
    """The decoder of the recipe's `model` section (docs/recipe.md 2).

    Parameters are float32 masters under the lineage's checkpoint names, all zero until `init_weights` or
    `load_state_dict`; activations are in `model.compute_dtype`.
    """

    def __init__(self, model: recipe.Model, vocab_size: int, attention: AttentionFn | None = None):
        super().__init__()
        self.model = model
        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[model.compute_dtype]
        self.looped = True
        """Whether a forward repeats the recurrent layers; training sets it, scoring leaves it on."""
        num_skips = layer_order(model, looped=True).num_skips
        self.skip_weights = nn.Parameter(torch.zeros(num_skips, model.model_dim))
        self.skip_gates = nn.Parameter(torch.zeros(num_skips, model.model_dim)) if model.skip_gates else None
        self.tok_emb = Embedding(vocab_size, model.model_dim, self.dtype)
        self.bigram = BigramHash(model, self.dtype) if model.bigram_buckets else None
        self.smear = SmearGate(model.model_dim) if model.smear_gate == "vector" else None
        with_values = model.value_embed_layers if model.value_embed_dim else ()
        self.ve_shared = ValueEmbedding(model, vocab_size, self.dtype) if with_values else None
        self.ve_layer_scales = nn.ParameterList(torch.zeros(1) for _ in with_values)
        self.blocks = nn.ModuleList(Block(model, layer, attention or SDPA) for layer in range(model.num_layers))
        self.head = None if model.tie_embeddings else Linear(model.model_dim, vocab_size)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Sets every parameter to its initial value, drawn from `generator` in the order of the names."""
        for name, parameter in self.named_parameters():
            parameter.copy_(initial_value(name, parameter.shape, self.model, generator))

    def set_weight_transform(self, transform: WeightTransform | None) -> None:
        """Applies `transform` to every parameter from the next forward on; None ends it."""
        for name, module in self.named_modules():
            if isinstance(module, Parameters):
                module.transform = partial(_named, transform, f"{name}." if name else "") if transform else None

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Float32 logits (B,T,V) of the token after each position; ids are int64."""
        return self.logits(self.hidden(ids_BT))

    def cross_entropy(self, ids_BT: Tensor, targets_BT: Tensor, reduction: str = "mean") -> Tensor:
        """Mean or sum of the targets' negative log-likelihoods in nats, to be differentiated."""
        h_BTD = self.hidden(ids_BT)
        if not few_passes.suits(h_BTD):
            return F.cross_entropy(self.logits(h_BTD).flatten(0, 1), targets_BT.flatten(), reduction=reduction)
        weight_VD, cap = self._head_weight(), self.model.logit_softcap
        return few_passes.CappedCrossEntropy.apply(h_BTD.flatten(0, 1), weight_VD, targets_BT.flatten(), cap, reduction)

    def hidden(self, ids_BT: Tensor, first: int = 0) -> Tensor:
        """The normed states (B,S,D) that the head reads, of the S positions from `first` on.

        Position t depends on ids up to t alone. The last block computes keys and values of all positions, and the rest
        of those from `first` on.
        """
        x_BTD = x0_BTD = self._embedded(ids_BT)
        rotary = self._rotary(ids_BT)
        values_BTE = self._extra_values(ids_BT)
        order = layer_order(self.model, self.looped)
        skips_BTD: list[Tensor] = []
        for layer in order.encoder:
            x_BTD = self.blocks[layer](x_BTD, x0_BTD, rotary, values_BTE.get(layer))
            skips_BTD.append(x_BTD)
        weights_SD = self.used("skip_weights", self.skip_weights)
        gates_SD = None if self.skip_gates is None else self.used("skip_gates", self.skip_gates)
        for place, layer in enumerate(order.decoder):
            if skips_BTD:
                gate_D = None if gates_SD is None else gates_SD[place]
                x_BTD = with_skip(x_BTD, skips_BTD.pop(), weights_SD[place], gate_D)
            is_last = place == len(order.decoder) - 1
            x_BTD = self.blocks[layer](x_BTD, x0_BTD, rotary, values_BTE.get(layer), first if is_last else 0)
        return rms_norm(x_BTD)

    def logits(self, h_BTD: Tensor) -> Tensor:
        """Capped logits of normed states; the cap is computed in float32, since bfloat16 is too coarse near it."""
        z_BTV = F.linear(h_BTD, self._head_weight().to(h_BTD.dtype)).float()
        cap = self.model.logit_softcap
        t_BTV = z_BTV.div_(cap).tanh_()  # in place, since logits are the largest tensor
        return cap * t_BTV if t_BTV.requires_grad else t_BTV.mul_(cap)

    def _head_weight(self) -> Tensor:
        return (self.tok_emb if self.head is None else self.head).used_weight()

    def _embedded(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.tok_emb(ids_BT)
        if self.bigram is not None:
            x_BTD = x_BTD + self.bigram(ids_BT)
        x_BTD = rms_norm(x_BTD)
        return x_BTD if self.smear is None else self.smear(x_BTD)

    def _extra_values(self, ids_BT: Tensor) -> dict[int, Tensor]:
        """What is added to the values of each layer with a value embedding, by layer; the table is read once."""
        if self.ve_shared is None:
            return {}
        value_BTE = self.ve_shared(ids_BT)
        scales = [self.used(f"ve_layer_scales.{place}", scale) for place, scale in enumerate(self.ve_layer_scales)]
        pairs = zip(self.model.value_embed_layers, scales, strict=True)
        return {layer: scale.to(value_BTE.dtype) * value_BTE for layer, scale in pairs}

    def _rotary(self, ids_BT: Tensor) -> RotaryTables:
        """Rotary tables for this length, computed in every forward, which is cheap."""
        num_tokens = ids_BT.size(1)
        num_dims = self.model.rope_dims or self.model.model_dim // self.model.num_heads
        base = ntk_base(self.model.rope_base, num_tokens, self.model.rope_native_tokens, num_dims)
        return rotary_tables(num_tokens, num_dims, base, ids_BT.device, self.dtype)


def _named(transform: WeightTransform, prefix: str, name: str, parameter: Tensor) -> Tensor:
    return transform(prefix + name, parameter)


def with_skip(x_BTD: Tensor, skip_BTD: Tensor, weight_D: Tensor, gate_D: Tensor | None) -> Tensor:
    """The stream with a weighted skip added, or blended in by the sigmoid of its gate where there is one."""
    skip_BTD = weight_D.to(x_BTD.dtype) * skip_BTD
    return x_BTD + skip_BTD if gate_D is None else torch.lerp(skip_BTD, x_BTD, gate_D.sigmoid().to(x_BTD.dtype))
