"""Targets that a script sets to a number which losses ignore (`y[:, :-stride] = -100`): which are left is not known."""

from __future__ import annotations

import ast

from trainer.audit.effects.positions import masked
from trainer.audit.facts.machine import Frame, Machine
from trainer.audit.facts.values import Cell, Value, full

FILLING = ("fill_", "masked_fill_", "index_fill_")
"""Methods that set some tokens of a text to one number."""


def assigned(machine: Machine, target: ast.Subscript, base: Value, key: Value, value: Value, frame: Frame) -> Value:
    """`base[index] = value`: the base, which remembers if some of its tokens are one number now."""
    parts = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
    several = any(isinstance(part, ast.Slice) and (part.lower or part.upper) for part in parts)
    one = isinstance(value.const, int) and (several or "mask" in key.marks)
    return _without(machine, target.value, base, frame) if one and _is_text(base) else base


def called(machine: Machine, node: ast.Call, frame: Frame) -> None:
    """`base.masked_fill_(...)`, `base[index].fill_(...)`: the base remembers it too."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in FILLING:
        return
    target = node.func.value
    if isinstance(target, ast.Subscript):
        target = target.value
    elif node.func.attr == "fill_":  # all of it
        return
    if _is_text(base := machine.evaluate(target, frame)):
        _without(machine, target, base, frame)


def _is_text(base: Value) -> bool:
    held = full(base)
    return not held.scores and any(part.source == "val" and part.via == "tokens" for part in held.tokens)


def _without(machine: Machine, target: ast.expr, base: Value, frame: Frame) -> Value:
    left = masked(machine, base, base)
    cells = [ref for ref in base.refs if isinstance(ref, Cell)]
    for ref in cells:
        ref.content = masked(machine, base, ref.content)
    if not cells:
        machine.changed_in_place(target, base, left, frame)
    return left
