"""What scoring computes with a model: states of positions, logits of the scored ones, and a loss to learn from.

A model that splits itself into `hidden` and `logits` computes its head on scored positions alone, which with sliding
windows are few, and of its last block all but keys and values. `stages.compiling` gives the functions compiled.

    B windows · T window positions, S the last of them · D width of the states · N scored positions
    R rows to learn from · V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn


@runtime_checkable
class SplitModel(Protocol):
    """A model whose head reads each position alone."""

    def hidden(self, ids_BT: Tensor, first: int) -> Tensor:
        """States (B,S,D) of the positions from `first` on; position t depends on ids up to t alone."""

    def logits(self, states: Tensor) -> Tensor:
        """Float32 logits (...,V) of states (...,D)."""

    def cross_entropy(self, ids_BT: Tensor, targets_BT: Tensor, reduction: str) -> Tensor:
        """The 'sum' of the targets' negative log-likelihoods in nats, to be differentiated."""


@dataclass(frozen=True)
class Forward:
    """The functions that scoring and test-time training call."""

    states: Callable[[Tensor, int], Tensor]
    """(ids_BT int64, first) → (B,S,D) of the positions from `first` on; logits of all where the model is not split."""
    head: Callable[[Tensor], Tensor]
    """States (N,D) → logits (N,V)."""
    summed_nats: Callable[[Tensor, Tensor], Tensor]
    """(inputs_RT, targets_RT) → the sum of their negative log-likelihoods, to be differentiated."""

    @classmethod
    def of(cls, model: nn.Module) -> Forward:
        """The functions of a model as it is, uncompiled."""

        def summed_nats(ids_RT: Tensor, targets_RT: Tensor) -> Tensor:
            logits_NV = model(ids_RT).flatten(0, 1).float()
            return F.cross_entropy(logits_NV, targets_RT.flatten(), reduction="sum")

        if isinstance(model, SplitModel):
            return cls(model.hidden, model.logits, partial(model.cross_entropy, reduction="sum"))
        return cls(lambda ids_BT, first: model(ids_BT), lambda logits_NV: logits_NV, summed_nats)
