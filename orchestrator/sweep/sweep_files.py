"""Reads the files in a sweep's folder: lines of its journal and records of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from results.rows.lines import checked_lines
from results.rows.read import AGAIN
from trainer.spec.checked_json import ChecksumDiffers, without_checksum
from trainer.spec.errors import StoreError
from trainer.spec.record import Record


class ReadWhenNeeded(Mapping[str, Record]):
    """Records that are read from disk at the first access; to count them they are not."""

    def __init__(self, read: Callable[[], Mapping[str, Record]], count: Callable[[], int]):
        self._read, self._count = read, count

    @cached_property
    def _records(self) -> Mapping[str, Record]:
        return self._read()

    def __getitem__(self, run_id: str) -> Record:
        return self._records[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return self._count()


def journal_entries(path: Path) -> list[dict[str, Any]]:
    """The journal's complete lines; an incomplete last one is ignored. Raises StoreError where one was changed."""
    return list(checked_lines(path, "restore it from a copy, or move the sweep's folder away to start anew"))


class EqualParts:
    """Lets records share the sections of their recipes and the outcomes of their stages where these are equal.

    The runs of a sweep differ in little, and 10,000 records would else take 300 MB.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Any] = {}

    def shared(self, record: Record) -> Record:
        """The same record, with parts of earlier ones."""
        recipe = {name: self._one((name,), part) for name, part in record.recipe.items()}
        stages = {name: self._one((name, part.fingerprint), part) for name, part in record.stages.items()}
        machine = self._one(("machine", record.machine.get("name", "")), record.machine)
        return record.model_copy(update={"recipe": recipe, "stages": stages, "machine": machine})

    def _one(self, key: tuple[str, ...], part: Any) -> Any:
        known = self._known.get(key)
        if known is None or known != part:
            known = self._known[key] = part
        return known


def read_record(path: Path) -> Record:
    """The record in a file. Raises StoreError for a file that holds none, or that of another run."""
    try:
        body, _ = without_checksum(path.read_bytes())
        record = Record.model_validate_json(body)
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    except ChecksumDiffers as fault:
        raise StoreError(f"{path}: {fault}; {AGAIN}") from None
    except ValueError:
        raise StoreError(f"{path}: is no record of this version; {AGAIN}") from None
    if record.run_id != path.stem:
        raise StoreError(f"{path}: holds the record of run {record.run_id}; {AGAIN}")
    return record


def read_records(paths: Iterable[Path]) -> dict[str, Record]:
    """The records in these files by run id. Raises StoreError for one that cannot be read."""
    parts = EqualParts()
    return {path.stem: parts.shared(read_record(path)) for path in paths}


def readable_records(paths: Iterable[Path]) -> tuple[dict[str, Record], list[str]]:
    """Those of these records that can be read, and why the others cannot."""
    readable, faults, parts = {}, [], EqualParts()
    for path in paths:
        try:
            readable[path.stem] = parts.shared(read_record(path))
        except StoreError as fault:
            faults.append(str(fault))
    return readable, faults
