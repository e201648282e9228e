"""What one iteration of a loop leaves to the next: names, and attributes that methods called in the loop change."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from trainer.audit.facts.machine import Class, Frame, Function, Instance
from trainer.audit.facts.tokens import Iterations, later
from trainer.audit.facts.values import (
    NOTHING,
    Value,
    changed,
    parts_of,
)
from trainer.audit.facts.values import Sequence as Listed


def carried_attributes(body: Sequence[ast.stmt], frame: Frame) -> Iterator[tuple[Instance, str, Value]]:
    """Numbers and texts in attributes of objects that a loop's body, or methods that it calls on them, change."""
    nodes = _nodes_in(tuple(body))
    held_by = {name: frame.find(name) or Value() for name in sorted({_name(node) for node in nodes} - {""})}
    called = _called_within(nodes, held_by.values())
    seen: set[int] = set()
    for name, value in held_by.items():
        for ref, among in _objects(value):
            if ref.kind is not None and ref.kind.kind == "plain" and ref.id not in seen:
                seen.add(ref.id)
                for attribute in sorted(
                    _stored(nodes, name if ref in value.refs else "") | _changed_by(ref.kind, called)
                ):
                    held = ref.attributes.get(attribute) or ref.kind.find(attribute)
                    if held is not None and _is_plain(held):
                        yield ref, attribute, changed(held, at=later(held.at, among))


@lru_cache(maxsize=256)
def _nodes_in(body: tuple[ast.stmt, ...]) -> list[ast.AST]:
    """Every node of a loop's body, which is walked once for each of the iterations."""
    return [node for statement in body for node in ast.walk(statement)]


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _called_within(nodes: Sequence[ast.AST], values: Collection[Value]) -> set[str]:
    """Methods that a loop's body calls, and those that functions and methods called there call in turn."""
    objects = {id(ref.kind): ref.kind for value in values for ref, _ in _objects(value) if ref.kind is not None}
    functions = {ref.name: ref for value in values for ref in value.refs if isinstance(ref, Function)}
    waiting, called, seen = [nodes], set[str](), set[ast.AST]()
    while waiting:
        calls = [node.func for node in waiting.pop() if isinstance(node, ast.Call)]
        names = {node.attr for node in calls if isinstance(node, ast.Attribute)}
        called |= names
        inner = [value for kind in objects.values() for name in names if (value := kind.find(name)) is not None]
        found = [ref.node for value in inner for ref in value.refs if isinstance(ref, Function)]
        found += [functions[name].node for name in map(_name, calls) if name in functions]
        waiting += [list(ast.walk(node)) for node in found if node not in seen]
        seen.update(found)
    return called


def _objects(value: Value) -> Iterator[tuple[Instance, Iterations]]:
    """Objects that a value is or a list holds; of several in a list each with what tells it from the others."""
    for ref in value.refs:
        if isinstance(ref, Instance):
            yield ref, frozenset()
        elif isinstance(ref, Listed):
            held = [inner for part in parts_of(ref) for inner in part.refs if isinstance(inner, Instance)]
            for place, inner in enumerate(held):
                yield inner, frozenset([(ref.id, place)]) if len(held) > 1 else frozenset()


def _stored(nodes: Sequence[ast.AST], owner: str) -> set[str]:
    """Attributes that are set on what this name holds; without a name, on anything, as on elements of a list."""
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and owner in ("", node.value.id)
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
