"""Codes of +-1 set to 0 until the artifact fits, those first whose weights that changes least (PR #1019).

Deterministic: the same weights, limit and coder give the same codes. What the limit is, and what the bytes are counted
with, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.quant.artifact import encode_stored
from trainer.quant.gptq import Hessian
from trainer.quant.packing import ROW_SCALE, pack
from trainer.spec.recipe import Model, Quantization
from trainer.spec.tensors import is_control

MOST_ENCODINGS = 6
SLACK = 0.003
"""Share of the limit that an artifact may leave unused before less is pruned."""
MARGIN = 0.001
"""Share of the limit that a guess keeps free, once more for each guess."""


@dataclass(frozen=True)
class Pruned:
    """An artifact, and how it was made to fit."""

    artifact: bytes
    share: float
    """Of all codes of +-1, those that became 0."""
    encodings: int
    unpruned_bytes: int
    """What it takes as it is."""


def encode_pruned_to_fit(
    state: Mapping[str, Tensor],
    model: Model,
    vocab_size: int,
    quantization: Quantization,
    limit_bytes: int,
    hessians: Mapping[str, Hessian] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Pruned:
    """The least pruned artifact of at most `limit_bytes` that was found; the smallest one tried where none fits.

    Each encoding tells how many bytes the coder makes of the estimated ones, and so where the next guess lies.
    """
    stored = pack(state, quantization, hessians, between)
    between()
    artifacts = {0: encode_stored(stored, model, vocab_size, quantization)}
    sizes = {0: len(artifacts[0])}
    if sizes[0] <= limit_bytes:
        return Pruned(artifacts[0], 0.0, 1, sizes[0])
    units = _Units(state, stored)
    guess = _next_guess(units, sizes, limit_bytes)
    while guess not in artifacts and len(artifacts) < MOST_ENCODINGS:
        between()
        artifacts[guess] = encode_stored(units.pruned(guess), model, vocab_size, quantization)
        sizes[guess] = size = len(artifacts[guess])
        if limit_bytes * (1 - SLACK) <= size <= limit_bytes:
            break
        guess = _next_guess(units, sizes, limit_bytes)
    fitting = [count for count in sizes if sizes[count] <= limit_bytes]
    best = min(fitting) if fitting else min(sizes, key=lambda count: sizes[count])
    return Pruned(artifacts[best], best / max(units.total, 1), len(artifacts), sizes[0])


def _next_guess(units: _Units, sizes: Mapping[int, int], limit_bytes: int) -> int:
    """How many codes to prune, by the line through two encodings: the nearest two that the limit lies between; while
    none fits the last two, where the later is smaller; else the largest one and the origin."""
    wanted_bytes = limit_bytes * (1 - MARGIN * len(sizes))
    too_large = [count for count in sizes if sizes[count] > limit_bytes]
    fitting = [count for count in sizes if sizes[count] <= limit_bytes]
    count = too_large[-1] if not fitting else max(too_large)
    other = min(fitting) if fitting else too_large[-2] if len(too_large) > 1 else None
    estimate, size = units.estimated_bytes(count), sizes[count]
    other_estimate, other_size = (0.0, 0) if other is None else (units.estimated_bytes(other), sizes[other])
    if not fitting and other_size <= size:
        other_estimate, other_size = 0.0, 0
    slope = (estimate - other_estimate) / (size - other_size)
    return units.fewest_below(estimate + (wanted_bytes - size) * slope)


class _Units:
    """The codes of +-1 of all integer tensors, in the order in which they are pruned.

    A code's error is what the squared error of its weight gains when it becomes 0.
    """

    def __init__(self, state: Mapping[str, Tensor], stored: Mapping[str, Tensor]):
        self._stored = stored
        self._errors = {
            name: _errors(state[name].detach().cpu().float(), codes, stored[name + ROW_SCALE])
            for name, codes in stored.items()
            if codes.dtype == torch.int8 and not is_control(name)
        }
        self._sorted = {name: error[error.isfinite()].sort().values for name, error in self._errors.items()}
        self._all = torch.cat([torch.empty(0), *self._sorted.values()]).sort().values
        self._counts = {name: torch.bincount(stored[name].flatten().int() + 128) for name in self._errors}

    @property
    def total(self) -> int:
        return len(self._all)

    def pruned(self, count: int) -> dict[str, Tensor]:
        """The stored tensors without the `count` codes of least error, and those of the same error as the last."""
        last = self._all[count - 1]
        return {
            name: tensor.where(self._errors[name] > last, 0).contiguous() if name in self._errors else tensor
            for name, tensor in self._stored.items()
        }

    def estimated_bytes(self, count: int) -> float:
        """Bytes of the pruned tensors where codes take their entropy, all others their width."""
        floats = (tensor for name, tensor in self._stored.items() if name not in self._errors)
        size = float(sum(tensor.numel() * tensor.element_size() for tensor in floats))
        for name, counts in self._counts.items():
            gone = int(torch.searchsorted(self._sorted[name], self._all[count - 1], right=True)) if count else 0
            units = int(counts[127] + (counts[129] if len(counts) > 129 else 0))
            left = counts.double()
            left[127:130:2] *= 1 - gone / max(units, 1)  # as if both signs lost alike
            left[128] += gone
            shares = left[left > 0] / left.sum()
            size += -(shares * shares.log2()).sum().item() * self._stored[name].numel() / 8
        return size

    def fewest_below(self, wanted_bytes: float) -> int:
        """The fewest codes to prune whose estimate is at most `wanted_bytes`; all of them if none is."""
        low, high = 0, self.total
        while low < high:
            middle = (low + high) // 2
            if self.estimated_bytes(middle) <= wanted_bytes:
                high = middle
            else:
                low = middle + 1
        return high


def _errors(weight_RC: Tensor, codes_RC: Tensor, scales_R: Tensor) -> Tensor:
    """Gain of the squared error of each weight if its code became 0; infinite for codes other than +-1."""
    stored_RC = codes_RC.float() * scales_R.float()[:, None]
    gain_RC = weight_RC.square() - (weight_RC - stored_RC).square()
    return gain_RC.where(codes_RC.abs() == 1, torch.inf)
