"""What the ledger knows a model's weights by: a checksum of every bit, and whether they were written since.

R rows of C 32-bit words
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

WORDS_OF_ROW = 1024
PIECE_WORDS = 1024 * WORDS_OF_ROW
"""Of a model's bits, what is copied at once for their checksum: as doubles no more than a batch's logits take."""


def state_tensors(model: nn.Module) -> tuple[Tensor, ...]:
    """What a model computes with: its parameters and buffers."""
    return (*model.parameters(), *model.buffers())


def parameter_digest(tensors: Sequence[Tensor]) -> Tensor:
    """A checksum of every bit of some tensors, a model's parameters and buffers: int64, one element, on their device.

    A sum of 32-bit words times odd weights 1, 3, 5, ... modulo 2^64: one changed bit or two swapped words always
    change it, since neither difference can be a multiple of 2^64. It detects mistakes, not deliberate collisions.

    Computed in rows of C words: word c of row r weighs 2c + 1 and 2Cr more. The sums of a row are products of doubles,
    which hold them exactly: they stay below 2^31 C^2 = 2^51.
    """
    device = tensors[0].device
    columns_C = torch.arange(WORDS_OF_ROW, dtype=torch.float64, device=device)
    weights_C2 = torch.stack([torch.ones_like(columns_C), 2 * columns_C + 1], dim=1)
    with torch.no_grad():
        sums_R2 = torch.cat([words_RC.to(torch.float64) @ weights_C2 for words_RC in _words(tensors)])
    plain_R, weighted_R = sums_R2.to(torch.int64).unbind(dim=1)
    rows_R = torch.arange(len(plain_R), device=device)
    return (weighted_R + 2 * WORDS_OF_ROW * rows_R * plain_R).sum()


def writes(tensors: Sequence[Tensor]) -> list[tuple[object, ...]]:
    """For each parameter and buffer its identity, its memory and how often it was written; read without a digest.

    Writes through `.data` are not counted by torch. An inference tensor counts none, so it never equals an earlier one.
    """
    return [(id(t), t.data_ptr(), object() if t.is_inference() else t._version) for t in tensors]


def _words(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """All bits of some tensors as int32 (R,C), in order, in pieces of `PIECE_WORDS`, and zeros up to a whole row.

    Elements of one or two bytes make a word each.
    """
    parts = [tensor.reshape(-1) for tensor in tensors]
    if not all(part.dtype == torch.float32 for part in parts):
        sizes = {1: torch.int8, 2: torch.int16}
        parts = [part.view(sizes.get(part.element_size(), torch.int32)).to(torch.int32) for part in parts]
    piece: list[Tensor] = []
    room = PIECE_WORDS
    for part in parts:
        while (length := len(part)) >= room:
            piece.append(part[:room])
            yield torch.cat(piece).view(torch.int32).view(-1, WORDS_OF_ROW)
            part, piece, room = part[room:], [], PIECE_WORDS
        piece.append(part)
        room -= length
    if missing := room % WORDS_OF_ROW:
        piece.append(parts[0].new_zeros(missing))
    if room < PIECE_WORDS:
        yield torch.cat(piece).view(torch.int32).view(-1, WORDS_OF_ROW)
