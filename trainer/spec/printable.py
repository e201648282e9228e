"""Text from files, names and errors, as a terminal may get it: what would control the terminal is spelled out."""

from __future__ import annotations

import json
import re

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""C0 but line feed and tab, DEL, C1, what reorders text or ends a line, halves of characters, and what has no width:
names that look alike would differ. The joiners U+200C and U+200D stay, since words of some languages need them."""


def printable(text: str) -> str:
    r"""The text with each control character as Python spells it, `\x1b` for escape; line feed and tab stay."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    r"""JSON with each control character as JSON spells it, `\u009b`: the same values."""
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)
