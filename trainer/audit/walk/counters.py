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
def steady_counters(loop: ast.While) -> dict[str, ast.expr]:
    """Names that a loop's body changes in one place alone, where it adds something to them; and what it adds."""
    if any(map(_goes_on_early, loop.body)):
        return {}
    stored = [name for node in loop.body for name in _names(node, ast.Store)]
    return {
        node.target.id: node.value
        for node in loop.body
        if isinstance(node, ast.AugAssign)
        and isinstance(node.op, ast.Add)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Name | ast.Attribute | ast.Constant | ast.BinOp)
        and stored.count(node.target.id) == 1
    }


@lru_cache(maxsize=256)
def set_for_the_next(loop: ast.For | ast.AsyncFor | ast.While) -> frozenset[str]:
    """Names that a loop's body reads, and sets behind that from where its counter stands in the next iteration.

    So are windows: `plans = windows(i)` behind `i += 1`, or `windows(i + 1)`. Nothing else of this iteration is in it.
    """
    steps = {step: k for k, node in enumerate(loop.body) if (step := _stepped(node))}
    if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name):
        steps[loop.target.id] = len(loop.body)
    if any(map(_goes_on_early, loop.body)):
        return frozenset()  # it may stay as it was
    stored = {name for node in loop.body for name in _names(node, ast.Store)} | steps.keys()
    found: set[str] = set()
    for k, node in enumerate(loop.body):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name) or node.targets[1:]:
            continue
        name, own = node.targets[0].id, set(_names(node.value, ast.Store))
        changing = (set(_names(node.value, ast.Load)) & stored) - own
        elsewhere = [other for j, other in enumerate(loop.body) if j != k and name in _names(other, ast.Store)]
        afterwards = [other for other in loop.body[k + 1 :] if name in _names(other, ast.Load)]
        counter = changing.pop() if len(changing) == 1 else ""
        is_free = counter in steps and not (elsewhere or afterwards)
        if is_free and _is_ahead(node.value, counter, stepped=steps[counter] < k):
            found.add(name)
    return frozenset(found)


def _goes_on_early(node: ast.AST) -> bool:
    """Whether a statement of a loop's body holds a `continue` of that loop."""
    if isinstance(node, ast.Continue):
        return True
    return not isinstance(node, ast.For | ast.While) and any(map(_goes_on_early, ast.iter_child_nodes(node)))


def _stepped(node: ast.stmt) -> str:
    """The name that a statement counts up by a constant."""
    counts = isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and isinstance(node.value, ast.Constant)
    return node.target.id if counts and isinstance(node.target, ast.Name) else ""  # type: ignore[attr-defined]


def _is_ahead(node: ast.expr, counter: str, *, stepped: bool) -> bool:
    """Whether an expression reads a counter only as it is in the next iteration."""
    sums = [part for part in ast.walk(node) if isinstance(part, ast.BinOp) and getattr(part.left, "id", "") == counter]
    if stepped:
        return not any(isinstance(part.op, ast.Sub) for part in sums)
    more = [part for part in sums if isinstance(part.op, ast.Add) and getattr(part.right, "value", None) == 1]
    return len(more) == sum(name == counter for name in _names(node, ast.Load))


def _names(node: ast.AST, context: type[ast.expr_context]) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, context)]


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
