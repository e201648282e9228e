"""The metric: code length of the text per byte, and per token."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.spec.errors import UserError
from trainer.spec.units import nats_to_bits_per_byte


class NothingScored(UserError):
    """There is no scored token or no counted byte."""


def mean_nats(nll_N: Tensor) -> float:
    """Mean negative log-likelihood per scored token, in nats; summed in float64.

    nll_N:  float32, one per scored token
    Raises NothingScored if there is none.
    """
    if nll_N.numel() == 0:
        raise NothingScored("no token was scored: the text needs at least two tokens")
    return nll_N.sum(dtype=torch.float64).item() / nll_N.numel()


def bits_per_byte(nll_N: Tensor, bytes_N: Tensor) -> float:
    """Mean code length of the text, comparable across tokenizers.

    nll_N:    float32, negative log-likelihood of each scored token, in nats
    bytes_N:  integers, UTF-8 bytes the token stands for; 0 adds no byte (BOS), its nats still count
    Returns bits per byte; lower is better.  Raises NothingScored if no byte is counted.

    A ratio of sums, not a mean of ratios, so that tokens are weighted by their bytes.
    Source: challenge README, "bits per byte"; docs/recipe.md 1.2.
    """
    num_bytes = int(bytes_N.sum())
    if num_bytes == 0:
        raise NothingScored(f"the {nll_N.numel()} scored tokens stand for no byte of text")
    return nats_to_bits_per_byte(mean_nats(nll_N), nll_N.numel() / num_bytes)
