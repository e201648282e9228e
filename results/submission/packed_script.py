"""The compressed form of a script: a line that unpacks and runs it. Unpacking here is bounded and runs nothing."""

from __future__ import annotations

import ast
import base64
import lzma
import re

from trainer.spec.errors import UserError

LARGEST_SCRIPT_BYTES = 2**21
BEGIN = b'import base64,lzma\nexec(compile(lzma.decompress(base64.b85decode("'
END = b'")),__file__,"exec"))\n'
PACKED = re.compile(re.escape(BEGIN) + rb'([^"\\\n]*)' + re.escape(END))
TEXT_FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "pb": 0}
"""For bytes that stand at any position, as those of a text do."""


def packed(script: str) -> bytes:
    """A script that does the same as this one, in fewer bytes: `without_docstrings` of it, compressed."""
    compressed = lzma.compress(without_docstrings(script).encode(), check=lzma.CHECK_CRC32, filters=[TEXT_FILTER])
    return BEGIN + base64.b85encode(compressed) + END


def without_docstrings(script: str) -> str:
    """The script without the texts that describe its functions, classes and fields; the one of the file stays."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(script)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and not isinstance(node, ast.Module):
            texts = [line for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)]
            left_out.update(number for text in texts for number in range(text.lineno, (text.end_lineno or 0) + 1))
    lines = script.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, start=1) if number not in left_out)


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
