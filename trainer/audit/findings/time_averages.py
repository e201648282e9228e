"""Does a model mix an average over all positions of a window into each of them? Then each sees its own target.

Told where a tensor has certainly three dimensions, of which the second counts positions: what an embedding gave, or
what is unpacked as batch, length and width. It must be combined with its own average, or with a name set to that alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainer.audit.findings.model_calls import AnyFunction, ModelCalls, Visit, carries, name_of

OVER = frozenset(["mean", "amax", "max", "std", "var", "sum", "logsumexp", "norm"])
SAME = frozenset(["rms_norm", "layer_norm", "dropout", "norm", "float", "to", "bfloat16", "type_as", "contiguous"])
"""Functions that leave the dimensions as they are."""


def averages(calls: ModelCalls) -> Iterator[tuple[int, str]]:
    """Lines that do so, and the average."""
    for visit in calls.visits:
        over = _averaged(visit.call)
        if over is None or over.id not in visit.carrying or not _is_of_positions(over.id, visit, calls):
            continue
        held = _held_by(visit.function, visit.call) - {over.id}
        if any(_combines(node, visit.call, over.id, held) for node in ast.walk(visit.function)):
            yield visit.call.lineno, ast.unparse(visit.call)


def _averaged(call: ast.Call) -> ast.Name | None:
    """What a call averages over its second dimension, which it keeps."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in OVER:
        return None
    given = {word.arg: word.value for word in call.keywords}
    values = [call.func.value, *call.args] if isinstance(call.func.value, ast.Name) else []
    if values and name_of(values[0]) in ("torch", "mx"):
        values = values[1:]
    dimension = given.get("dim", given.get("axis", values[1] if len(values) > 1 else None))
    kept = getattr(given.get("keepdim", given.get("keepdims")), "value", False)
    is_second = dimension is not None and ast.unparse(dimension) in ("1", "-2")
    return values[0] if is_second and kept is True and isinstance(values[0], ast.Name) else None


def _is_of_positions(name: str, visit: Visit, calls: ModelCalls) -> bool:
    """Whether a name holds, wherever it is set in a function, a tensor of three dimensions."""
    set_here = [value for target, value in _set_in(visit.function) if name in target]
    if any(not _keeps(value, name) and not _embeds(value, visit, calls) for value in set_here):
        return False
    return any(_embeds(value, visit, calls) for value in set_here) or _is_unpacked(visit.function, name)


def _set_in(function: AnyFunction) -> Iterator[tuple[set[str], ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield {part.id for one in node.targets for part in ast.walk(one) if isinstance(part, ast.Name)}, node.value
        elif isinstance(node, ast.For):
            yield {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}, node.iter


def _keeps(value: ast.expr, name: str) -> bool:
    """Whether a name is set to something of its own dimensions: a sum with itself, a layer or norm of it."""
    if isinstance(value, ast.BinOp):
        return carries(value, {name})
    return isinstance(value, ast.Call) and any(carries(one, {name}) for one in value.args[:1])


def _embeds(value: ast.expr, visit: Visit, calls: ModelCalls) -> bool:
    """Whether it is what an embedding of the model gave, perhaps normalised."""
    if not isinstance(value, ast.Call):
        return False
    if name_of(value.func) in SAME:
        inner = [*value.args[:1], *([value.func.value] if isinstance(value.func, ast.Attribute) else [])]
        return any(_embeds(one, visit, calls) for one in inner)
    layers = calls.layers_of(visit.kind) if visit.kind is not None else {}
    made = layers.get(name_of(value.func), []) if isinstance(value.func, ast.Attribute) else []
    return bool(made) and all(name_of(one.func) == "Embedding" for one in made)


def _is_unpacked(function: AnyFunction, name: str) -> bool:
    """Whether a function takes its three sizes from it: `b, t, d = x.shape`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and len(node.targets[0].elts) == 3:
            sizes = node.value.func if isinstance(node.value, ast.Call) else node.value
            if isinstance(sizes, ast.Attribute) and sizes.attr in ("shape", "size") and name_of(sizes.value) == name:
                return True
    return False


def _held_by(function: AnyFunction, average: ast.Call) -> set[str]:
    """The names that are set to what was computed from an average, and to nothing else."""
    held: set[str] = set()
    sets = [
        (node.targets[0].id, node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    ]
    for _ in sets:
        held |= {name for name, value in sets if _holds(value, average, held)}
    return held - {name for name, value in sets if not _holds(value, average, held)}


def _holds(value: ast.expr, average: ast.Call, names: set[str]) -> bool:
    return any(part is average or (isinstance(part, ast.Name) and part.id in names) for part in ast.walk(value))


def _combines(node: ast.AST, average: ast.Call, name: str, held: set[str]) -> bool:
    """Whether a sum, difference or product has a name on one side and its average, or what came of it, on the other."""
    if not isinstance(node, ast.BinOp):
        return False
    for own, other in ((node.left, node.right), (node.right, node.left)):
        if getattr(own, "id", "") == name and _holds(other, average, held):
            return True
    return False
