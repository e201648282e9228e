"""Averages of the weights along a run, in float32 whatever the weights are stored in.

Which average is exported is decided elsewhere; nothing here writes into a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.spec.recipe import Averaging


def takes_snapshot(averaging: Averaging, step: int, multiplier: float) -> bool:
    """Whether SWA takes the weights as they are after `step` steps.

    A low multiplier alone is no sign of the end: a first step that compiles for half a minute once made one. Hence
    the smallest step.
    """
    if averaging.swa_every == 0 or step < averaging.swa_min_step:
        return False
    return multiplier < averaging.swa_below and step % averaging.swa_every == 0


class SWA:
    """The plain mean of snapshots, kept as a running mean: any number of identical states gives that state exactly."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, named_tensors: Mapping[str, Tensor]) -> None:
        """Adds one snapshot."""
        self.count += 1
        if self.count == 1:
            self._mean = _float32_copies(named_tensors)
            return
        for name, mean in self._mean.items():
            mean.lerp_(named_tensors[name].float(), 1 / self.count)

    def average(self) -> dict[str, Tensor]:
        """Float32 copies of the mean; empty before the first snapshot."""
        return _float32_copies(self._mean)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        self._mean = _float32_copies(state["mean"])


class EMA:
    """An exponential moving average that starts at the given weights, without bias correction."""

    def __init__(self, decay: float, named_tensors: Mapping[str, Tensor]):
        self.decay = decay
        self._shadow = _float32_copies(named_tensors)

    @torch.no_grad()
    def update(self, named_tensors: Mapping[str, Tensor]) -> None:
        """Moves towards the weights after an optimiser step: e becomes d e + (1 - d) w."""
        for name, shadow in self._shadow.items():
            shadow.lerp_(named_tensors[name].float(), 1 - self.decay)

    def average(self) -> dict[str, Tensor]:
        """Float32 copies of the average."""
        return _float32_copies(self._shadow)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._shadow = _float32_copies(state["shadow"])


def _float32_copies(named_tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in named_tensors.items()}
