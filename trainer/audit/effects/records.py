"""Named tuples, copies of records with other fields, and what their fields hold."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence

from trainer.audit.facts.machine import Class, Frame, Instance, Keywords, Machine
from trainer.audit.facts.values import UNKNOWN, External, Mapping, Value, changed, combined, joined, parts_of
from trainer.audit.facts.values import Sequence as Listed

RECORD = Value(refs=(External("typing.NamedTuple"),))


def named_tuple(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`namedtuple(name, fields)`: a class with these fields."""
    names = _names(arguments[1]) if len(arguments) > 1 else []
    if not names or not all(name.isidentifier() for name in names):
        return UNKNOWN
    fields = "; ".join(f"{name}: object" for name in names)
    node = ast.parse(f"class Record: {fields}").body[0]
    assert isinstance(node, ast.ClassDef)
    return Value(refs=(Class(node, Frame(function="<class>"), [RECORD], "plain"),))


def _names(value: Value) -> list[str]:
    if isinstance(value.const, str):
        return value.const.replace(",", " ").split()
    parts = [part.const for ref in value.refs if isinstance(ref, Listed) for part in parts_of(ref)]
    return [part for part in parts if isinstance(part, str)]


def made_defaults(machine: Machine, kind: Class, given: Collection[str]) -> dict[str, Value]:
    """What the fields of a new record hold that are not given, where `field(default_factory=...)` makes it anew."""
    found = {}
    for node in kind.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call):
            makers = [word.value for word in node.value.keywords if word.arg in ("default_factory", "factory")]
            if makers and node.target.id not in given:
                found[node.target.id] = machine.call(machine.evaluate(makers[0], kind.frame), [], {})
    return found


def replaced(machine: Machine, record: Value, keywords: Keywords) -> Value:
    """`record._replace(...)`, `dataclasses.replace(record, ...)`: a copy with other values in some fields."""
    made = []
    for ref in record.refs:
        if isinstance(ref, Instance):
            copy = Instance(machine.new_id(), ref.kind, {**ref.attributes, **keywords}, ref.given)
            refs: tuple[object, ...] = (copy,)
            if any(isinstance(other, Listed) for other in record.refs):
                refs = (copy, Listed(machine.new_id(), list(copy.attributes.values())))
            made.append(changed(record, refs=refs))
    return joined(made) if made else UNKNOWN


def as_tuple(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`dataclasses.astuple(record)`: what its fields hold, in their order."""
    made = [Listed(machine.new_id(), [*fields.values()], fixed=True) for fields in _fields(arguments)]
    return Value(refs=tuple(made)) if made else combined(arguments)


def as_dictionary(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`dataclasses.asdict(record)`."""
    made = [Mapping(machine.new_id(), {**fields}) for fields in _fields(arguments)]
    return Value(refs=tuple(made)) if made else combined(arguments)


def _fields(arguments: Sequence[Value]) -> list[dict[str, Value]]:
    """The fields of each record that the argument may be: those of its class first, in their order."""
    found = []
    for ref in arguments[0].refs if arguments else ():
        if isinstance(ref, Instance):
            body = ref.kind.node.body if ref.kind is not None else []
            named = [node.target.id for node in body if isinstance(node, ast.AnnAssign)
                     and isinstance(node.target, ast.Name)]  # fmt: skip
            first = {name: ref.attributes.get(name, UNKNOWN) for name in named}
            found.append({**first, **ref.attributes})
    return found
