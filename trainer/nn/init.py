"""The initial value of every parameter, by its name.

Values are drawn from an explicit generator on its device, so the same seed gives the same bits on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.spec import recipe
from trainer.spec.tensors import (
    BIGRAM_PROJECTION,
    BIGRAM_TABLE,
    EMBEDDING,
    HEAD,
    VALUE_LAYER_SCALES,
    VALUE_SCALE,
    VALUE_TABLE,
    is_control,
)

ORTHOGONAL_MIN_DIM = 64
"""Linear weights narrower than this keep the framework's default even under `init: orthogonal`."""

VALUE_TABLE_STD = 0.01


def initial_value(name: str, shape: Sequence[int], model: recipe.Model, generator: torch.Generator) -> Tensor:
    """The float32 initial value of parameter `name` (docs/recipe.md 2.3-2.9)."""
    if is_control(name):
        return _control(name, shape, model)
    if name == EMBEDDING:
        return torch.randn(shape, generator=generator, device=generator.device) * model.embed_init_std
    if name == VALUE_TABLE:
        return torch.randn(shape, generator=generator, device=generator.device) * VALUE_TABLE_STD
    if name in (BIGRAM_TABLE, HEAD) or name.endswith((".attn.proj.weight", ".mlp.proj.weight")):
        return torch.zeros(shape)
    if name == BIGRAM_PROJECTION:
        # Its table starts at zero: were the projection zero too, no gradient would ever reach either (PR #150).
        scale = 1.0 if model.bigram_projection_init == "orthogonal" else (2 * model.num_layers) ** -0.5
        return _orthogonal(shape, generator) * scale
    if model.init == "orthogonal" and min(shape) >= ORTHOGONAL_MIN_DIM:
        return _orthogonal(shape, generator)
    return _uniform(shape, generator)


def _control(name: str, shape: Sequence[int], model: recipe.Model) -> Tensor:
    if name == VALUE_SCALE:
        return torch.full(tuple(shape), 0.1)
    if name.startswith(VALUE_LAYER_SCALES):
        return torch.ones(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "resid_mix":
        return torch.stack([torch.ones(shape[1]), torch.zeros(shape[1])])
    start = {"attn_scale": 1.0, "mlp_scale": 1.0, "skip_weights": 1.0, "skip_gates": 0.0, "gate": 0.0, "scale": 0.05}
    return torch.full(tuple(shape), start.get(leaf, model.qk_gain_init))


def _orthogonal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(shape, device=generator.device), generator=generator)


def _uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    bound = shape[1] ** -0.5
    return torch.empty(shape, device=generator.device).uniform_(-bound, bound, generator=generator)
