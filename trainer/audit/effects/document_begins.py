"""Targets that are left out of a score because a token is BOS: the target itself, or the token before it.

Each BOS is a target of no bytes, and the token behind it a target like any other: docs/recipe.md 1.2 and 1.4 count
both. `nobos` marks a condition that holds where a token is no BOS, `isbos` one that holds where it is one; losses that
are kept by the first alone are `inner:L`, those that are kept by the second `outer:L`, and where a score holds both,
nothing was left out. BOS is id 1, or what the tokenizer's `bos_id()` says; of any other id it is not known whether it
occurs in the text.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.facts.machine import Keywords, Machine
from trainer.audit.facts.values import UNKNOWN, Value, full, is_text

BOS = 1
SWAPPED = {"nobos": "isbos", "isbos": "nobos"}


def is_bos(value: Value) -> bool:
    """Whether it is the id of BOS."""
    return "bos" in value.marks or (value.const == BOS and isinstance(value.const, int) and value.const is not True)


def asked_of_bos(op: ast.cmpop, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of a comparison of tokens of the validation text with BOS."""
    if not isinstance(op, ast.Eq | ast.NotEq):
        return ()
    for one, other in ((left, right), (right, left)):
        if is_text(one) and is_bos(other) and any(part.source == "val" for part in one.tokens):
            return ("isbos",) if isinstance(op, ast.Eq) else ("nobos",)
    return ()


def opposite(value: Value) -> tuple[str, ...]:
    """The mark of `~value`, or of `1 - value`."""
    return tuple(SWAPPED[mark] for mark in value.marks & SWAPPED.keys())


def narrowed_by(op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of `left & right` and the like, which holds at most where such a condition holds."""
    marks = (left.marks | right.marks) & SWAPPED.keys() if not (left.scores or right.scores) else set()
    if isinstance(op, ast.BitAnd | ast.Mult) and len(marks) == 1:
        return tuple(marks)
    if isinstance(op, ast.BitOr) and len(marks) == 1 and all(marks <= side.marks for side in (left, right)):
        return tuple(marks)
    return ("nobos",) if isinstance(op, ast.Sub) and left.const == 1 and "isbos" in right.marks else ()


def kept_where(machine: Machine, losses: Value, condition: Value) -> tuple[str, ...]:
    """The mark of losses where a condition holds, or times it."""
    if not machine.holds_loss(losses) or machine.holds_loss(condition):
        return ()
    kind = {"nobos": "inner", "isbos": "outer"}
    return tuple(f"{kind[mark]}:{machine.place.line}" for mark in condition.marks & kind.keys())


def in_a_call(machine: Machine, name: str, base: Value, others: Sequence[Value]) -> tuple[str, ...]:
    """The mark of `where(condition, losses, 0)`, `losses.masked_fill(condition, 0)` and the like."""
    if name == "where" and len(others) > 1:
        first, second = (full(value) for value in others[:2])
        if machine.holds_loss(first) is not machine.holds_loss(second):
            kept, condition = (first, full(base)) if machine.holds_loss(first) else (second, _not(full(base)))
            return kept_where(machine, kept, condition)
        for one, other, condition in ((first, second, full(base)), (second, first, _not(full(base)))):
            if hidden := overwritten(machine, other, condition, one):
                return hidden
    if name == "masked_fill" and len(others) > 1 and not full(others[1]).tokens:
        return overwritten(machine, full(base), full(others[0]), full(others[1]))
    return kept_where(machine, full(base), full(others[0])) if name == "masked_select" and others else ()


def overwritten(machine: Machine, base: Value, condition: Value, value: Value) -> tuple[str, ...]:
    """The mark of losses, or of targets, that get a value where a condition holds: a negative target has no loss."""
    if machine.holds_loss(base):
        return tuple(mark for mark in kept_where(machine, base, _not(condition)) if value.is_known)
    negative = isinstance(value.const, int) and value.const < 0
    return (f"inner:{machine.place.line}",) if is_text(base) and negative and "isbos" in condition.marks else ()


def _not(value: Value) -> Value:
    return Value(marks=frozenset(opposite(value)))


def ignored(machine: Machine, keywords: Keywords) -> tuple[str, ...]:
    """The mark of a loss that leaves out the targets of an id."""
    return (f"inner:{machine.place.line}",) if is_bos(keywords.get("ignore_index", UNKNOWN)) else ()
