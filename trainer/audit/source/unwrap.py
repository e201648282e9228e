"""The source inside self-extracting wrappers, `exec(decompress(decode(TEXT)))`, read without running anything.

Only literals and the known decoders are evaluated, each to a limited number of bytes.
"""

from __future__ import annotations

import ast
import base64
import binascii
import bz2
import gzip
import io
import lzma
import warnings
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import brotli
import zstandard

from trainer.audit.source.newer_syntax import Lost, rewritten
from trainer.spec.errors import UserError

LARGEST_SOURCE_BYTES = 4_000_000
"""Of a script, wrapped or unwrapped; the largest entries have a tenth of it."""
MOST_LINES, MOST_ELEMENTS, MOST_NODES = 60_000, 300_000, 150_000
"""Line ends and semicolons, commas, and nodes of the syntax tree: more take longer than two seconds. Entries have at
most 5,000 lines; of a literal of 4 MB in base85 47,000 characters are semicolons, and none are commas."""
MOST_MADE = 3 * LARGEST_SOURCE_BYTES
"""Of what is decoded and put together to open one wrapper, with every step on the way."""
MOST_LAYERS = 8
MEMORY_BYTES = 2**26
"""What a decompressor may ask for."""
MOST_DEPTH = 40
DAMAGED = (
    lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, TypeError, LookupError, MemoryError, OverflowError,
    brotli.error, zstandard.ZstdError,
)  # fmt: skip
"""What the decoders raise for bytes that are damaged, and Python's own for arguments that fit no decoder."""


class Unreadable(UserError):
    """A script that cannot be parsed, or a wrapper that cannot be opened."""


def read_source(path: Path) -> str:
    """The text of a script. Raises Unreadable if it is missing, too large, or no UTF-8."""
    try:
        if path.stat().st_size > LARGEST_SOURCE_BYTES:
            raise Unreadable(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST_SOURCE_BYTES:,} are read")
        return path.read_bytes().decode("utf-8-sig")
    except IsADirectoryError as error:
        raise Unreadable(f"{path}: is a folder; name the script in it") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: byte {error.start} is no UTF-8; expected Python source") from error


@dataclass(frozen=True)
class Unwrapped:
    """The innermost source, and how deep it was."""

    text: str
    layers: int
    tree: ast.Module


class _Unknown(Exception):
    """An expression that is no literal and no known decoder, or takes more work than opening a wrapper does."""


class _Known(dict[str, Any]):
    """Names of a module, and what they hold."""

    made = 0

    def spend(self, length: int) -> None:
        """Counts text or bytes that are about to be read or made. Raises _Unknown for too much of it."""
        self.made += length
        if length > LARGEST_SOURCE_BYTES or self.made > MOST_MADE:
            raise _Unknown


def unwrap(text: str, name: str) -> Unwrapped:
    """The innermost source of `text`. Raises Unreadable for what is no Python, and for damaged or large wrappers."""
    for layers in range(MOST_LAYERS + 1):
        tree = parsed(text, name if not layers else f"{name}, unwrapped {layers} times")
        inner = _wrapped(tree, name)
        if inner is None:
            return Unwrapped(text, layers, tree)
        text = inner
    raise Unreadable(f"{name}: more than {MOST_LAYERS} wrappers inside one another; the code stays hidden")


def parsed(text: str, name: str) -> ast.Module:
    """The syntax tree. Raises Unreadable with the line if it is no Python of this version, and for too much of it."""
    if len(text) > LARGEST_SOURCE_BYTES:
        raise Unreadable(f"{name}: {len(text):,} characters; at most {LARGEST_SOURCE_BYTES:,} are read")
    for most, marks, what in ((MOST_LINES, "\n;", "line ends and semicolons"), (MOST_ELEMENTS, ",", "commas")):
        if (found := sum(map(text.count, marks))) > most:
            raise Unreadable(f"{name}: {found:,} {what}; at most {most:,} are read")
    try:
        tree = _tree(text)
    except SyntaxError as error:
        with suppress(Lost, SyntaxError):
            return _tree(rewritten(text))
        raise Unreadable(f"{name}, line {error.lineno}: no Python that can be parsed: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{name}: no Python that can be parsed: {error or type(error).__name__}") from error
    if next(islice(ast.walk(tree), MOST_NODES, None), None) is not None:
        raise Unreadable(f"{name}: more than {MOST_NODES:,} names, numbers and operations; no more are read")
    return tree


def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of a foreign script's literals is not our output
        return ast.parse(text)


def _wrapped(tree: ast.Module, name: str) -> str | None:
    """The text that the module executes, if that is all it does; None for a plain script."""
    known = _Known()
    aliases: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            aliases |= _names(statement)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                try:
                    known[target.id] = _value(statement.value, known, aliases, 0)
                except (_Unknown, *DAMAGED):  # it need not be the wrapper
                    known.pop(target.id, None)
        elif isinstance(statement, ast.Expr) and (argument := _executed(statement.value)) is not None:
            try:
                value = _value(argument, known, aliases, 0)
            except _Unknown:
                continue
            except DAMAGED as error:
                raise Unreadable(f"{name}, line {statement.lineno}: the wrapper is damaged: {error}") from error
            return _text(value, name, statement.lineno)
    return None


def _executed(node: ast.expr) -> ast.expr | None:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("exec", "eval")
        and node.args
    ):
        return node.args[0]
    return None


def _text(value: Any, name: str, line: int) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except (UnicodeDecodeError, TypeError, ValueError) as error:
        raise Unreadable(f"{name}, line {line}: what the wrapper holds is no text: {error}") from error


