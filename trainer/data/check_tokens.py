"""Checks the tokens of shards against their tokenizer: ids without a piece, pieces without text, and a sample of texts.

A score needs the bytes of the text. They are known from the tokens only if every token is a piece whose text the
tokenizer keeps. `<unk>` stands for text that is lost: a code that loses text is no code of it, so a score would be too
low even if the true number of bytes were known. Validation text with `<unk>` is therefore refused (docs/recipe.md 1.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer.data.byte_counts import ByteTable, Piece
from trainer.data.check_files import RESTORE, SHORT
from trainer.data.documents import Run
from trainer.data.fetch import file_digest
from trainer.data.shards import MOST_IDS
from trainer.data.tokenizer import Tokenizer, read_model

SAMPLED_DOCUMENTS = 64
"""Documents of a split that are decoded and tokenised again; of each shard a quarter of that at least."""
MOST_TOKENS = 20_000
"""Of a longer document, only the beginning is."""
CUT_TOKENS = 16
"""Last tokens in which a cut document may differ from its text tokenised again."""
ALIKE = 0.97
"""Share of equal tokens by which a part of a document passes; another tokenizer of the same text reaches 0.94."""
COUNT_AT_ONCE = 2**22
REMEDY = f"name the tokenizer that made the shards in data.tokenizer, or {RESTORE}"


@dataclass(frozen=True)
class Pieces:
    """A tokenizer and the kind of each of its pieces."""

    source: str
    """The tokenizer's file and digest, for messages."""
    tokenizer: Tokenizer
    table: ByteTable
    names: tuple[str, ...]
    kinds_V: np.ndarray
    """The type of each piece."""
    has_byte_fallback: bool

    @classmethod
    def read(cls, path: Path) -> Pieces:
        """The pieces of a model file. Raises DataError if it is none, or if its bytes cannot be counted."""
        proto = read_model(path)
        return cls(
            source=f"tokenizer '{path}' (SHA-256 {file_digest(path)[:SHORT]})",
            tokenizer=Tokenizer(path),
            table=ByteTable.from_tokenizer(path, len(proto.pieces)),
            names=tuple(piece.piece for piece in proto.pieces),
            kinds_V=np.array([piece.type for piece in proto.pieces]),
            has_byte_fallback=any(piece.type == Piece.BYTE for piece in proto.pieces),
        )

    def of_kind(self, *kinds: int) -> list[int]:
        """Ids of the pieces of these types."""
        return np.flatnonzero(np.isin(self.kinds_V, kinds)).tolist()


@dataclass(frozen=True)
class SampledDocument:
    """Tokens of a document without its BOS; `whole` if it begins with one and is not cut by the sample."""

    number: int
    ids: np.ndarray
    whole: bool


def ids_without_piece(path: Path, tokens: np.ndarray, pieces: Pieces) -> Iterator[str]:
    """The problem of a shard that holds an id which the tokenizer lacks, whatever the size of the vocabulary."""
    largest, num_pieces = int(tokens.max()), len(pieces.names)
    if largest >= num_pieces:
        count = int(np.count_nonzero(tokens >= num_pieces))
        yield (
            f"{path} holds id {largest} ({count:,} of its {len(tokens):,} tokens are such ids), but {pieces.source} "
            f"has {num_pieces} pieces: another tokenizer made the shards; {REMEDY}"
        )


def lost_text(path: Path, tokens: np.ndarray, pieces: Pieces, num_begun: int) -> Iterator[str]:
    """A sentence for each piece in a shard whose text is lost: `<unk>`, and pieces that are not in use.

    num_begun:  documents of the split that begin before this shard
    """
    for id in pieces.of_kind(Piece.UNKNOWN, Piece.UNUSED):
        positions = np.flatnonzero(tokens == id)
        if not len(positions):
            continue
        starts = np.flatnonzero(tokens[: positions[-1]] == pieces.tokenizer.bos_id)
        numbers = num_begun + np.searchsorted(starts, positions) - 1
        why = (
            f"{pieces.source} never writes it: another tokenizer made the shards; {REMEDY}"
            if pieces.has_byte_fallback
            else f"{pieces.source} has no byte fallback, so this text and its bytes are lost; train a tokenizer with "
            "byte fallback and make the shards again (`python -m trainer data rebuild` or `data build`)"
        )
        yield (
            f"{path} holds the piece '{pieces.names[id]}' (id {id}) {len(positions):,} times in "
            f"{len(np.unique(numbers)):,} documents, first in document {numbers[0]:,} of the split: {why}"
        )


