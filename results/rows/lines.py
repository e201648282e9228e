"""Files of lines that are only ever appended to: a JSON object each, whose checksum covers the line before as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.spec.checked_json import ChecksumDiffers, without_checksum
from trainer.spec.errors import StoreError

LONGEST_LINE_BYTES = 2**22


def checked_lines(path: Path, remedy: str) -> Iterator[dict[str, Any]]:
    """The complete lines; an incomplete last one, of a writer that was killed, is left out.

    Lines without a checksum were written by an earlier version. Raises StoreError, with what to do, for the first line
    that is not what was written, and for a file that cannot be read.
    """
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    previous, had_checksum = b"", False
    for number, line in enumerate(lines, start=1):
        try:
            body, has_checksum = without_checksum(line, previous)
            entry = json.loads(body)
        except (ValueError, RecursionError) as fault:
            reason = str(fault) if isinstance(fault, ChecksumDiffers) else "is no JSON"
            raise StoreError(f"{path}:{number}: {reason}, or the line before was changed; {remedy}") from None
        if not isinstance(entry, dict) or had_checksum > has_checksum:
            raise StoreError(f"{path}:{number}: was changed or added by hand: it has no checksum; {remedy}")
        previous, had_checksum = line, has_checksum
        yield entry


def has_checksums(path: Path) -> bool:
    """Whether the newest line carries a checksum: a version that writes them wrote it."""
    *lines, _torn = path.read_bytes().split(b"\n")
    return bool(lines) and b'"checksum":"' in lines[-1]
