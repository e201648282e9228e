"""Text from files, names and errors, as a terminal may get it: what would control the terminal is spelled out."""

from __future__ import annotations

import re

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 but line feed and tab, DEL, C1, what reorders text or ends a line, and halves of characters."""


def printable(text: str) -> str:
    r"""The text with each control character as Python spells it, `\x1b` for escape; line feed and tab stay."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    r"""JSON with each control character as JSON spells it, `\u009b`: the same values."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
