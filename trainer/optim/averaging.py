"""Averages of the weights along a run, in float32 whatever the weights are stored in.

Which average is exported is decided elsewhere; nothing here writes into a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.spec.recipe import Averaging

NamedTensors = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]
"""Tensors by name: a state dict, or what `named_parameters` yields."""


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
    def update(self, named_tensors: NamedTensors) -> None:
        """Adds one snapshot."""
        self.count += 1
        _move(self._mean, named_tensors, 1 / self.count)

    def average(self) -> dict[str, Tensor]:
        """Float32 copies of the mean; empty before the first snapshot."""
        return _copies(self._mean)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"count": self.count, "mean": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self.count = state["count"]
        self._mean = _copies(state["mean"])


class EMA:
    """An exponential moving average without bias correction: it starts at the first weights it is shown."""

    def __init__(self, decay: float):
        self.decay = decay
        self._shadow: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, named_tensors: NamedTensors) -> None:
        """Moves towards the weights: e becomes d e + (1 - d) w."""
        _move(self._shadow, named_tensors, 1 - self.decay)

    def average(self) -> dict[str, Tensor]:
        """Float32 copies of the average; empty before the first update."""
        return _copies(self._shadow)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"shadow": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self._shadow = _copies(state["shadow"])


def _move(averages: dict[str, Tensor], named_tensors: NamedTensors, share: float) -> None:
    """Moves each average this share of the way to its tensor; a tensor without one becomes it."""
    for name, tensor in dict(named_tensors).items():
        if name in averages:
            averages[name].lerp_(tensor.detach().float(), share)
        else:
            averages[name] = _copy(tensor)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in tensors.items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32, copy=True)
