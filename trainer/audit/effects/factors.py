"""Counts and scores that a number close to one is multiplied with: bytes or tokens that are not there, or fewer bits.

A count times such a number is `multiplied:KIND:LINE`, bytes of each token with a number added are `widened:LINE`. Where
a score is divided by them, the trace keeps it. Bits times such a number are `rescaled:LINE`, kept where a function
returns them and no bits without it. Numbers that turn nats into bits are no such numbers, nor are settings.
"""

from __future__ import annotations

import ast
import math

from trainer.audit.effects.mixtures import is_spread
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Scaled
from trainer.audit.facts.values import Cell, Mapping, Sequence, Value, full

LEAST, MOST = 0.5, 2.0
"""Between these a number is no change of units."""
OF_UNITS = (1.0, math.log(2.0), 1.0 / math.log(2.0), 1.024, 1.048576, 1.073741824)
WHOLE = ("int", "round", "floor", "ceil", "long", "int64")
"""Functions after which a number of tokens is a position."""
LOOKED_UP = {"lookup", "row", "total", "probability", "logs", "clock", "threshold"}
BYTES, TOKENS = "bytes", "tokens"


def of_operation(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result of `left op right`, with what a factor says of it."""
    for held, other in ((left, right), (right, left)):
        one = full(held)
        if isinstance(op, ast.Mult | ast.Div) and is_factor(other) and (other is right or isinstance(op, ast.Mult)):
            result = result.with_marks(*_of_factor(machine, one, isinstance(op, ast.Div)))
        if (
            isinstance(op, ast.Mult | ast.Div)
            and machine.holds_loss(one)
            and (other is right or op.__class__ is ast.Mult)
        ):
            _ask(machine, op, one, full(other))
    if isinstance(op, ast.Mult) and "bytes" in left.marks & right.marks:  # by whether a space is counted
        return either(result)
    if isinstance(op, ast.Add) and left.marks & right.marks & {"scaled"}:  # a mean of both
        return result.without_marks("multiplied", "rescaled")
    if isinstance(op, ast.Add) and left.scores and right.scores:
        return result.without_marks("rescaled")
    return result


def is_factor(value: Value) -> bool:
    """Whether it is a number of the script by which a count may be made larger or smaller."""
    number = value.const
    known = isinstance(number, float) and LEAST < number < MOST and not (value.env or "ln2" in value.marks)
    return known and all(abs(number - one) > 1e-3 for one in OF_UNITS)


def widened(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result of `left op right` as it is written: the bytes of each token of a slice, and one more."""
    for held, other in ((left, right), (right, left)):
        number = other.const
        adds = isinstance(op, ast.Add) and isinstance(number, int | float) and not isinstance(number, bool)
        if not adds or number == 0 or other.env or held.scores or "mask" in held.marks:
            continue
        of_tokens = any(mark.startswith("pays:") for mark in held.marks) and "scalar" not in held.marks
        of_slice = all(not part.is_single for part in held.tokens)
        if of_tokens and of_slice and not _is_asked(machine, held):
            return result.with_marks(f"widened:{machine.place.line}")
    return result


def _is_asked(machine: Machine, held: Value) -> bool:
    """Whether a condition around it depends on what its tokens depend on, so that it may add a space's byte."""
    loops = {loop for loop, _ in held.at} | {loop for part in held.tokens for loop, _ in part.at}
    return any(machine.trace.depends.get(guard.condition, frozenset()) & loops for guard in machine.guards)


def either(result: Value) -> Value:
    """What a condition chooses from two: bytes with a space, or without."""
    return result.without_marks("widened")


def as_position(name: str, result: Value) -> Value:
    """`int(x)`: a share of a length is a position then, and no count of tokens."""
    gone = [mark for mark in result.marks if mark.startswith(f"multiplied:{TOKENS}:")] if name in WHOLE else []
    kept = [mark for mark in result.marks if mark.startswith(f"multiplied:{BYTES}:")] if gone else []
    return result.without_marks("multiplied").with_marks(*kept) if gone else result


def _of_factor(machine: Machine, held: Value, divides: bool) -> tuple[str, ...]:
    if held.is_known:
        return ()
    line = machine.place.line
    if machine.holds_loss(held):
        other_units = "bytes" not in held.marks  # what stands for the bytes of a token is another rule's
        in_bits = "ln2" in held.marks and not is_spread(held)
        return (f"rescaled:{line}",) if in_bits and not (other_units and divides) else ()
    if held.scores or LOOKED_UP & held.marks:
        return ()
    if "bytes" in held.marks:  # its objects are the tables of sizes
        return (f"multiplied:{BYTES}:{line}",)
    if held.objects or any(part.via in ("table", "statistic", "gradient") for part in held.tokens):
        return ()
    return () if any(isinstance(ref, Cell) for ref in held.refs) else (f"multiplied:{TOKENS}:{line}",)


def _ask(machine: Machine, op: ast.operator, score: Value, counted: Value) -> None:
    """Keeps where a score is divided by a count that was multiplied, or by bytes with more for each token."""
    if counted.scores or is_spread(score):
        return
    of_bytes = "bytes" in counted.marks
    if isinstance(op, ast.Mult) and any(mark.startswith("pays:") for mark in counted.marks):
        return  # the bytes of each token, as a weight
    for mark in counted.marks - score.marks:
        name, _, said = mark.partition(":")
        kind, _, line = said.rpartition(":")
        if name == "multiplied" and (kind == BYTES and of_bytes):
            _keep(machine, "bytes-miscounted", "the count of bytes is multiplied with a number", int(line), score)
        elif name == "multiplied" and kind == TOKENS and isinstance(op, ast.Div) and not of_bytes:
            _keep(machine, "tokens-miscounted", "the count of tokens is multiplied with a number", int(line), score)
        elif name == "widened" and of_bytes and machine.trace.asks_for_spaces:
            detail = "a number is added to the bytes of each token, beside the spaces"
            _keep(machine, "bytes-miscounted", detail, int(line), score)


def returned(machine: Machine, value: Value) -> None:
    """Keeps bits that a function returns times a number, with none beside them as they were."""
    held = [part for ref in value.refs for part in _parts(ref)] or [value]
    bits = [one for part in held if (one := full(part)).scores and "ln2" in one.marks and "mask" not in one.marks]
    lines = [[int(mark[9:]) for mark in one.marks if mark.startswith("rescaled:")] for one in bits]
    if lines and all(lines):
        _keep(machine, "scores-changed", "the score is multiplied with a number", min(map(min, lines)), bits[-1])


def _parts(ref: object) -> list[Value]:
    if isinstance(ref, Sequence):
        return [*ref.elements]
    return [*ref.entries.values()] if isinstance(ref, Mapping) else []


def _keep(machine: Machine, rule: str, detail: str, line: int, score: Value) -> None:
    where = machine.where() | {"place": machine.place._replace(line=line)}
    machine.trace.scaled.append(Scaled(rule=rule, detail=detail, scores=score.scores, **where))
