"""Averages of the weights during training (SWA and EMA), always in float32. The model is not changed.

When a snapshot is taken is said in `trainer.spec.schedule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

NamedTensors = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]
"""Tensors by name: a state dict, or what `named_parameters` yields."""


class SWA:
    """Mean of snapshots, as a running mean, so that any number of identical states gives that state exactly."""

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
        """State for `load_state_dict`."""
        return {"count": self.count, "mean": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state_dict`."""
        self.count = state["count"]
        self._mean = _copies(state["mean"])


class EMA:
    """Exponential moving average without bias correction; it starts with the first weights."""

    def __init__(self, decay: float):
        self.decay = decay
        self._shadow: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, named_tensors: NamedTensors) -> None:
        """Updates the average e with weights w: e becomes d e + (1 - d) w."""
        _move(self._shadow, named_tensors, 1 - self.decay)

    def average(self) -> dict[str, Tensor]:
        """Float32 copies of the average; empty before the first update."""
        return _copies(self._shadow)

    def state_dict(self) -> dict[str, Any]:
        """State for `load_state_dict`."""
        return {"shadow": self.average()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state_dict`."""
        self._shadow = _copies(state["shadow"])


def _move(averages: dict[str, Tensor], named_tensors: NamedTensors, share: float) -> None:
    """Moves each average by this fraction toward its tensor; a new tensor becomes its average."""
    tensors = dict(named_tensors)
    known = [name for name in tensors if name in averages]
    if known:
        torch._foreach_lerp_(
            [averages[name] for name in known], [tensors[name].detach().float() for name in known], share
        )
    averages.update({name: _copy(tensor) for name, tensor in tensors.items() if name not in averages})


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in tensors.items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32, copy=True)
