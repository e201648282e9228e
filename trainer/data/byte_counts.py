"""Counts the bytes of text that each token stands for: the denominator of bits per byte.

Bytes are those of the tokenizer's input: the raw text under identity normalisation, else the normalised text.
A tokenizer whose bytes cannot be counted from its pieces is refused. Source: docs/recipe.md 1.2.
"""

# N tokens · V vocabulary

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from torch import Tensor

from trainer.data.tokenizer import SPACE_MARK, Model, is_lossless, read_model
from trainer.spec.errors import DataError

Piece = ModelProto.SentencePiece


@dataclass(frozen=True)
class ByteTable:
    """Bytes of every token, which may depend on the token before it."""

    base_V: Tensor
    """int64, bytes the token always stands for."""
    lead_V: Tensor
    """bool, whether it has one more byte, a space, unless it begins a document."""
    boundary_V: Tensor
    """bool, whether a document begins after it: control, unknown and unused pieces, and ids without a piece."""

    @classmethod
    def from_tokenizer(cls, model: Model, vocab_size: int) -> ByteTable:
        """The table of a SentencePiece model, over `vocab_size` ids.

        Raises DataError if the model has more pieces than that, or pieces whose bytes depend on more than the
        previous token.
        """
        proto = read_model(model)
        if len(proto.pieces) > vocab_size:
            raise DataError(f"the tokenizer has {len(proto.pieces)} pieces, more than data.vocab_size = {vocab_size}")
        if is_lossless(proto):
            spans = [_every_byte(piece) for piece in proto.pieces]
        else:
            _refuse_uncountable(proto)
            spans = [_bytes_after_lead(piece) for piece in proto.pieces]
        spans += [(0, False, True)] * (vocab_size - len(proto.pieces))
        base, lead, boundary = zip(*spans, strict=True)
        return cls(torch.tensor(base), torch.tensor(lead), torch.tensor(boundary))

    def to(self, device: torch.device | str) -> ByteTable:
        """The same table on another device."""
        return ByteTable(self.base_V.to(device), self.lead_V.to(device), self.boundary_V.to(device))

    def count(self, targets_N: Tensor, previous_N: Tensor) -> Tensor:
        """Bytes each target stands for, int64.

        targets_N:   any integer dtype and shape, the scored tokens
        previous_N:  same shape, the true predecessor of each in the stream, also at a window's start
        """
        targets_N, previous_N = targets_N.long(), previous_N.long()  # uint16 cannot index
        return self.base_V[targets_N] + (self.lead_V[targets_N] & ~self.boundary_V[previous_N])

    def count_stream(self, stream: np.ndarray, frequencies_V: np.ndarray) -> int:
        """The sum of `count` over all targets of a stream, its first token being none: under 0.1 s for 62 million.

        stream:         any integer dtype, at least one token, all ids below V
        frequencies_V:  int64, how often each id occurs in it
        """
        base_V, lead_V, boundary_V = (table.numpy() for table in (self.base_V, self.lead_V, self.boundary_V))
        boundaries = np.flatnonzero(boundary_V & (frequencies_V > 0))
        after_boundary = sum(int(lead_V[stream[1:][stream[:-1] == id]].sum()) for id in boundaries)
        first = base_V[stream[0]] + lead_V[stream[0]]
        return int(frequencies_V @ (base_V + lead_V) - first) - after_boundary


def _every_byte(piece: Piece) -> tuple[int, bool, bool]:
    """Base, lead, boundary under identity normalisation: every space mark is one byte at any position."""
    return _special(piece) or (len(piece.piece.replace(SPACE_MARK, " ").encode()), False, False)


def _bytes_after_lead(piece: Piece) -> tuple[int, bool, bool]:
    """Base, lead, boundary under normalisation that strips: a space after BOS is not in the text."""
    rest = piece.piece.removeprefix(SPACE_MARK)
    return _special(piece) or (len(rest.encode()), rest != piece.piece, False)


def _special(piece: Piece) -> tuple[int, bool, bool] | None:
    if piece.type in (Piece.CONTROL, Piece.UNKNOWN, Piece.UNUSED):
        return 0, False, True
    if piece.type == Piece.BYTE:
        return 1, False, False
    return None


def _refuse_uncountable(proto: ModelProto) -> None:
    rule = proto.normalizer_spec
    if not rule.remove_extra_whitespaces or proto.trainer_spec.treat_whitespace_as_suffix:
        raise DataError(
            f"bytes cannot be counted under normalisation '{rule.name}' with remove_extra_whitespaces = "
            f"{rule.remove_extra_whitespaces} and add_dummy_prefix = {rule.add_dummy_prefix}; expected 'identity' with "
            "both off, or a tokenizer that collapses white space"
        )
    inside = next((piece.piece for piece in proto.pieces if SPACE_MARK in piece.piece[1:]), None)
    if inside is not None:
        raise DataError(f"bytes of piece {inside!r} cannot be counted: it has a space that is not its first character")
