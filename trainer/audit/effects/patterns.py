"""`match` and `isinstance`: which class of the script a value is of, and what a pattern names."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.effects.indexing import attribute
from trainer.audit.facts.machine import Class, Frame, Instance, Keywords, Machine
from trainer.audit.facts.values import UNKNOWN, Mapping, Value, constant, joined, parts_of
from trainer.audit.facts.values import Sequence as Listed


def fits(machine: Machine, pattern: ast.pattern, value: Value, frame: Frame) -> bool | None:
    """Whether a value fits a pattern, whose names it gets; None if that is not known."""
    if isinstance(pattern, ast.MatchAs):
        found = True if pattern.pattern is None else fits(machine, pattern.pattern, value, frame)
        if pattern.name is not None:
            frame.assign(pattern.name, value)
        return found
    if isinstance(pattern, ast.MatchValue):
        return _equals(value, machine.evaluate(pattern.value, frame))
    if isinstance(pattern, ast.MatchSingleton):
        return _equals(value, constant(pattern.value))
    if isinstance(pattern, ast.MatchOr):
        each = [fits(machine, part, value, frame) for part in pattern.patterns]
        return True if True in each else None if None in each else False
    if isinstance(pattern, ast.MatchSequence):
        return _fits_sequence(machine, pattern.patterns, value, frame)
    if isinstance(pattern, ast.MatchClass):
        return _fits_class(machine, pattern, value, frame)
    if isinstance(pattern, ast.MatchMapping):
        held = [ref for ref in value.refs if isinstance(ref, Mapping)]
        keys = [machine.evaluate(key, frame).const for key in pattern.keys]
        parts = [joined([ref.entries.get(key, ref.rest or UNKNOWN) for ref in held]) for key in keys]
        return _all(machine, pattern.patterns, parts, frame, None)
    return None


def is_of(value: Value, kinds: Value) -> bool | None:
    """Whether an object is of one of these classes of the script; None if that is not known."""
    wanted = [ref for ref in (*kinds.refs, *_listed(kinds)) if not isinstance(ref, Listed)]
    objects = [ref.kind for ref in value.refs if isinstance(ref, Instance)]
    if not objects or None in objects or not all(isinstance(ref, Class) for ref in wanted):
        return None
    answers = {any(_descends(kind, other) for other in wanted) for kind in objects if kind is not None}
    return answers.pop() if len(answers) == 1 else None


def is_instance(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`isinstance(value, kinds)`."""
    known = is_of(*arguments) if len(arguments) == 2 else None
    return constant(known) if known is not None else UNKNOWN


def _listed(value: Value) -> list[object]:
    return [inner for ref in value.refs if isinstance(ref, Listed) for part in parts_of(ref) for inner in part.refs]


def _descends(kind: Class, other: object) -> bool:
    return kind is other or any(
        isinstance(base, Class) and _descends(base, other) for value in kind.bases for base in value.refs
    )


def _equals(value: Value, other: Value) -> bool | None:
    known = value.is_known and other.is_known and not value.env
    return bool(value.const == other.const) if known else None


def _fits_sequence(machine: Machine, patterns: list[ast.pattern], value: Value, frame: Frame) -> bool | None:
    held = [ref for ref in value.refs if isinstance(ref, Listed)]
    stars = [pattern for pattern in patterns if isinstance(pattern, ast.MatchStar)]
    if len(held) == 1 and held[0].rest is None and not stars:
        if len(held[0].elements) != len(patterns):
            return False
        return _all(machine, patterns, held[0].elements, frame, True)
    any_of = joined([part for ref in held for part in parts_of(ref)])
    for star in stars:
        if star.name is not None:
            frame.assign(star.name, Value(refs=(Listed(machine.new_id(), [], any_of),)))
    others = [pattern for pattern in patterns if pattern not in stars]
    return _all(machine, others, [any_of] * len(others), frame, None)


def _fits_class(machine: Machine, pattern: ast.MatchClass, value: Value, frame: Frame) -> bool | None:
    kinds = machine.evaluate(pattern.cls, frame)
    found = is_of(value, kinds)
    if found is False:
        return False
    own = [ref for ref in kinds.refs if isinstance(ref, Class)]
    fields = [
        node.target.id
        for kind in own[:1]
        for node in kind.node.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    names = [*fields[: len(pattern.patterns)], *pattern.kwd_attrs]
    if len(names) < len(pattern.patterns) + len(pattern.kwd_attrs):  # `int(x)` and the like
        return _all(machine, pattern.patterns, [value] * len(pattern.patterns), frame, None)
    fitting = tuple(ref for ref in value.refs if not isinstance(ref, Listed))
    parts = [attribute(machine, Value(refs=fitting, at=value.at), name) for name in names]
    return _all(machine, [*pattern.patterns, *pattern.kwd_patterns], parts, frame, found)


def _all(
    machine: Machine, patterns: list[ast.pattern], values: Sequence[Value], frame: Frame, found: bool | None
) -> bool | None:
    """Whether every part fits its pattern, where the whole does or may."""
    each = [fits(machine, pattern, value, frame) for pattern, value in zip(patterns, values, strict=True)]
    return False if False in each else None if None in each else found