def _names(statement: ast.Import | ast.ImportFrom) -> Mapping[str, str]:
    if isinstance(statement, ast.Import):
        return {name.asname or name.name: name.name for name in statement.names}
    return {name.asname or name.name: f"{statement.module}.{name.name}" for name in statement.names}


def _value(node: ast.expr, known: _Known, aliases: Mapping[str, str], depth: int) -> Any:
    """The value of a literal, a known name, or a decoder's call. Raises _Unknown for anything else."""
    if depth > MOST_DEPTH:
        raise _Unknown
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (_value(side, known, aliases, depth + 1) for side in (node.left, node.right))
        if type(left) is type(right) and isinstance(left, str | bytes):
            known.spend(len(left) + len(right))
            return left + right
        raise _Unknown
    if isinstance(node, ast.Call) and len(node.args) <= 3:
        return _decoded(node, known, aliases, depth)
    raise _Unknown


def _decoded(node: ast.Call, known: _Known, aliases: Mapping[str, str], depth: int) -> Any:
    name = _dotted(node.func, aliases)
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("encode", "decode", "strip", "replace", "join"):
        base = _value(node.func.value, known, aliases, depth + 1)
        arguments = [_value(argument, known, aliases, depth + 1) for argument in node.args]
        if node.func.attr in ("encode", "decode", "strip") and isinstance(base, str | bytes):
            known.spend(len(base))
            return getattr(base, node.func.attr)(*arguments) if hasattr(base, node.func.attr) else base
        raise _Unknown
    if name == "compile" and node.args:
        return _value(node.args[0], known, aliases, depth + 1)
    decoder = DECODERS.get(name)
    if decoder is None or not node.args:
        raise _Unknown
    argument = _value(node.args[0], known, aliases, depth + 1)
    if isinstance(argument, str) and name.startswith(("base64", "binascii", "bytes")):
        argument = argument.encode("utf-8")
    if not isinstance(argument, bytes):
        raise _Unknown
    if name == "lzma.decompress" and (raw := _raw_filters(node, aliases)):
        decoder = raw
    if len(argument) > LARGEST_SOURCE_BYTES:
        raise ValueError(f"{len(argument):,} bytes are wrapped; at most {LARGEST_SOURCE_BYTES:,} are read")
    known.spend(len(argument))
    made = decoder(argument)
    known.spend(len(made))
    return made


def _raw_filters(node: ast.Call, aliases: Mapping[str, str]) -> Callable[[bytes], bytes] | None:
    """The decoder of `lzma.decompress(..., format=FORMAT_RAW, filters=[...])`."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if _dotted(given.get("format", node), aliases) != "lzma.FORMAT_RAW" or not isinstance(
        given.get("filters"), ast.List
    ):
        return None
    filters: list[dict[str, Any]] = []
    for part in given["filters"].elts:  # type: ignore[attr-defined]
        if not isinstance(part, ast.Dict):
            raise _Unknown
        options: dict[str, Any] = {}
        for key, value in zip(part.keys, part.values, strict=True):
            name = _dotted(value, aliases).rpartition(".")[2]
            number = getattr(lzma, name, None) if name.startswith(("FILTER_", "PRESET_", "MF_", "MODE_")) else None
            options[str(getattr(key, "value", ""))] = number if number is not None else getattr(value, "value", None)
        if not all(isinstance(value, int) for value in options.values()) or options.get("dict_size", 0) > MEMORY_BYTES:
            raise _Unknown
        filters.append(options)

    def decode(data: bytes) -> bytes:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        return _bounded(decoder.decompress(data, LARGEST_SOURCE_BYTES + 1))

    return decode


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, aliases)}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__" and node.args:
        return str(getattr(node.args[0], "value", ""))
    return ""


def _bounded(expanded: bytes) -> bytes:
    if len(expanded) > LARGEST_SOURCE_BYTES:
        raise ValueError(f"it holds more than {LARGEST_SOURCE_BYTES:,} bytes; that is not read")
    return expanded


def _lzma(data: bytes) -> bytes:
    return _bounded(lzma.LZMADecompressor(memlimit=MEMORY_BYTES).decompress(data, LARGEST_SOURCE_BYTES + 1))


def _zlib(data: bytes) -> bytes:
    return _bounded(zlib.decompressobj().decompress(data, LARGEST_SOURCE_BYTES + 1))


def _bz2(data: bytes) -> bytes:
    return _bounded(bz2.BZ2Decompressor().decompress(data, LARGEST_SOURCE_BYTES + 1))


def _brotli(data: bytes) -> bytes:
    return _bounded(brotli.Decompressor().process(data, output_buffer_limit=LARGEST_SOURCE_BYTES + 1))


def _zstd(data: bytes) -> bytes:
    with zstandard.ZstdDecompressor(max_window_size=MEMORY_BYTES).stream_reader(data) as stream:
        return _bounded(stream.read(LARGEST_SOURCE_BYTES + 1))


def _gzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        return _bounded(stream.read(LARGEST_SOURCE_BYTES + 1))


DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "lzma.decompress": _lzma,
    "zlib.decompress": _zlib,
    "bz2.decompress": _bz2,
    "gzip.decompress": _gzip,
    "brotli.decompress": _brotli,
    "zstandard.decompress": _zstd,
    "zstd.decompress": _zstd,
    "base64.b85decode": base64.b85decode,
    "base64.a85decode": base64.a85decode,
    "base64.b64decode": base64.b64decode,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode,
    "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.decodebytes": base64.decodebytes,
    "binascii.a2b_base64": binascii.a2b_base64,
    "binascii.unhexlify": binascii.unhexlify,
    "bytes.fromhex": lambda data: bytes.fromhex(data.decode("ascii")),
}
