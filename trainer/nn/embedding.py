"""Embeddings besides the token embedding: hashed bigrams, the smear gate, and the value embedding.

They depend on a token and its predecessor at most, and ignore where documents begin.
"""

# B batch · T positions · D width · E table width
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn.linear import Embedding, Linear, Parameters
from trainer.spec import recipe


def bigram_buckets(ids_BT: Tensor, num_buckets: int, first: str) -> Tensor:
    """Bucket of each token with its predecessor, int64 (B,T).

    The hash fills all buckets but the last. Position 0 takes that last one (`first='reserved'`) or is hashed with a
    zero predecessor (`'zero'`, PR #150's checkpoints).
    """
    previous_BT = F.pad(ids_BT, (1, -1))
    buckets_BT = ((36313 * ids_BT) ^ (27191 * previous_BT)) % (num_buckets - 1)
    if first == "reserved":
        buckets_BT[:, 0] = num_buckets - 1
    return buckets_BT


class BigramHash(Parameters):
    """A table of hashed bigrams, projected to the model's width unless it has it already."""

    def __init__(self, model: recipe.Model, dtype: torch.dtype):
        super().__init__()
        self.first = model.bigram_first
        self.embed = Embedding(model.bigram_buckets, model.bigram_dim, dtype)
        self.proj = Linear(model.bigram_dim, model.model_dim) if model.bigram_dim != model.model_dim else None
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTE = self.embed(bigram_buckets(ids_BT, self.embed.weight.size(0), self.first))
        x_BTD = x_BTE if self.proj is None else self.proj(x_BTE)
        return self.used("scale", self.scale).to(x_BTD.dtype) * x_BTD


class ValueEmbedding(Parameters):
    """A second table of tokens, projected to the width of all values unless it has that width already.

    Each listed layer adds it with a scale of its own.
    """

    def __init__(self, model: recipe.Model, vocab_size: int, dtype: torch.dtype):
        super().__init__()
        kv_dim = model.num_kv_heads * model.model_dim // model.num_heads
        self.embed = Embedding(vocab_size, model.value_embed_dim, dtype)
        self.proj = Linear(model.value_embed_dim, kv_dim) if model.value_embed_dim != kv_dim else None
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTE = self.embed(ids_BT)
        if self.proj is not None:
            x_BTE = self.proj(x_BTE)
        return self.used("scale", self.scale).to(x_BTE.dtype) * x_BTE


class SmearGate(Parameters):
    """Blends each position with the one before by a learned gate per dimension; the first is blended with zero."""

    def __init__(self, model_dim: int):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(model_dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        previous_BTD = F.pad(x_BTD, (0, 0, 1, -1))
        return torch.lerp(x_BTD, previous_BTD, self.used("gate", self.gate).sigmoid().to(x_BTD.dtype))
