"""Files of lines that are only ever appended to: a JSON object each, whose checksum covers the line before as well.

Beside such a file lies the number of lines that were written, in a file that is replaced after each line. So a last
line without an end, left by a writer that was killed, is told from lines that were lost. A killed writer may leave the
number one line behind; files of earlier versions have none.

    journal.jsonl   {"index": 0, ..., "checksum":"..."}
    journal.count   LINES BYTES
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from results.rows.layout import count_file
from trainer.spec.checked_json import ChecksumDiffers, with_checksum, without_checksum
from trainer.spec.errors import StoreError
from trainer.spec.json_text import parse_json
from trainer.store.atomic_write import replace_synced

LONGEST_LINE_BYTES = 2**22
COUNT_PATTERN, LONGEST_COUNT_BYTES = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15})\n"), 40


def checked_lines(path: Path, remedy: str, may_be_missing: bool = False) -> Iterator[dict[str, Any]]:
    """The complete lines; an incomplete last one, of a writer that was killed, is left out.

    Lines without a checksum were written by an earlier version. Raises StoreError, with what to do, for the first line
    that is not what was written, for a file that lost lines, and for one that cannot be read.
    """
    counted = _counted(path)  # before the lines: others may append meanwhile
    num_written = counted[0] if counted else 0
    num_read = 0
    for num_read, entry in enumerate(_lines(path, remedy, may_be_missing and not num_written), start=1):  # noqa: B007
        yield entry
    if num_read < num_written:
        raise StoreError(f"{path}: {num_written} lines were written, {num_read} are there; {remedy}")


def _lines(path: Path, remedy: str, may_be_missing: bool) -> Iterator[dict[str, Any]]:
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except OSError as fault:
        if may_be_missing and isinstance(fault, FileNotFoundError):
            return
        raise StoreError(f"{path}: cannot be read ({fault.strerror}); {remedy}") from None
    previous, had_checksum = b"", False
    for number, line in enumerate(lines, start=1):
        try:
            body, has_checksum = without_checksum(line, previous)
            entry = parse_json(body)
        except ValueError as fault:
            reason = str(fault) if isinstance(fault, ChecksumDiffers) else "is no JSON"
            raise StoreError(f"{path}:{number}: {reason}, or the line before was changed; {remedy}") from None
        if not isinstance(entry, dict) or had_checksum > has_checksum:
            raise StoreError(f"{path}:{number}: was changed or added by hand: it has no checksum; {remedy}")
        previous, had_checksum = line, has_checksum
        yield entry


def _counted(path: Path) -> tuple[int, int] | None:
    """Lines that were written and their bytes; None without a count. Raises StoreError for one that holds none."""
    place = count_file(path)
    try:
        with place.open("rb") as file:
            count = COUNT_PATTERN.fullmatch(file.read(LONGEST_COUNT_BYTES))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StoreError(f"{place}: cannot be read ({fault.strerror})") from None
    if count is None:
        raise StoreError(f"{place}: holds no count of the lines of {path.name}; restore it from a copy, or delete it")
    return int(count[1]), int(count[2])


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """One line more, with its checksum, synced to disk. An incomplete last line, of a killed writer, makes way.

    Only after the lines were read: it does not notice lines that were lost.
    """
    counted = _counted(path)
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - LONGEST_LINE_BYTES))
        complete, _, torn = file.read().rpartition(b"\n")
        begins = end - len(torn)
        file.truncate(begins)
        line = with_checksum(json.dumps(entry).encode(), complete.rpartition(b"\n")[2]) + b"\n"
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    known = counted is not None and counted[1] == begins
    num_lines = counted[0] + 1 if counted and known else path.read_bytes().count(b"\n")
    place = count_file(path)
    replace_synced(place, f"{num_lines} {begins + len(line)}\n".encode(), aside=place.with_suffix(".count-aside"))


def cut_torn_line(path: Path) -> None:
    """Removes an incomplete last line, left by a writer that was killed."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def lines_with_checksums(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """The whole content of such a file, for one that is written at once."""
    lines: list[bytes] = []
    for entry in entries:
        lines.append(with_checksum(json.dumps(entry).encode(), lines[-1] if lines else b""))
    return b"\n".join([*lines, b""])


def has_checksums(path: Path) -> bool:
    """Whether the newest line carries a checksum: a version that writes them wrote it."""
    *lines, _torn = path.read_bytes().split(b"\n")
    return bool(lines) and b'"checksum":"' in lines[-1]
