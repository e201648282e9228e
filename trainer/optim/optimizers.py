"""Muon and Adam as one optimiser, made from the recipe's `optimizer` section.

Expects gradients that are accumulated and reduced over ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.optim.first_order import AdamW
from trainer.optim.groups import parameter_groups
from trainer.optim.muon import Muon
from trainer.ranks import Ranks
from trainer.spec import recipe
from trainer.spec.schedule import muon_momentum


class Optimizers:
    """Steps every parameter by the optimiser of its group; made by `make_optimizers`."""

    def __init__(self, muon: Muon, adam: AdamW, muon_settings: recipe.Muon):
        self.muon = muon
        self.adam = adam
        self.muon_settings = muon_settings
        for group in (*muon.param_groups, *adam.param_groups):
            group["initial_lr"] = group["lr"]

    def step(self, multiplier: float, step: int) -> None:
        """One update, every learning rate at `multiplier` times its base; `step` is the number of updates before."""
        for group in (*self.muon.param_groups, *self.adam.param_groups):
            group["lr"] = group["initial_lr"] * multiplier
        for group in self.muon.param_groups:
            group["momentum"] = muon_momentum(self.muon_settings, step)
        finish = self.muon.begin_step()
        self.adam.step()  # while Muon's updates travel between the ranks
        finish()

    def zero_grad(self) -> None:
        """Deletes all gradients."""
        self.muon.zero_grad()
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """States of both optimisers; the same on every rank."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state_dict` of the same parameters, whose tensors are copied, not shared."""
        self.muon.load_state_dict(copy.deepcopy(state["muon"]))
        self.adam.load_state_dict(copy.deepcopy(state["adam"]))


def make_optimizers(
    named_parameters: Mapping[str, Tensor], optimizer: recipe.Optimizer, ranks: Ranks | None = None
) -> Optimizers:
    """Muon for the matrices and AdamW for the rest, grouped by name and shape (docs/recipe.md 3.2)."""
    shapes = {name: parameter.shape for name, parameter in named_parameters.items()}
    groups = parameter_groups(shapes, optimizer.embed_projections, optimizer.bigram_table)
    of_group = {group: [named_parameters[name] for name in names] for group, names in groups.items()}
    return Optimizers(_muon(of_group["matrix"], optimizer.muon, ranks), _adam(of_group, optimizer.adam), optimizer.muon)


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scales all gradients to a global norm of at most `max_norm` (0: no limit). Returns the norm before scaling,
    on the gradients' device: nothing waits for it.

    Call it after reduction over ranks, so that every rank scales by the same factor.
    """
    parameters = list(parameters)
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm or float("inf"))


def _muon(matrices: list[Tensor], settings: recipe.Muon, ranks: Ranks | None) -> Muon:
    return Muon(
        matrices,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=muon_momentum(settings, 0),
        ns_steps=settings.ns_steps,
        ns_coefficients=settings.ns_coefficients,
        ns_dtype={"bfloat16": torch.bfloat16, "float32": torch.float32}[settings.ns_dtype],
        row_normalize=settings.row_normalize,
        ranks=ranks,
    )


def _adam(of_group: Mapping[str, list[Tensor]], settings: recipe.Adam) -> AdamW:
    rates = {
        "embed": (settings.embed_lr, settings.embed_weight_decay),
        "scalar": (settings.scalar_lr, settings.scalar_weight_decay),
        "head": (settings.head_lr, 0.0),
    }
    groups = [
        {"params": of_group[group], "lr": lr, "weight_decay": weight_decay}
        for group, (lr, weight_decay) in rates.items()
        if of_group[group]
    ]
    return AdamW(groups, betas=(settings.beta1, settings.beta2), eps=settings.eps)
