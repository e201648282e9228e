"""Which neighbours does a model mix into a position: the one behind it, or one across a border of documents?

What is computed for a position decides over the token behind it, so nothing of that may be mixed in. Documents packed
into one row are kept apart by attention over spans (`cu_seqlens`, `varlen`) or a mask of documents; a gate that mixes
in the position before, as a smear gate, crosses the borders unless it is closed at the first token.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

SPANS = re.compile(r"varlen|cu_?seq_?lens|doc(ument)?_?(mask|ids?)$", re.IGNORECASE)
"""Names by which attention keeps packed documents apart."""
BORDERS = re.compile(
    r"bos|eos|eot|doc|bound|seq_?len|segment|mask|where|reset|start|first|keep|same|valid|ids$", re.IGNORECASE
)
"""Names of what may close a gate at a border."""
OF_IDS = re.compile(r"hash|gram|bitwise|byte", re.IGNORECASE)
"""Names in functions that look at the ids before, not at what the model computed."""
OF_TARGETS = re.compile(r"target|label|tgt|ids|token|mtp|aux|loss|cross_entropy|^y\d*$", re.IGNORECASE)
"""Names beside what predicts further tokens in training."""


@dataclass(frozen=True)
class Neighbour:
    """A line that takes a neighbour of each position, and what is mixed."""

    line: int
    detail: str


def look_backs(tree: ast.Module) -> Iterator[Neighbour]:
    """Lines of models that mix the position before into each position, with nothing that closes it at a border."""
    methods = list(_methods(tree))
    if not any(SPANS.search(name) for method in methods for name in _names(method)):
        return  # nothing keeps documents apart
    for method in methods:
        for shifted in _shifted(method):
            names = [name for part in _around(method, shifted) for name in _names(part)]
            if not any(BORDERS.search(name) or OF_IDS.search(name) for name in names):
                yield Neighbour(shifted.lineno, f"{ast.unparse(shifted)} is mixed into the position behind it")
                break


def look_aheads(tree: ast.Module) -> Iterator[Neighbour]:
    """Lines of models that mix the position behind it into each position."""
    for method in _methods(tree):
        for shifted in _shifted_left(method):
            names = [name for part in _around(method, shifted) for name in _names(part)]
            if not any(OF_TARGETS.search(name) for name in names):
                yield Neighbour(shifted.lineno, f"{ast.unparse(shifted)} is mixed into the position before it")
                break


def _methods(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The methods of the script's models."""
    for kind in ast.walk(tree):
        if isinstance(kind, ast.ClassDef) and any("Module" in ast.unparse(base) for base in kind.bases):
            yield from (node for node in kind.body if isinstance(node, ast.FunctionDef))


def _shifted_left(method: ast.FunctionDef) -> Iterator[ast.expr]:
    """Expressions that put the position behind in each place: `cat([x[:, 1:], x[:, -1:]], 1)`, `roll(x, -1, 1)`."""
    for node in ast.walk(method):
        if isinstance(node, ast.Call):
            first = node.args[0] if node.args else node
            parts = first.elts if isinstance(first, ast.List | ast.Tuple) else [first]
            if _name(node.func) in ("cat", "concat", "pad") and parts and _ends_of(parts[0]) == ("1", ""):
                yield node
            if _name(node.func) == "roll" and any(ast.unparse(value) == "-1" for value in _shifts(node)):
                yield node
        elif isinstance(node, ast.Subscript) and _ends(node) == ("1", "") and _is_call(node.value, "pad"):
            yield node


def _is_call(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _name(node.func) == name


def _shifts(call: ast.Call) -> list[ast.expr]:
    """The shift of a call of `roll`."""
    given = [word.value for word in call.keywords if word.arg in ("shifts", "shift")]
    is_method = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") not in ("torch", "np")
    return given or call.args[0 if is_method else 1 :][:1]


def _ends_of(node: ast.expr) -> tuple[str, str] | None:
    return _ends(node) if isinstance(node, ast.Subscript) else None


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
        if _is_call(call, "roll") and any(ast.unparse(value) == "1" for value in _shifts(call)):
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
