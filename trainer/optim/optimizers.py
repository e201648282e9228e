"""Muon and Adam as one optimiser, set up from the recipe's `optimizer` section.

Expects gradients that are accumulated and reduced over ranks; decides no schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.optim.groups import parameter_groups
from trainer.optim.muon import Muon
from trainer.optim.schedule import muon_momentum
from trainer.ranks import Ranks
from trainer.spec import recipe


class Optimizers:
    """Steps every parameter by the optimiser of its group."""

    def __init__(self, muon: Muon, adam: torch.optim.AdamW, settings: recipe.Muon):
        self.muon = muon
        self.adam = adam
        self._settings = settings
        self._base_lrs = [(group, group["lr"]) for group in (*muon.param_groups, *adam.param_groups)]

    def step(self, multiplier: float, step: int) -> None:
        """One update with every learning rate at `multiplier` times its base; `step` counts updates done before."""
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * multiplier
        for group in self.muon.param_groups:
            group["momentum"] = muon_momentum(self._settings, step)
        self.muon.step()
        self.adam.step()

    def zero_grad(self) -> None:
        """Drops all gradients."""
        self.muon.zero_grad(set_to_none=True)
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
