"""How many bytes a script's loop over a tokenizer's pieces gives to six of them: computed, where the loop is simple.

The loop asks for `id_to_piece` and fills tables. Its statements are followed for a piece at a time, with the answers
that a tokenizer would give; of anything that is not known here, nothing is said. Nothing of the script is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPACE = "\u2581"
EXPECTED: Mapping[str, int] = {"the": 3, f"{SPACE}the": 4, SPACE: 1, "\u00e9": 2, f"{SPACE}\u00e9": 3, "<0x41>": 1}
"""Bytes of each piece behind a token that is no boundary (docs/recipe.md 1.2)."""
BYTE_PIECE = "<0x41>"
PIECE_OF = frozenset(["id_to_piece", "IdToPiece"])
IS_BYTE = frozenset(["is_byte", "IsByte"])
IS_NONE = frozenset(["is_control", "is_unknown", "is_unused", "IsControl", "IsUnknown", "IsUnused"])
OF_TEXT = frozenset(
    ["startswith", "endswith", "encode", "replace", "lstrip", "strip", "removeprefix", "count", "isspace", "lower"]
)
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"len": len, "int": int, "bool": bool, "max": max, "min": min, "str": str}
OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}
TOKEN = object()
"""The number of the piece."""


class _Unknown(Exception):
    """Something that is not followed here."""


class _Next(Exception):
    """`continue`."""


@dataclass
class _Piece:
    text: str
    names: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    """What each table holds for it."""
    lines: dict[str, int] = field(default_factory=dict)


def sizes_of(loop: ast.For) -> tuple[int, dict[str, int]] | None:
    """The line that sizes a piece, and the bytes that each piece comes to; None where that is not known."""
    if not isinstance(loop.target, ast.Name):
        return None
    pieces = []
    for text in EXPECTED:
        piece = _Piece(text, {loop.target.id: TOKEN})
        try:
            _run(loop.body, piece)
        except _Next:
            pass
        except (_Unknown, TypeError, ValueError, AttributeError, IndexError):
            return None
        pieces.append(piece)
    plain, spaced = pieces[0].tables, pieces[1].tables
    sizes = [name for name, held in plain.items() if type(held) is int and held > 1 and type(spaced.get(name)) is int]
    if len(sizes) != 1:
        return None
    spaces = [name for name, held in spaced.items() if name not in sizes and held and not plain.get(name)]
    if len(spaces) > 1 or any(sizes[0] not in piece.tables for piece in pieces):
        return None
    found = {
        piece.text: piece.tables[sizes[0]] + sum(bool(piece.tables.get(name)) for name in spaces) for piece in pieces
    }
    return pieces[0].lines[sizes[0]], found


def _run(body: list[ast.stmt], piece: _Piece) -> None:
    for node in body:
        if isinstance(node, ast.Continue):
            raise _Next
        if isinstance(node, ast.If):
            _run(node.body if _value(node.test, piece) else node.orelse, piece)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            _set(node.targets[0], _value(node.value, piece), piece)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            _set(node.target, _value(node.value, piece), piece)
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            _set(node.target, _value(node.target, piece) + _value(node.value, piece), piece)
        elif not isinstance(node, ast.Pass):
            raise _Unknown


def _set(target: ast.expr, value: Any, piece: _Piece) -> None:
    if isinstance(target, ast.Name):
        piece.names[target.id] = value
        return
    if not (isinstance(target, ast.Subscript) and _value(target.slice, piece) is TOKEN):
        raise _Unknown
    name = ast.unparse(target.value)
    piece.tables[name], piece.lines[name] = value, target.lineno


def _value(node: ast.expr, piece: _Piece) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in piece.names:
        return piece.names[node.id]
    if isinstance(node, ast.Call) and not any(keyword.arg not in ("encoding",) for keyword in node.keywords):
        return _called(node, piece)
    if isinstance(node, ast.BoolOp):
        each = [_value(part, piece) for part in node.values]
        return all(each) if isinstance(node.op, ast.And) else any(each)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _value(node.operand, piece)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, piece)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, piece) else node.orelse, piece)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left, piece), _value(node.right, piece))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        return OPERATORS[type(node.ops[0])](_value(node.left, piece), _value(node.comparators[0], piece))
    if isinstance(node, ast.Subscript):
        return _part(node, piece)
    raise _Unknown


def _part(node: ast.Subscript, piece: _Piece) -> Any:
    """A part of a text, or what a table holds for the piece by now."""
    if not isinstance(node.slice, ast.Slice):
        name = ast.unparse(node.value)
        if _value(node.slice, piece) is TOKEN and name in piece.tables:
            return piece.tables[name]
        raise _Unknown
    text = _value(node.value, piece)
    if not isinstance(text, str | bytes):
        raise _Unknown
    low, high, step = (
        None if end is None else _value(end, piece) for end in (node.slice.lower, node.slice.upper, node.slice.step)
    )
    return text[low:high:step]


def _called(node: ast.Call, piece: _Piece) -> Any:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = [_value(argument, piece) for argument in node.args]
    if TOKEN in given:
        if name in PIECE_OF:
            return piece.text
        if name in IS_BYTE:
            return piece.text == BYTE_PIECE
        if name in IS_NONE:
            return False
        if name == "int":
            return TOKEN
        raise _Unknown
    if isinstance(node.func, ast.Name) and name in FUNCTIONS:
        return FUNCTIONS[name](*given)
    if isinstance(node.func, ast.Attribute) and name in OF_TEXT:
        text = _value(node.func.value, piece)
        if isinstance(text, str):
            return getattr(text, name)(*given)
    raise _Unknown
