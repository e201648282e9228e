"""What one iteration of a loop leaves to the next: names, and attributes that methods called in the loop change."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from trainer.audit.facts.machine import Class, Frame, Function, Instance
from trainer.audit.facts.tokens import Iterations, later
from trainer.audit.facts.values import (
    NOTHING,
    Value,
    changed,
)
from trainer.audit.facts.values import Sequence as Listed


def carried_attributes(body: Sequence[ast.stmt], frame: Frame) -> Iterator[tuple[Instance, str, Value]]:
    """Numbers and texts in attributes of objects that a loop's body, or methods that it calls on them, change."""
    nodes = _nodes_in(tuple(body))
    called = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    seen: set[int] = set()
    for name in sorted({node.id for node in nodes if isinstance(node, ast.Name)}):
        for ref, among in _objects(frame.find(name) or Value()):
            if ref.kind is not None and ref.kind.kind == "plain" and ref.id not in seen:
                seen.add(ref.id)
                for attribute in sorted(_stored(nodes, name) | _changed_by(ref.kind, called)):
                    held = ref.attributes.get(attribute) or ref.kind.find(attribute)
                    if held is not None and _is_plain(held):
                        yield ref, attribute, changed(held, at=later(held.at, among))


@lru_cache(maxsize=256)
def _nodes_in(body: tuple[ast.stmt, ...]) -> list[ast.AST]:
    """Every node of a loop's body, which is walked once for each of the iterations."""
    return [node for statement in body for node in ast.walk(statement)]


def _objects(value: Value) -> Iterator[tuple[Instance, Iterations]]:
    """Objects that a value is or a list holds; of several in a list each with what tells it from the others."""
    for ref in value.refs:
        if isinstance(ref, Instance):
            yield ref, frozenset()
        elif isinstance(ref, Listed):
            held = [inner for part in ref.elements for inner in part.refs if isinstance(inner, Instance)]
            for place, inner in enumerate(held):
                yield inner, frozenset([(ref.id, place)]) if len(held) > 1 else frozenset()


def _stored(nodes: Sequence[ast.AST], owner: str) -> set[str]:
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
    }


def _changed_by(kind: Class, called: set[str]) -> set[str]:
    """Attributes that these methods set on their own object, and the methods that they call on it."""
    waiting, seen, found = [*called, "__call__", "__next__"], set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen or (value := kind.find(name)) is None:
            continue
        seen.add(name)
        for node in (ref.node for ref in value.refs if isinstance(ref, Function)):
            inner = list(ast.walk(node))
            found |= _stored(inner, "self")
            waiting += [
                part.attr
                for part in inner
                if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
            ]
    return found


def in_iteration(value: Value, at: Iterations) -> Value:
    """A number or text that the iterations of a loop change, as it is in one of them."""
    return changed(value, at=later(value.at, at), const=NOTHING)


def _is_plain(value: Value) -> bool:
    """Whether it is a number or a text, that holds nothing and was computed from no tokens."""
    return not (value.tokens or value.refs or value.scores or value.objects)
