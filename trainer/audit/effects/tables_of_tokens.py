"""Arrays and dictionaries that are changed in place, when that means that they learned from tokens, and their counts
over the sum of them."""

from __future__ import annotations

import ast

from trainer.audit.effects.mixtures import UNEVEN
from trainer.audit.effects.sides import added_up
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.tokens import Iterations, same_iteration
from trainer.audit.facts.values import (
    UNKNOWN,
    Cell,
    Mapping,
    Value,
    changed,
    combined,
    full,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed

OF_WINDOWS = ("part", "rows", "apart", "gap")
"""Marks of which part of its window something is of, and how far windows lie apart."""


def fill(
    machine: Machine, base: Value, value: Value, *, key: Value = UNKNOWN, adds: bool, subtracts: bool = False
) -> None:
    """`base[key] = value`, or `+=` if it adds: what a table holds, and that it learned if tokens decide the place.

    What a model computed is subtracted: a step of learning by hand.
    """
    held = full(value)
    by_hand = subtracts and bool(held.scores) and not machine.holds_loss(held)
    place = full(key).without_marks(*OF_WINDOWS)  # which part of a window says what it learns, not what is scored
    by_tokens = is_by_tokens(place)
    held = held.without_marks(*OF_WINDOWS) if by_tokens else held
    counted = frozenset(part for part in held.tokens if part.via == "statistic")
    learned = frozenset(part for part in place.tokens) if by_tokens else counted
    for ref in base.refs:
        if isinstance(ref, Cell):
            ref.listed, ref.blank = (), False
            content = combined([held, changed(place, scores=frozenset())]) if by_tokens else held
            content = content.seen_via("table") if learned or by_hand else added_up(content) if adds else content
            ref.keyed = ref.keyed or bool(learned)
            ref.content = _mixed(ref.content, content, adds or bool(learned), key.at)
            if adds and held.objects and ref.content.snapshot is not None:  # a running average of weights
                ref.content = changed(ref.content, snapshot=machine.tick())
        elif isinstance(ref, Mapping | Listed) and by_tokens:
            ref.keyed = True
            seen = combined([held, changed(place, scores=frozenset())]).seen_via("table")
            ref.rest = seen if ref.rest is None else joined([ref.rest, seen])
    learned = held.tokens if by_hand else learned
    if learned:
        objects = base.objects | {ref.id for ref in base.refs if isinstance(ref, Cell | Mapping | Listed)}
        machine.updated("table", learned, objects)


def is_by_tokens(index: Value) -> bool:
    """Whether an index is made of tokens, and is no condition on them or the places that one leaves."""
    if index.scores or index.marks & {"boundary", "mask", "places"}:
        return False
    return any(part.via == "tokens" for part in index.tokens)


def _mixed(old: Value, new: Value, adds: bool, row: Iterations) -> Value:
    """What a cell holds afterwards; a part that is overwritten in a later iteration is gone, one of another row is not.

    row:  iterations that decide which row is filled
    """
    if not adds:
        fresh = dict(sorted({pair for part in new.tokens for pair in part.at}))  # of each loop the latest
        stale = [
            part
            for part in old.tokens
            if any(fresh.get(loop, k) != k for loop, k in part.at) and same_iteration(row, part.at)
        ]
        old = changed(old, tokens=old.tokens - frozenset(stale))
    return combined([old, new])


def by_inputs(value: Value) -> bool:
    """Whether the inputs of a window chose what was looked up, and its targets did not."""
    inputs = (mark[6:] for mark in value.marks if mark.startswith("input:"))
    return any(f"target:{number}" not in value.marks for number in inputs)


def over_total(machine: Machine, op: ast.operator, counts: Value, total: Value) -> Value | None:
    """Counts of a table over their sum, or the logarithms of both, one less the other: a distribution, or its part.

    None for anything else.
    """
    looked_up, of_all = "lookup" in counts.marks, "total" in total.marks
    if not of_all and "picked" not in counts.marks:
        return None
    is_table = not looked_up and any(part.via == "table" for part in full(counts).tokens)
    both = combined([counts, total])
    if isinstance(op, ast.Div) and is_table and of_all:  # all rows at once
        return both.without_marks("total", *UNEVEN).with_marks("probability")
    smoothed = ("keyed",) if of_all and counts.objects & total.objects else ()  # a prior was added to each
    plain = both.without_marks("lookup", "total", "picked", *smoothed)
    row = ("row",) if "picked" in counts.marks else ()  # a row of counts over its sum, or its entry at the target
    if isinstance(op, ast.Sub) and looked_up and of_all and not (counts.scores or total.scores):
        return plain.with_marks("logs", *row)
    if isinstance(op, ast.Div) and looked_up and (of_all or row):
        by_constant = {"picked", "pair"} <= counts.marks and total.is_known
        return plain.with_marks("probability", *row, *([f"constant:{machine.place.line}"] if by_constant else []))
    return None
