"""Targets that are set to a number which losses ignore (`y[:, :-stride] = -100`), and losses that are set to a number.

Which targets are left is not known then.
"""

from __future__ import annotations

import ast

from trainer.audit.effects.positions import masked
from trainer.audit.facts.machine import Frame, Machine
from trainer.audit.facts.values import Cell, Value, full

FILLING = ("fill_", "zero_", "masked_fill_", "index_fill_")
"""Methods that set some elements to one number."""


def assigned(machine: Machine, target: ast.Subscript, base: Value, value: Value, frame: Frame) -> Value:
    """`base[index] = value`: the base, which remembers if some of its tokens or losses are one number now."""
    if not isinstance(value.const, int | float) or not _is_counted(machine, base):
        return base
    parts = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
    several = any(_is_several(machine, part, frame) for part in parts)
    return _without(machine, target.value, base, frame) if several else base


def _is_several(machine: Machine, part: ast.expr, frame: Frame) -> bool:
    """Whether an index may name several elements, and not all."""
    if isinstance(part, ast.Slice):
        return bool(part.lower or part.upper)
    place = machine.evaluate(part, frame)
    return not (place.is_known or place.number is not None)


def called(machine: Machine, node: ast.Call, frame: Frame) -> None:
    """`base.masked_fill_(...)`, `base[index].fill_(...)`: the base remembers it too."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in FILLING:
        return
    target = node.func.value
    if isinstance(target, ast.Subscript):
        target = target.value
    elif node.func.attr in ("fill_", "zero_"):  # all of it
        return
    if _is_counted(machine, base := machine.evaluate(target, frame)):
        _without(machine, target, base, frame)


def _is_counted(machine: Machine, base: Value) -> bool:
    """Whether it holds tokens of the text that is scored, or losses."""
    held = full(base)
    is_text = not held.scores and any(part.source == "val" and part.via == "tokens" for part in held.tokens)
    return is_text or machine.holds_loss(held)


def _without(machine: Machine, target: ast.expr, base: Value, frame: Frame) -> Value:
    left = masked(machine, base, base)
    cells = [ref for ref in base.refs if isinstance(ref, Cell)]
    for ref in cells:
        ref.content = masked(machine, base, ref.content)
    if not cells:
        machine.changed_in_place(target, base, left, frame)
    return left
