"""Files told apart by their names: `"val" in path.name` sorts a folder's files into training and validation text."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from trainer.audit.effects.files import source_of
from trainer.audit.facts.values import Sequence, Value, changed, full

OTHER: dict[object, str] = {"val": "train", "train": "val"}
"""What a file holds that does not hold the one."""
CONDITIONS = ("is:", "ends:", "isnt:")
Told = dict[str, tuple[Value, Value]]


def names_asked(value: Value) -> list[str]:
    """The marks of a condition on a name: `is:X` where it holds X, `isnt:X` where not, `ends:X` where it ends so."""
    return [mark for mark in value.marks if mark.startswith(CONDITIONS)]


def not_asked(value: Value) -> list[str]:
    """The marks of the opposite condition."""
    asked = (mark.partition(":") for mark in names_asked(value))
    return [f"{'is' if kind == 'isnt' else 'isnt'}:{name}" for kind, _, name in asked]


def of_membership(op: ast.cmpop, left: Value, right: Value) -> list[str]:
    """The marks of `path in files` and `path not in files`, where the list says which text its files hold."""
    is_listed = any(isinstance(ref, Sequence) for ref in right.refs)
    source = source_of(full(right).text) if is_listed and left.text and isinstance(op, ast.In | ast.NotIn) else None
    return [f"{'is' if isinstance(op, ast.In) else 'isnt'}:{source}"] if source in OTHER else []


def named_by(asked: Iterable[str], value: Value) -> Value:
    """The name of a file of which such conditions hold, as `"train" in name`: it holds what it is asked for."""
    if not value.text or value.tokens:
        return value
    names = set(value.text)
    for kind, _, name in (mark.partition(":") for mark in asked):
        other = OTHER.get(source_of(frozenset([name])), "")
        names.add(name if kind == "is" else f"*{name}" if kind == "ends" else other)
    return value if names == value.text else changed(value, text=frozenset(names))


def files_told_apart(names: dict[str, Value], test: Value, holds: bool) -> Told:
    """Tells which text the files hold that a condition asks about; by name what a file was and is now."""
    asked, file = names_asked(test) if holds else not_asked(test), max(test.at, default=None)
    if not asked or file is None:
        return {}
    own = {name: value for name, value in names.items() if file in value.at}
    told = {name: (value, now) for name, value in own.items() if (now := named_by(asked, value)) is not value}
    names |= {name: now for name, (_, now) in told.items()}
    return told
