"""JSON objects that carry their own checksum, to detect a changed digit, a cut end and foreign content.

    {"run_id": "3f2a-s42", ..., "checksum":"SHA-256 of the text without this key"}

The key stands last. In a file of lines each checksum also covers the line before, so that a line that was changed,
removed or inserted is detected; lines removed from the end are not. Objects without a checksum were written by an
earlier version, and are accepted. It detects damage and simple edits, not a rewrite with a new checksum.
"""

from __future__ import annotations

import hashlib
import re

KEY = re.compile(rb',?\s*"checksum":"([0-9a-f]{64})"\s*\}\s*$')
LONGEST_END_BYTES = 120
"""Of the key with its value and the white space around it."""


class ChecksumDiffers(ValueError):
    """The text is not the one that was written."""


def with_checksum(text: bytes, previous: bytes = b"") -> bytes:
    """A JSON object with its checksum.

    previous:  the whole line before, in a file of lines
    """
    body = text.rstrip()
    comma = b"" if body == b"{}" else b","
    return body[:-1] + comma + b'"checksum":"' + _digest(body, previous).encode() + b'"}'


def without_checksum(text: bytes, previous: bytes = b"") -> tuple[bytes, bool]:
    """The JSON object as it was, and whether it had a checksum. Raises ChecksumDiffers if that is another one."""
    match = KEY.search(text, max(0, len(text) - LONGEST_END_BYTES))
    if match is None:
        return text, False
    body = text[: match.start()] + b"}"
    if _digest(body, previous) != match[1].decode():
        raise ChecksumDiffers("its content differs from its checksum")
    return body, True


def _digest(body: bytes, previous: bytes) -> str:
    return hashlib.sha256(previous + b"\n" + body if previous else body).hexdigest()
