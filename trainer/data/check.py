"""Is a folder of shards what it was, and are its two splits apart?

Three questions (condition E10, docs/recipe.md 1.4): do the digests still hold, how many documents are there, and does
a validation document appear in the training shards. A data script whose default took too few validation documents once
put 80 % of the split into training. Nothing is repaired.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.fetch import file_digest, noted_digests
from trainer.spec.errors import DataError


@dataclass(frozen=True)
class SplitsReport:
    """What `check_splits` counted."""

    train_documents: int
    val_documents: int
    train_tokens: int
    val_tokens: int
    shared_documents: int
    """Validation documents that also appear in the training shards; every one is a leak."""


def changed_files(folder: Path) -> list[str]:
    """Files whose content is not what was noted when they came, or that are gone.

    Raises DataError if nothing was noted.
    """
    noted = noted_digests(folder)
    if not noted:
        raise DataError(f"{folder} has no noted digests; it was made by neither `data fetch` nor `data build`")
    return [
        name for name, digest in noted.items() if not (folder / name).exists() or file_digest(folder / name) != digest
    ]


def check_splits(train: Sequence[np.ndarray], val: Sequence[np.ndarray], bos_id: int) -> SplitsReport:
    """Counts documents and those that both splits hold.

    train, val:  tokens of each shard in order; documents start at `bos_id` and run across shard borders
    Memory is 16 bytes a validation document; the training shards are streamed.
    """
    held = list(_document_digests(val, bos_id))
    wanted, shared, num_train = set(held), set(), 0
    for digest in _document_digests(train, bos_id):
        num_train += 1
        if digest in wanted:
            shared.add(digest)
    return SplitsReport(num_train, len(held), _num_tokens(train), _num_tokens(val), len(shared))


def _document_digests(shards: Sequence[np.ndarray], bos_id: int) -> Iterator[bytes]:
    """A digest of each whole document's tokens; the last one of a cut training set may be half a document."""
    held = np.empty(0, dtype=np.uint16)
    for shard in shards:
        tokens = np.concatenate([held, shard])
        starts = np.flatnonzero(tokens == bos_id)
        for start, end in itertools.pairwise(starts):
            yield _digest(tokens[start:end])
        held = tokens[starts[-1] :] if len(starts) else tokens
    if len(held):
        yield _digest(held)


def _digest(tokens: np.ndarray) -> bytes:
    return hashlib.blake2b(tokens.astype("<u2").tobytes(), digest_size=16).digest()


def _num_tokens(shards: Sequence[np.ndarray]) -> int:
    return sum(len(shard) for shard in shards)
