"""Targets that are clamped to a smaller range of ids before a loss asks for them, told by the form of a function alone.

What lies above the range is scored as another token. Where no id of the text lies above it, nothing changes: which it
is depends on the text and its tokenizer, so no more than a note says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

LOSSES = ("cross_entropy", "nll_loss", "linear_cross_entropy", "fused_linear_cross_entropy")
BOUNDED: dict[str, tuple[int, str]] = {
    "clamp": (1, "max"), "clip": (1, "max"), "clamp_": (1, "max"), "clamp_max": (0, "max"), "clamp_max_": (0, "max"),
    "minimum": (0, "other"), "remainder": (0, "other"), "fmod": (0, "other"),
}  # fmt: skip
"""Methods that leave no id above a bound: which argument of them it is, by place and name."""
MODULES = ("torch", "np", "numpy")
AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def clamped_targets(tree: ast.Module) -> Iterator[int]:
    """Lines where the targets of a loss are clamped from above, or replaced by their remainder."""
    lines: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, AnyFunction):
            lines |= set(_in_function(function))
    yield from sorted(lines)


def _in_function(function: AnyFunction) -> Iterator[int]:
    nodes = list(ast.walk(function))
    assigned: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value).endswith("_"):
            assigned.setdefault(_root(node.value), []).append(node.value)  # in place
    waiting = [target for node in nodes if isinstance(node, ast.Call) for target in _targets(node)]
    seen: set[str] = set()
    while waiting:
        target = waiting.pop()
        for part in _chain(target):
            if _is_bounded(part):
                yield part.lineno
        name = _root(target)
        if name not in seen:
            seen.add(name)
            waiting += assigned.get(name, [])


def _targets(call: ast.Call) -> Iterator[ast.expr]:
    """What a loss asks for: its second argument, or the index of a `gather`."""
    name = _called(call)
    if name in LOSSES:
        yield from call.args[1:2]
        yield from (keyword.value for keyword in call.keywords if keyword.arg in ("target", "targets"))
    elif name == "gather" and call.args:
        yield call.args[-1]


def _is_bounded(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Mod)
    if not isinstance(node, ast.Call) or _called(node) not in BOUNDED:
        return False
    place, name = BOUNDED[_called(node)]
    given = node.args[1:] if _of_module(node) else node.args
    bounds = [*given[place : place + 1], *(keyword.value for keyword in node.keywords if keyword.arg == name)]
    return any(getattr(bound, "value", bound) is not None for bound in bounds)


def _chain(node: ast.expr) -> Iterator[ast.expr]:
    """An expression and what it takes in another form: `a.b(...)[c]`, then `a.b(...)` and `a`."""
    yield node
    if isinstance(node, ast.Call):
        inner = node.args[:1] if _of_module(node) or isinstance(node.func, ast.Name) else [node.func]
    elif isinstance(node, ast.Attribute | ast.Subscript):
        inner = [node.value]
    else:
        inner = [node.left] if isinstance(node, ast.BinOp) else []
    for part in inner:
        yield from _chain(part)


def _root(node: ast.expr) -> str:
    *_, last = _chain(node)
    return last.id if isinstance(last, ast.Name) else ""


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _of_module(call: ast.Call) -> bool:
    """Whether it is a function of torch or NumPy, whose first argument a method would be called on."""
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in MODULES
