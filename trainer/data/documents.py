"""Documents in a split's shards: where they begin, and which of them a validation split holds too.

A document is BOS and the tokens up to the next BOS; documents run across shard borders. Shards are read one after the
other, so the memory is that of one shard and of the validation documents' digests.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd; spreads the key of a document over 64 bits."""
KEY_TOKENS = 8
"""Tokens at each end of a document that its key depends on, beside its length."""

Run = tuple[np.ndarray, np.ndarray]
"""Tokens, and the edges of the documents in them: document i is tokens[edges[i] : edges[i + 1]]."""


def document_runs(shards: Sequence[np.ndarray], bos_id: int) -> Iterator[Run]:
    """The documents in order. One that crosses a border between shards is a run of its own.

    So are the tokens before the first BOS, a document that lacks it.
    """
    pending: list[np.ndarray] = []
    for shard in shards:
        starts = np.flatnonzero(shard == bos_id)
        if not len(starts):
            pending.append(shard)
            continue
        yield from _alone([*pending, shard[: starts[0]]])
        yield shard, starts
        pending = [shard[starts[-1] :]]
    yield from _alone(pending)


class KnownDocuments:
    """Digests of the documents of a split, to find them in another. Empty documents are left out."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self._keys: list[np.ndarray] = []

    def add(self, run: Run) -> None:
        """Adds the documents of a run."""
        tokens, edges = run
        self._keys.append(_keys(run))
        self._digests.update(_digest(tokens[s:e]) for s, e in itertools.pairwise(edges.tolist()) if e - s > 1)

    def found_in(self, run: Run) -> set[bytes]:
        """Digests of the known documents that a run of another split holds, token by token.

        Only documents with the length and the outer tokens of a known one are digested.
        """
        tokens, edges = run
        alike = np.flatnonzero(np.isin(_keys(run), np.concatenate(self._keys))) if self._keys else ()
        return self._digests.intersection(_digest(tokens[edges[i] : edges[i + 1]]) for i in alike)


def _alone(parts: Sequence[np.ndarray]) -> Iterator[Run]:
    """One document in several parts, if it has any token."""
    if num_tokens := sum(len(part) for part in parts):
        yield (parts[0] if len(parts) == 1 else np.concatenate(parts)), np.array([0, num_tokens])


def _keys(run: Run) -> np.ndarray:
    """uint64 for each document; equal documents have equal keys."""
    tokens, (starts, ends) = run[0], (run[1][:-1], run[1][1:])
    keys = (ends - starts).astype(np.uint64)
    for offset in range(1, KEY_TOKENS + 1):
        for positions in (np.minimum(starts + offset, ends - 1), np.maximum(ends - offset, starts)):
            keys = keys * MULTIPLIER + tokens[positions]
    return keys


def _digest(tokens: np.ndarray) -> bytes:
    return hashlib.blake2b(tokens.astype("<u2").tobytes(), digest_size=16).digest()
