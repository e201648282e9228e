"""Reads and writes shards: 256 little-endian int32 of header, then little-endian uint16 tokens.

Source: the challenge's binary format, docs/recipe.md 1.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from trainer.data.shard_files import Split, present_shards, shard_name, split_files
from trainer.spec.errors import DataError

MAGIC = 20_240_520
VERSION = 1
HEADER_WORDS = 256
HEADER_BYTES = 4 * HEADER_WORDS
MOST_IDS = 2**16
"""Ids that a shard's uint16 can hold."""


def write_split(
    folder: Path,
    split: Split,
    documents_ids: Iterable[np.ndarray],
    bos_id: int,
    vocab_size: int,
    max_tokens_per_shard: int = 100_000_000,
) -> list[Path]:
    """Writes BOS and the pieces of each document, one after the other, into as few shards as possible.

    documents_ids:  uint16 ids of each document without BOS; documents run across shard borders
    Returns the files in order. Raises DataError if the folder already holds shards of the split, if there is no
    document, or if a token is beyond the vocabulary (files written so far stay).
    """
    folder.mkdir(parents=True, exist_ok=True)
    if present_shards(folder, split):
        raise DataError(f"{folder} already holds shards of split '{split}'; choose an empty folder")
    paths = []
    documents = (
        _checked(ids, f"document {number} for {folder}", vocab_size) for number, ids in enumerate(documents_ids)
    )
    for index, tokens in enumerate(_cut(documents, bos_id, max_tokens_per_shard)):
        path = folder / shard_name(split, index)
        header = np.zeros(HEADER_WORDS, dtype="<i4")
        header[:3] = MAGIC, VERSION, len(tokens)
        path.write_bytes(header.tobytes() + tokens.tobytes())
        paths.append(path)
    if not paths:
        raise DataError(f"split '{split}' for {folder} has no documents; expected at least one")
    return paths


def read_shard(path: Path, vocab_size: int) -> np.ndarray:
    """The tokens of a shard, uint16, mapped into memory read-only.

    Every token is checked (0.1 s for 100 million). Raises DataError naming the file, what was found and what
    was expected if it is missing, damaged, of another format or of another vocabulary.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = np.frombuffer(file.read(HEADER_BYTES), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; expected a shard") from error
    if len(header) < HEADER_BYTES:
        raise DataError(f"{path} has {size} bytes; expected a header of {HEADER_BYTES} bytes and tokens")
    magic, version, num_tokens = header.view("<i4")[:3].tolist()
    for name, found, expected in (("magic number", magic, MAGIC), ("version", version, VERSION)):
        if found != expected:
            raise DataError(f"{path} has {name} {found}; expected {expected}")
    if num_tokens < 1 or size != HEADER_BYTES + 2 * num_tokens:
        raise DataError(
            f"{path} has {size} bytes; expected {HEADER_BYTES} + 2 x {num_tokens}, the positive count in its header"
        )
    tokens = np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES)
    return _checked(tokens, str(path), vocab_size)


def read_split(folder: Path | str, split: Split, vocab_size: int) -> list[np.ndarray]:
    """The tokens of every shard of a split, in name order. Raises DataError as `split_files` and `read_shard` do."""
    return [read_shard(path, vocab_size) for path in split_files(folder, split)]


def _cut(documents_ids: Iterable[np.ndarray], bos_id: int, max_tokens: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    num_held = 0
    for ids in documents_ids:
        held += [np.array([bos_id], dtype="<u2"), ids.astype("<u2")]
        num_held += 1 + len(ids)
        while num_held >= max_tokens:
            tokens = np.concatenate(held)
            yield tokens[:max_tokens]
            held, num_held = [tokens[max_tokens:]], num_held - max_tokens
    if num_held:
        yield np.concatenate(held)


def _checked(tokens: np.ndarray, source: str, vocab_size: int) -> np.ndarray:
    if vocab_size >= MOST_IDS and tokens.dtype == np.uint16:
        return tokens
    largest = int(tokens.max(initial=0))
    if largest >= vocab_size:
        raise DataError(f"{source} has token {largest}; expected all below data.vocab_size = {vocab_size}")
    if largest >= MOST_IDS:
        raise DataError(f"{source} has token {largest}; a shard's uint16 holds ids below {MOST_IDS:,}")
    return tokens
