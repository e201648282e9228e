"""What a check of a folder of shards counted, refuses and says; a plain value that needs neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class SplitFacts:
    """Numbers of one split."""

    shards: int
    tokens: int
    documents: int
    """Documents with at least one token beside BOS."""
    empty_documents: int
    """BOS followed by BOS, or by the end."""


@dataclass(frozen=True)
class DataReport:
    """The result of `check_data`."""

    train: SplitFacts | None
    """None if the split could not be read."""
    val: SplitFacts | None
    val_bytes: int | None
    """UTF-8 bytes that all targets of the validation split stand for; None if they cannot be counted."""
    pieces: int
    """Pieces of the tokenizer."""
    problems: tuple[str, ...]
    """Why nothing may be scored on this data; each names the file and the remedy."""
    notes: tuple[str, ...]
    """What a reader of a score should know of the data."""

    def counted(self) -> Iterator[str]:
        """A line for each split."""
        for name, facts in (("train", self.train), ("validation", self.val)):
            if facts is not None:
                measured = f", {self.val_bytes:,} bytes" if facts is self.val and self.val_bytes is not None else ""
                yield f"{name:<11} {facts.documents:,} documents, {facts.tokens:,} tokens{measured}"
