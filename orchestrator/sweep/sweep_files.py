"""Reads the files in a sweep's folder: lines of its journal and records of its runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from results.rows.lines import LONGEST_LINE_BYTES, checked_lines
from trainer.spec.checked_json import ChecksumDiffers, with_checksum, without_checksum
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
    """The journal's complete lines; an incomplete last one is ignored. Raises StoreError where one was changed."""
    return list(checked_lines(path, "restore it from a copy, or move the sweep's folder away to start anew"))


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """One line more, with its checksum, synced to disk. An incomplete last line, of a killed writer, makes way."""
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - LONGEST_LINE_BYTES))
        complete, _, torn = file.read().rpartition(b"\n")
        file.truncate(end - len(torn))
        previous = complete.rpartition(b"\n")[2]
        file.write(with_checksum(json.dumps(entry).encode(), previous) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """Removes an incomplete last line, left by a writer that was killed."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def read_record(path: Path) -> Record:
    """The record in a file. Raises StoreError for a file that holds none, or that of another run."""
    redo = "resume the sweep to have it made again from its stages"
    try:
        body, _ = without_checksum(path.read_bytes())
        record = Record.model_validate_json(body)
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    except ChecksumDiffers as fault:
        raise StoreError(f"{path}: {fault}; {redo}") from None
    except ValueError:
        raise StoreError(f"{path}: is no record of this version; {redo}") from None
    if record.run_id != path.stem:
        raise StoreError(f"{path}: holds the record of run {record.run_id}; {redo}")
    return record
