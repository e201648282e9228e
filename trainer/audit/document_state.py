"""Does a model that keeps documents apart in its attention look back across their borders elsewhere?

Documents packed into one row are kept apart by attention over spans (`cu_seqlens`, `varlen`) or a mask of documents.
A gate that mixes in the position before, as a smear gate, crosses the borders unless it is closed at the first token.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

SPANS = re.compile(r"varlen|cu_?seq_?lens|doc(ument)?_?(mask|ids?)$", re.IGNORECASE)
"""Names by which attention keeps packed documents apart."""
BORDERS = re.compile(
    r"bos|eos|eot|doc|bound|seq_?len|segment|mask|where|reset|start|first|keep|same|valid|ids$", re.IGNORECASE
)
"""Names of what may close a gate at a border."""
OF_IDS = re.compile(r"hash|gram|bitwise|byte", re.IGNORECASE)
"""Names in functions that look at the ids before, not at what the model computed."""


@dataclass(frozen=True)
class LookBack:
    """A line that takes the position before, and what is mixed."""

    line: int
    detail: str


def look_backs(tree: ast.Module) -> Iterator[LookBack]:
    """Lines of models that mix the position before into each position, with nothing that closes it at a border."""
    methods = [
        node
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef) and any("Module" in ast.unparse(base) for base in kind.bases)
        for node in kind.body
        if isinstance(node, ast.FunctionDef)
    ]
    if not any(SPANS.search(name) for method in methods for name in _names(method)):
        return  # nothing keeps documents apart
    for method in methods:
        for shifted in _shifted(method):
            names = [name for part in _around(method, shifted) for name in _names(part)]
            if not any(BORDERS.search(name) or OF_IDS.search(name) for name in names):
                yield LookBack(shifted.lineno, f"{ast.unparse(shifted)} is mixed into the position behind it")
                break


def _around(method: ast.FunctionDef, shifted: ast.expr) -> list[ast.stmt]:
    """The statement of the shift, those that use its result, and those that the names in them come from."""
    simple = [node for node in ast.walk(method) if isinstance(node, ast.Assign | ast.AugAssign | ast.Return)]
    found: list[ast.stmt] = [node for node in simple if shifted in ast.walk(node)]
    base = _read(shifted)
    made = {name for node in found for name in _written(node)} - base
    found += [node for node in simple if node not in found and made & _read(node)]
    wanted, waiting = set(base), set().union(*map(_read, found)) - base
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        for node in simple:
            if node not in found and name in _written(node):
                found.append(node)
                waiting |= _read(node) - wanted
    return found


def _read(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _written(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _names(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute | ast.keyword | ast.arg):
            yield getattr(part, "attr", getattr(part, "arg", "")) or ""


def _shifted(method: ast.FunctionDef) -> Iterator[ast.expr]:
    """Expressions that stand for the position before: `x[:, :-1]` put behind a first one, or `roll(x, 1, 1)`."""
    slices = [node for node in ast.walk(method) if isinstance(node, ast.Subscript) and _ends(node) is not None]
    behind = {ast.unparse(node.value) for node in slices if _ends(node) == ("1", "")}
    joined = {
        part
        for node in ast.walk(method)
        if isinstance(node, ast.Call) and _name(node.func) in ("cat", "concat", "pad")
        for part in ast.walk(node)
    }
    for node in slices:
        if _ends(node) == ("", "-1") and (node in joined or ast.unparse(node.value) in behind):
            yield node
    for call in ast.walk(method):
        if isinstance(call, ast.Call) and _name(call.func) == "roll":
            values = [*call.args, *(word.value for word in call.keywords)]
            if any(isinstance(value, ast.Constant) and value.value == 1 for value in values):
                yield call


def _ends(node: ast.Subscript) -> tuple[str, str] | None:
    """The ends of a slice of the second dimension, or of the one before the last."""
    if not isinstance(node.slice, ast.Tuple) or not isinstance(node.ctx, ast.Load):
        return None
    of = node.slice.elts[1:2]
    if len(of) != 1 or not isinstance(of[0], ast.Slice) or of[0].step is not None:
        return None
    low, high = of[0].lower, of[0].upper
    return ast.unparse(low) if low is not None else "", ast.unparse(high) if high is not None else ""


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
