"""Does a script size its pieces as docs/recipe.md 1.2 says? Looked at where it asks a tokenizer for its pieces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.audit.findings.sized_pieces import EXPECTED, SPACE, sizes_of

PIECES = frozenset(["id_to_piece", "IdToPiece", "id_to_token", "convert_ids_to_tokens"])


@dataclass(frozen=True)
class Miscount:
    """A line that sizes pieces, and what is wrong there."""

    line: int
    detail: str


def miscounts(tree: ast.Module) -> Iterator[Miscount]:
    """Wrong ways of counting bytes that were seen in entries."""
    for body in _bodies(tree):
        sized = [one for node in ast.walk(body) if isinstance(node, ast.For) and (one := sizes_of(node))]
        for line, found in sized:
            wrong = next((piece for piece, size in found.items() if size != EXPECTED[piece]), None)
            if wrong is not None:
                yield Miscount(line, f"the piece {wrong!r} counts {found[wrong]} bytes, and has {EXPECTED[wrong]}")
        if sized:
            continue
        calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
        names = {_name(node.func) for node in calls}
        encoded = _encoded(body)
        lengths = [node for node in calls if _name(node.func) == "len"]
        sizes = [node.lineno for node in lengths if _encodes(node) or encoded & _read(node)]
        if not names & PIECES or not sizes:
            continue
        texts = [
            node.value for node in ast.walk(body) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        if not names & {"is_byte", "IsByte"} and not any("<0x" in text for text in texts):
            yield Miscount(sizes[-1], "byte pieces are sized by their name, six bytes for <0x41>, instead of one")
        elif not any(SPACE in text for text in texts):
            yield Miscount(sizes[-1], "the space mark of a piece counts as the three bytes of U+2581 instead of one")
        elif _marks_spaces(body) and not _strips(calls, body):
            yield Miscount(sizes[-1], "the space before a piece is part of its bytes, and counted apart as well")


def _marks_spaces(body: ast.AST) -> bool:
    """Whether pieces that begin with a space are marked in a table, by which a byte is added for each."""
    stored = [node for node in ast.walk(body) if isinstance(node, ast.Assign)]
    under = [
        inner
        for node in ast.walk(body)
        if isinstance(node, ast.If) and _asks_for_space(node.test)
        for part in node.body
        for inner in ast.walk(part)
    ]
    return any(
        _asks_for_space(node.value) or (node in under and getattr(node.value, "value", None) in (1, True))
        for node in stored
        if isinstance(node.targets[0], ast.Subscript)
    )


def _asks_for_space(node: ast.expr) -> bool:
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call) and _name(part.func) == "startswith"]
    return any(SPACE in str(getattr(given, "value", "")) for call in calls for given in call.args)


def _strips(calls: list[ast.Call], body: ast.AST) -> bool:
    """Whether the space mark is taken off a piece, and nothing put in its place."""
    for call in calls:
        name = _name(call.func)
        if name in ("removeprefix", "lstrip", "strip", "split", "translate", "sub", "partition"):
            return True
        if name == "replace" and len(call.args) > 1 and getattr(call.args[1], "value", None) == "":
            return True
    return any(isinstance(node, ast.Slice) and node.lower is not None for node in ast.walk(body))


def _bodies(tree: ast.Module) -> Iterator[ast.AST]:
    """The functions, and what stands outside of them."""
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    yield ast.Module(outside, [])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _encoded(body: ast.AST) -> set[str]:
    """Names that hold encoded text."""
    made = (node for node in ast.walk(body) if isinstance(node, ast.Assign) and _encodes(node.value))
    return {target.id for node in made for target in node.targets if isinstance(target, ast.Name)}


def _read(node: ast.Call) -> set[str]:
    return {given.id for given in node.args if isinstance(given, ast.Name)}


def _encodes(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Call) and _name(part.func) == "encode" for part in ast.walk(node))
