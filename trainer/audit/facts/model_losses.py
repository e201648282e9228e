"""Methods of models that compute a loss, by their syntax: whether they do, and whether of a part of their targets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.audit.facts.frames import Class, Function
from trainer.audit.facts.known_names import LOSSES
from trainer.audit.facts.values import Value, is_scalar

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
CHOOSING = ("where", "masked_fill", "masked_select", "masked_fill_")
"""Functions that leave targets or losses out."""


@dataclass(frozen=True)
class LossOf:
    """What the syntax of a method says about the loss that it computes, if it does."""

    is_loss: bool
    is_part: bool = False
    """Whether a slice or a mask may leave targets out."""
    weights: frozenset[str] = frozenset()
    """Parameters that the losses of single targets are multiplied with."""

    def leaves_out(self, given: dict[str, Value]) -> bool:
        """Whether it may be the loss of a part of its targets, with these parameters; a number weighs all alike."""
        return self.is_part or any(not _is_number(given.get(name)) for name in self.weights)


def loss_of(kind: Class | None, function: AnyFunction) -> LossOf:
    """What a method of a model computes."""
    if not computes_loss(function):
        return LossOf(is_loss=False)
    weights: set[str] = set()
    for method in _with_its_own(kind, function) if kind is not None else ():
        every = _parameters(method)
        losses = {name for node in ast.walk(method) for name in _names_of_losses(node)}
        if any(_leaves_out(node, every, losses) for node in ast.walk(method)):
            return LossOf(is_loss=True, is_part=True)
        found = {name for node in ast.walk(method) for name in _factors(node, losses) if name in every}
        if found and method is not function:
            return LossOf(is_loss=True, is_part=True)
        weights |= found
    return LossOf(is_loss=True, weights=frozenset(weights))


def computes_loss(part: ast.AST) -> bool:
    """Whether a method, or a statement of one, computes a loss."""
    names = {_called(node) for node in ast.walk(part) if isinstance(node, ast.Call)}
    if names & LOSSES or {"log_softmax", "gather"} <= names or {"logsumexp", "gather"} <= names:
        return True
    return any("loss" in name.lower() or "nll" in name.lower() for name in names)


def _with_its_own(kind: Class, function: AnyFunction) -> Iterator[AnyFunction]:
    """A method, and those of its object that it calls and that compute a loss."""
    waiting, seen = [function], set()
    while waiting:
        method = waiting.pop()
        if method in seen:
            continue
        seen.add(method)
        yield method
        for node in ast.walk(method):
            found = kind.find(_called(node)) if isinstance(node, ast.Call) and _root(node.func) == "self" else None
            inner = (ref.node for ref in found.refs if isinstance(ref, Function)) if found is not None else ()
            waiting += [other for other in inner if computes_loss(other)]


def _leaves_out(node: ast.AST, parameters: set[str], losses: set[str]) -> bool:
    if isinstance(node, ast.Subscript):
        is_loss = _is_loss(node.value, losses)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if is_loss and any(not isinstance(part, ast.Slice | ast.Constant) for part in parts):
            return True
        is_asked = is_loss or _root(node.value) in parameters
        return any(
            _cuts(part.lower) or (is_asked and _cuts(part.upper)) for part in parts if isinstance(part, ast.Slice)
        )
    if isinstance(node, ast.Call) and _called(node) in CHOOSING:
        held = [*node.args, node.func.value] if isinstance(node.func, ast.Attribute) else node.args
        return any(_is_loss(part, losses) or _root(part) in parameters for part in held)
    return False


def _factors(node: ast.AST, losses: set[str]) -> Iterator[str]:
    """Names of what losses are multiplied with."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if _is_loss(one, losses):
                yield _root(other)


def _cuts(end: ast.expr | None) -> bool:
    """Whether a slice that begins or ends there may leave out more than the shift from inputs to targets."""
    return end is not None and ast.unparse(end) not in ("0", "1", "-1")


def _is_loss(node: ast.expr, losses: set[str]) -> bool:
    return _root(node) in losses or any(
        isinstance(part, ast.Call) and _called(part) in LOSSES for part in _of_chain(node)
    )


def _names_of_losses(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign) and _is_loss(node.value, set()):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _of_chain(node: ast.expr) -> Iterator[ast.expr]:
    """`a.b(...)[c]`, then `a.b(...)`, `a.b` and `a`."""
    while True:
        yield node
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        else:
            return


def _root(node: ast.expr) -> str:
    *_, last = _of_chain(node)
    return last.id if isinstance(last, ast.Name) else ""


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def _parameters(method: AnyFunction) -> set[str]:
    return {one.arg for one in (*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs)} - {"self"}


def _is_number(value: Value | None) -> bool:
    return value is None or value.is_known or is_scalar(value)
