"""What tells iterations of a `while` and calls of a recursion apart, by their syntax."""

from __future__ import annotations

import ast
from functools import lru_cache


def restarted_counters(loop: ast.While) -> frozenset[str]:
    """Names that a loop counts up, and sets to something else under a condition."""
    counted = {
        node.target.id
        for node in ast.walk(loop)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add)
    }
    found: set[str] = set()
    for branch in (node for node in ast.walk(loop) if isinstance(node, ast.If)):
        for node in ast.walk(branch):
            if isinstance(node, ast.Assign):
                stored = {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
                asked = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
                found |= (stored & counted) - asked
    return frozenset(found)


@lru_cache(maxsize=256)
def changed_by_recursion(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    """Parameters that a call of the function within itself gives another value."""
    if isinstance(node, ast.Lambda):
        return frozenset()
    names = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
    found: set[str] = set()
    for call_ in ast.walk(node):
        if isinstance(call_, ast.Call) and ast.unparse(call_.func) in (node.name, f"self.{node.name}"):
            own = names[1:] if isinstance(call_.func, ast.Attribute) else names
            given = [*zip(own, call_.args, strict=False), *((part.arg, part.value) for part in call_.keywords)]
            found |= {name for name, value in given if name and getattr(value, "id", None) != name}
    return frozenset(found)
