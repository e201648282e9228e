"""The built-in corpus (the Python standard library's source), and digests of the text that a recipe names.

The built-in corpus needs no download and is the same on every machine with the same Python version. This module reads
and hashes text but tokenizes nothing; it imports neither numpy nor torch, so that plans are made without them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.shard_files import split_files
from trainer.spec.errors import DataError
from trainer.spec.fingerprint import TextDigests
from trainer.spec.recipe import Data

SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "__pycache__"}
)
SKIPPED_MODULES = ("config-", "_sysconfigdata", "sitecustomize", "usercustomize")
"""Prefixes of top-level names that differ between machines with the same Python version."""

VAL_ONE_IN = 18
"""One top-level module in this many is validation text: about 8 % of the bytes on Python 3.11 and 3.12, since `asyncio`
and `logging` fall there; the generated tables of `encodings` and `pydoc_data` are train text."""

SAMPLE_BYTES = 64 * 1024
"""Read from each end of a shard for its identity; a shard of 200 MB is not hashed whole."""


@dataclass(frozen=True)
class Document:
    """A text and its name: its path below the corpus folder, with forward slashes."""

    name: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Disjoint documents to train on and to score, each in a fixed shuffled order."""

    train: tuple[Document, ...]
    val: tuple[Document, ...]


@functools.cache
def read_stdlib() -> Corpus:
    """The standard library of this interpreter, also from inside a virtual environment; read once per process."""
    return read_corpus(Path(sysconfig.get_path("stdlib")))


def read_corpus(folder: Path) -> Corpus:
    """All UTF-8 `.py` files with text below `folder`, but for test packages, installed packages and build records.

    A hash of the top-level module decides the split, so siblings (`encodings/cp*` are near copies) stay together.
    Documents come in the order of a hash of their names: alphabetical order would teach one package at a time.
    Raises DataError if either split is empty (a zipped or stripped standard library).
    """
    documents = sorted(_documents(folder), key=lambda document: _hash(document.name))
    corpus = Corpus(
        train=tuple(document for document in documents if not _is_validation(document.name)),
        val=tuple(document for document in documents if _is_validation(document.name)),
    )
    if not corpus.train or not corpus.val:
        raise DataError(
            f"found {len(corpus.train)} train and {len(corpus.val)} validation documents below {folder}; expected the "
            ".py files of the standard library (use a Python that is not zipped, or data.source = 'shards')"
        )
    return corpus


def val_documents(documents: Sequence[Document], val_bytes: int) -> tuple[Document, ...]:
    """Whole documents in order until the next would pass `val_bytes` of UTF-8; at least one, and 0 takes all."""
    if val_bytes == 0:
        return tuple(documents)
    held = 0
    for count, document in enumerate(documents):
        held += len(document.text.encode())
        if held > val_bytes:
            return tuple(documents[: max(count, 1)])
    return tuple(documents)


def text_digests(data: Data) -> TextDigests:
    """Content identity of the text a recipe names, for fingerprints; nothing is tokenized.

    stdlib: names and contents of all documents of the split (`data.val_bytes` is hashed as a field, not here).
    shards: names, sizes and both ends of the split's shards; the train text includes the tokenizer's bytes.
    Raises DataError if a folder or file is missing.
    """
    if data.source == "stdlib":
        return _stdlib_digests()
    train, val = (split_files(data.folder, split) for split in ("train", "val"))
    tokenizer = _tokenizer_bytes(Path(data.tokenizer))
    return TextDigests(_digest([tokenizer, *_samples(train)]), _digest(_samples(val)))


def shard_facts(data: Data) -> dict[str, str]:
    """Amount and digest of each split's text on this machine, as text, to compare the machines of a sweep."""
    digests = text_digests(data)
    if data.source == "stdlib":
        corpus = read_stdlib()
        num_train, num_val, unit = len(corpus.train), len(corpus.val), "documents"
    else:
        num_train, num_val = (len(split_files(data.folder, split)) for split in ("train", "val"))
        unit = "shards"
    return {
        "train_shards": f"{num_train} {unit} {digests.train[:12]}",
        "val_shards": f"{num_val} {unit} {digests.val[:12]}",
    }


@functools.cache
def _stdlib_digests() -> TextDigests:
    corpus = read_stdlib()
    return TextDigests(_digest(_contents(corpus.train)), _digest(_contents(corpus.val)))


def _documents(folder: Path) -> Iterator[Document]:
    """Without a Path for each of 2,000 files, which takes half as long as reading and hashing them."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        within = "".join(f"{part}/" for part in Path(parent).relative_to(folder).parts)
        for name in files:
            relative = f"{within}{name}"
            if not name.endswith(".py") or relative.startswith(SKIPPED_MODULES):
                continue
            with (
                open(f"{parent}/{name}", "rb") as file,  # noqa: PTH123
                contextlib.suppress(UnicodeDecodeError),
            ):
                if text := file.read().decode():  # another encoding is left out: its UTF-8 bytes could not be counted
                    yield Document(relative, text)


def _is_validation(name: str) -> bool:
    top_level = name.split("/", 1)[0].removesuffix(".py")
    return int.from_bytes(_hash(top_level)) % VAL_ONE_IN == 0


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _contents(documents: Iterable[Document]) -> Iterator[bytes]:
    for document in documents:
        yield document.name.encode()
        yield document.text.encode()


def _samples(shards: Iterable[Path]) -> Iterator[bytes]:
    for path in shards:
        size = path.stat().st_size
        yield path.name.encode()
        yield str(size).encode()
        with path.open("rb") as file:
            yield file.read(SAMPLE_BYTES)
            file.seek(max(size - SAMPLE_BYTES, 0))
            yield file.read(SAMPLE_BYTES)


def _tokenizer_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"data.tokenizer = '{path}' is no file; expected the SentencePiece model of the shards")
    return path.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    """Hash of a sequence of byte strings; lengths enter, so that moving a border between parts changes it."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8))
        total.update(part)
    return total.hexdigest()
