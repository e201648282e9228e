"""Checks a folder of shards: file digests, numbers of documents, and validation documents among the training shards.

Implements condition E10 (docs/recipe.md 1.4). A data script of the challenge once put 80 % of the validation split into
the training text by a wrong default. Nothing is repaired.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.fetch import file_digest, recorded_digests
from trainer.spec.errors import DataError


@dataclass(frozen=True)
class SplitsReport:
    """What `check_splits` counted."""

    train_documents: int
    val_documents: int
    train_tokens: int
    val_tokens: int
    shared_documents: int
    """Validation documents that also appear in the training shards: leaked ones."""


def changed_files(folder: Path) -> list[str]:
    """Files that are missing or whose content differs from its recorded digest.

    Raises DataError if the folder has no recorded digests.
    """
    digests = recorded_digests(folder)
    if not digests:
        raise DataError(f"{folder} has no recorded digests; it was made by neither `data fetch` nor `data build`")
    return [
        name for name, digest in digests.items() if not (folder / name).exists() or file_digest(folder / name) != digest
    ]


def check_splits(train: Sequence[np.ndarray], val: Sequence[np.ndarray], bos_id: int) -> SplitsReport:
    """Counts documents, and those that both splits contain.

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
