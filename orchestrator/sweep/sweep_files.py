"""Reads the files in a sweep's folder: lines of its journal and records of its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.spec.errors import StoreError
from trainer.spec.record import Record


class ReadWhenNeeded(Mapping[str, Record]):
    """Records that are read from disk at the first access."""

    def __init__(self, read: Callable[[], Mapping[str, Record]]):
        self._read = read

    @cached_property
    def _records(self) -> Mapping[str, Record]:
        return self._read()

    def __getitem__(self, run_id: str) -> Record:
        return self._records[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def journal_entries(path: Path) -> list[dict[str, Any]]:
    """The journal's complete lines; an incomplete last line is ignored."""
    *whole, _torn = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in whole]
    except ValueError:
        raise StoreError(f"{path}: is damaged; move the sweep's folder away to start anew") from None


def cut_torn_line(path: Path) -> None:
    """Removes an incomplete last line, left by a writer that was killed."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def read_record(path: Path) -> Record:
    """The record in a file. Raises StoreError for a file that holds none."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValueError:
        raise StoreError(f"{path}: is no record of this version; delete it to have the run done again") from None