def frequencies(tokens: Sequence[np.ndarray]) -> np.ndarray:
    """How often each of the 65,536 ids occurs."""
    counts = np.zeros(MOST_IDS, dtype=np.int64)
    for shard in tokens:
        for start in range(0, len(shard), COUNT_AT_ONCE):
            counts += np.bincount(shard[start : start + COUNT_AT_ONCE], minlength=MOST_IDS)
    return counts


def control_notes(split: str, counts_V: np.ndarray, pieces: Pieces) -> Iterator[str]:
    """Control pieces other than BOS: the rules write none."""
    for id in pieces.of_kind(Piece.CONTROL):
        if counts_V[id] and id != pieces.tokenizer.bos_id:
            yield (
                f"{split} holds the control piece '{pieces.names[id]}' (id {id}) {counts_V[id]:,} times: "
                "it is scored and stands for 0 bytes"
            )


def sample(run: Run, most: int, number: int, bos_id: int) -> Iterator[SampledDocument]:
    """Up to `most` documents with text, evenly spaced over a run; `number` is that of the run's first document."""
    tokens, edges = run
    with_text = np.flatnonzero(np.diff(edges) > 1)
    for i in with_text[np.unique(np.linspace(0, len(with_text) - 1, min(most, len(with_text))).astype(int))]:
        ids = tokens[edges[i] : edges[i + 1]]
        begins = ids[0] == bos_id
        ids = ids[int(begins) :]
        yield SampledDocument(number + int(i), np.array(ids[:MOST_TOKENS]), begins and len(ids) <= MOST_TOKENS)


def other_bytes(place: str, documents: Sequence[SampledDocument], pieces: Pieces) -> Iterator[str]:
    """The problem of the first document of a place whose decoded bytes are not those that are counted."""
    for document in documents:
        counted, decoded = _bytes(document, pieces)
        if counted != decoded:
            yield (
                f"document {document.number:,} of the split, in {place}, counts as {counted:,} bytes but decodes to "
                f"{decoded:,} by {pieces.source}; {REMEDY}"
            )
            return


def other_tokens(place: str, documents: Sequence[SampledDocument], pieces: Pieces) -> tuple[bool, str]:
    """Whether most documents of a place become other tokens when their text is tokenised again, and a sentence.

    Documents whose text is lost in part are left out. The sentence is empty if all become the same tokens.
    """
    lost = pieces.of_kind(Piece.UNKNOWN, Piece.UNUSED)
    kept = [document for document in documents if not np.isin(document.ids, lost).any()]
    differing = [document.number for document in kept if not _same_again(document, pieces)]
    if not differing:
        return False, ""
    is_other = 2 * len(differing) > len(kept)
    verdict = f": another tokenizer made the shard; {REMEDY}" if is_other else ""
    return is_other, (
        f"{len(differing)} of {len(kept)} documents sampled from {place} give other tokens when {pieces.source} "
        f"tokenises their text again (the first is document {differing[0]:,} of the split){verdict}"
    )


def _bytes(document: SampledDocument, pieces: Pieces) -> tuple[int, int]:
    """Bytes counted and decoded, without byte pieces at the ends, which may be part of a cut character."""
    inner = np.flatnonzero(pieces.kinds_V[document.ids] != Piece.BYTE)
    first = 0 if document.whole or not len(inner) else inner[0]
    ids = document.ids[first : inner[-1] + 1] if len(inner) else document.ids[:0]
    targets = torch.from_numpy(ids.astype(np.int64))
    previous = torch.cat([torch.tensor([pieces.tokenizer.bos_id]), targets[:-1]])[: len(targets)]
    return int(pieces.table.count(targets, previous).sum()), len(pieces.tokenizer.decode(ids).encode())


def _same_again(document: SampledDocument, pieces: Pieces) -> bool:
    ids = document.ids[pieces.kinds_V[document.ids] != Piece.CONTROL]
    again = pieces.tokenizer.encode(pieces.tokenizer.decode(ids))
    if np.array_equal(ids, again):
        return True
    if document.whole:
        length = len(ids) - CUT_TOKENS
        return length > CUT_TOKENS and np.array_equal(ids[:length], again[:length])
    size = len(pieces.names)
    equal = np.minimum(np.bincount(ids, minlength=size), np.bincount(again, minlength=size)).sum()
    return bool(equal >= ALIKE * max(len(ids), len(again)))
