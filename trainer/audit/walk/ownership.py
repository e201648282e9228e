"""Which arguments of a constructor a model keeps, so that they are parts of it: others it only reads sizes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trainer.audit.facts.machine import Function
from trainer.audit.facts.values import Value, full

A_SIZE = re.compile(
    r"dim|size|num|shape|len|features|vocab|rank|width|depth|^n_|^ndim$|dtype|device|config|cfg|args|training"
)
"""Names of attributes and methods that are no part of a model."""
KEEPING = frozenset(["append", "extend", "insert", "add_module", "register_module", "setattr", "update", "__init__"])
"""Functions that give an object what they are called with."""
ADDING = frozenset(["add_", "addmm_", "addcmul_", "baddbmm_", "append"])
"""Methods that add to what they are called on."""


def captured(value: Value) -> frozenset[int]:
    """What functions compute with that were made elsewhere, as the adapters of a `forward` that replaces a layer's."""
    functions = [ref for ref in value.refs if isinstance(ref, Function)]
    names = ((ref, part.id) for ref in functions for part in ast.walk(ref.node) if isinstance(part, ast.Name))
    held = (ref.frame.names.get(name) for ref, name in names)
    return frozenset().union(*(full(one).objects for one in held if one is not None))


def notes_inputs(value: Value) -> bool:
    """Whether a function adds to what it does not make itself, as one that sums up what a layer is given."""
    for ref in value.refs:
        for part in ast.walk(ref.node) if isinstance(ref, Function) else ():
            adds = isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Subscript)
            called = part.func if isinstance(part, ast.Call) else None
            if adds or (isinstance(called, ast.Attribute) and called.attr in ADDING):
                return True
    return False


def kept_parameters(made: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The parameters of `__init__` that the object keeps, whole or in part."""
    names = [argument.arg for argument in (*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs)][1:]
    return frozenset(name for name in names if _keeps(made, {name}))


def _keeps(made: ast.FunctionDef | ast.AsyncFunctionDef, aliases: set[str]) -> bool:
    for node in ast.walk(made):
        for target, value in _named(node):
            if _carries(value, aliases):
                aliases |= {inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name)} - {"self"}
    return any(_carries(value, aliases) for node in ast.walk(made) for value in _given_away(node))


def _named(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a statement names, and by which expression."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.For | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.NamedExpr):
        yield node.target, node.value


def _given_away(node: ast.AST) -> Iterator[ast.expr]:
    """What becomes part of an object."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = (inner for target in targets for inner in ast.walk(target))
        if any(isinstance(part, ast.Attribute | ast.Subscript) for part in parts):
            yield node.value
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in KEEPING:
            yield from (*node.args, *(keyword.value for keyword in node.keywords))


def _carries(node: ast.AST, aliases: set[str]) -> bool:
    """Whether an expression is one of these values, holds it or is a part of it."""
    if isinstance(node, ast.Name):
        return node.id in aliases
    if isinstance(node, ast.Attribute):
        return A_SIZE.search(node.attr) is None and _carries(node.value, aliases)
    if isinstance(node, ast.BinOp | ast.Compare | ast.UnaryOp | ast.BoolOp | ast.JoinedStr | ast.Lambda):
        return False
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if A_SIZE.search(name):
            return False
        of = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        return any(_carries(part, aliases) for part in (*of, *node.args, *(word.value for word in node.keywords)))
    return any(_carries(part, aliases) for part in ast.iter_child_nodes(node))
