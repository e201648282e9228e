"""The compressed form of a script: a line that unpacks and runs it. Unpacking here is bounded and runs nothing."""

from __future__ import annotations

import base64
import lzma
import re

from trainer.spec.errors import UserError

LARGEST_SCRIPT_BYTES = 2**21
BEGIN = b'import base64,lzma\nexec(compile(lzma.decompress(base64.b85decode("'
END = b'")),__file__,"exec"))\n'
PACKED = re.compile(re.escape(BEGIN) + rb'([^"\\\n]*)' + re.escape(END))


def packed(script: str) -> bytes:
    """A script that does the same as this one, in fewer bytes."""
    compressed = lzma.compress(script.encode(), preset=9 | lzma.PRESET_EXTREME)
    return BEGIN + base64.b85encode(compressed) + END


def is_packed(code: bytes) -> bool:
    """Whether it begins as `packed` writes it."""
    return code.startswith(BEGIN)


def unpacked(code: bytes) -> bytes:
    """The script inside. Raises UserError for anything that `packed` did not write."""
    match = PACKED.fullmatch(code)
    if match is None:
        raise UserError("the packed script is more than one packed text")
    try:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=2**28)
        content = decoder.decompress(base64.b85decode(match[1]), max_length=LARGEST_SCRIPT_BYTES + 1)
    except (ValueError, lzma.LZMAError, EOFError) as error:
        raise UserError(f"the packed script cannot be unpacked: {error}") from None
    if len(content) > LARGEST_SCRIPT_BYTES or not decoder.eof or decoder.unused_data:
        raise UserError(f"the packed script is cut off, or holds more than {LARGEST_SCRIPT_BYTES:,} bytes")
    return content
