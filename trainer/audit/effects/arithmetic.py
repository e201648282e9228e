"""Arithmetic and comparisons, and what they say about scores and probabilities."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trainer.audit.effects import factors
from trainer.audit.effects.bent_logits import of_two
from trainer.audit.effects.choices import unshifted
from trainer.audit.effects.chunk_borders import of_comparison as of_chunk
from trainer.audit.effects.chunk_borders import of_operation as of_operation_on_counted
from trainer.audit.effects.clocks import compared, timed
from trainer.audit.effects.cut_short import of_chunks
from trainer.audit.effects.cut_short import of_operation as of_limited
from trainer.audit.effects.document_begins import asked_of_bos, kept_where, narrowed_by, opposite
from trainer.audit.effects.document_lengths import ORDERS, is_border, of_length
from trainer.audit.effects.extremes import LOOSE, ZERO, is_loose, numbers_of
from trainer.audit.effects.file_names import names_asked, not_asked, of_membership
from trainer.audit.effects.gates import GATES, negated, of_numbers
from trainer.audit.effects.iteration import method_of
from trainer.audit.effects.mixtures import SPREAD, UNEVEN, mixed_with, of_operation
from trainer.audit.effects.own_losses import come_back
from trainer.audit.effects.portions import of_operation as of_portion
from trainer.audit.effects.positions import compare_bytes, weighed
from trainer.audit.effects.shares_of_ranks import RANKS, WORLDS, meet, of_boolean, of_comparison, of_not
from trainer.audit.effects.side_cars import compare as compare_side_cars
from trainer.audit.effects.sides import ask_whose, conditioned, twice
from trainer.audit.effects.size_limits import compared_size
from trainer.audit.effects.spread_over_bytes import of_operation as spread_over_bytes
from trainer.audit.effects.strides import of_difference, of_remainder
from trainer.audit.effects.tables_of_tokens import over_total
from trainer.audit.facts.machine import Class, Frame, Function, Instance, Machine, Namespace
from trainer.audit.facts.tokens import Tokens, later
from trainer.audit.facts.values import (
    NOTHING,
    Sequence,
    Value,
    changed,
    combined,
    constant,
    decisions,
    full,
    is_scalar,
    joined,
    united,
)

LARGEST = 2**63
REPEATED = (str, bytes, tuple, list)
"""What a product repeats, so that a small script could fill the memory."""


ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}


HASHING = (ast.BitXor, ast.BitAnd, ast.Mod, ast.RShift)
"""After these several contexts or targets may share a key."""


COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}


def truth(value: Value) -> bool | None:
    """Whether a condition holds; None if that is not known."""
    if value.is_known and isinstance(value.const, bool | int | float | str | tuple | type(None)):
        return bool(value.const)
    for ref in value.refs:
        if isinstance(ref, Function | Class | Namespace | Instance):
            return True
    number = value.number.value if value.number is not None and value.at and not value.tokens else None
    return bool(number) if number is not None and not is_loose(value) else None


def is_new(value: Value) -> bool:
    """Whether it is a list that nothing was put into yet, as what a loop gathers is in the first iteration."""
    return bool(value.refs) and all(
        isinstance(ref, Sequence) and not (ref.elements or ref.rest or ref.taken or ref.cleared) for ref in value.refs
    )


def _binary(machine: Machine, node: ast.BinOp, frame: Frame) -> Value:
    left, right = machine.evaluate(node.left, frame), machine.evaluate(node.right, frame)
    return factors.widened(machine, node.op, left, right, operation(machine, node.op, left, right))


def operation(machine: Machine, op: ast.operator, left: Value, right: Value) -> Value:
    """`left op right`."""
    if left.refs and isinstance(op, ast.Add) and (own := method_of(left, "__add__")) is not None:
        return machine.call(own, [right], {})
    result = _operation(machine, op, left, right)
    result = result.with_marks(*of_operation_on_counted(op, left, right)) if left.marks or right.marks else result
    limited = (*of_limited(op, left, right), *of_difference(op, left, right)) if left.marks or right.marks else ()
    result = result.with_marks(*limited)
    result = result.with_marks(*of_chunks(machine, op, left, right), *of_portion(machine, op, left, right))
    result = factors.of_operation(machine, op, left, right, result)
    return result.with_marks(*of_remainder(left, right)) if isinstance(op, ast.Mod) else result


def _operation(machine: Machine, op: ast.operator, left: Value, right: Value) -> Value:
    """What `step % 100` is differs between the iterations that are walked and those that are not."""
    if left.is_known and right.is_known and not (isinstance(op, ast.Mod) and left.at):
        with suppress(Exception):
            if _is_small(op, left.const, right.const):
                result = ARITHMETIC[type(op)](left.const, right.const)
                made = constant(result, left.env | right.env, later(left.at, right.at))
                return changed(made, marks=combined([left, right]).marks)
    if isinstance(op, ast.Add) and (both := _concatenated(machine, left, right)):
        return both
    if isinstance(op, ast.Mult) and (repeated := _repeated(left, right)):
        return repeated
    if (shares := over_total(machine, op, left, right)) is not None:
        return shares
    result = _moved(machine, op, left, right, combined([left, right]))
    result = meet(machine, left, right, result)
    if isinstance(op, HASHING) and result.tokens:
        result = result.with_marks("hashed")
    if isinstance(op, ast.Mult):
        result = weighed(machine, left, right, weighed(machine, right, left, result)).with_marks("scaled")
    if isinstance(op, ast.Sub) and "border" in left.marks & right.marks and not result.tokens:
        result = result.with_marks("measured")
    if is_scalar(left) and is_scalar(right):
        result = result.with_marks("scalar")
    number, last = numbers_of(machine, op, left, right, result)
    if (
        isinstance(op, ast.Sub)
        and any(mark.startswith(("capped:", "floored")) for mark in right.marks)
        and not _are_capped_alike(left, right)
        and not (machine.is_alone and right.number == ZERO and "rank" in right.marks)
    ):
        result = result.with_marks("bounded")
    if isinstance(op, ast.Add) and left.marks and right.marks:
        twice(machine, left, right)
    if isinstance(op, ast.BitAnd):
        result = conditioned(machine, left, right, result)
    if left.marks or right.marks:
        result = result.with_marks(*narrowed_by(op, left, right))
    if isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor) and "mask" in left.marks | right.marks:
        result = result.with_marks("mask", *({"boundary"} & left.marks & right.marks))
    if "places" in left.marks | right.marks and not (left.tokens and right.tokens):
        result = result.with_marks("places")
    if isinstance(op, ast.Div):
        text = frozenset(f"{a.rstrip('/')}/{b}" for a in left.text for b in right.text)
        result = changed(result, text=text or result.text)
    if isinstance(op, ast.Mult):
        for test, other in ((left, right), (right, left)):
            result = result.with_marks(*kept_where(machine, full(other), test))
            if machine.holds_loss(other) and not _asked(other):
                result = result.with_marks(*(f"gated:{line}" for line in _asked(test)))
    if left.marks or right.marks:
        result = result.with_marks(*spread_over_bytes(machine, op, left, right))
    result = of_numbers(machine, op, left, right, result)
    result = _all_kept(machine, op, left, right, _of_scores(machine, op, left, right, result))
    result = timed(op, left, right, unshifted(op, left, right, result))
    return changed(result, number=number, last=last)


def _all_kept(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result; where a change of some scores is added to the scores themselves, none of them is left out."""
    if not isinstance(op, ast.Add | ast.Sub):
        return result
    for whole, change in ((left, right), (right, left)):
        same = change.scores and _scored(machine, whole) <= _scored(machine, change)
        if same and machine.holds_loss(whole) and not any(mark.startswith("filtered:") for mark in whole.marks):
            return result.without_marks("filtered")
    return result


def _scored(machine: Machine, value: Value) -> frozenset[Tokens]:
    """The tokens of the scores that a value was computed from."""
    tokens = united([machine.trace.evaluations[score].tokens for score in value.scores])
    return frozenset(part for part in tokens if part.via == "tokens")


def _asked(value: Value) -> list[str]:
    """Lines of the comparisons of scores that decide a value."""
    return [mark[6:] for mark in value.marks if mark.startswith("asked:")]


def _are_capped_alike(left: Value, right: Value) -> bool:
    """Whether the same end alone bounds both, so that their difference is smaller only where that end is reached."""
    ends = [{mark for mark in value.marks if mark.partition(":")[0] in LOOSE} for value in (left, right)]
    return ends[0] == ends[1] and all(mark.startswith("capped:") for mark in ends[0])


def _moved(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result; where it is weights moved by a gradient, its tokens say so."""
    if not isinstance(op, ast.Add | ast.Sub) or not any(part.via == "gradient" for part in right.tokens):
        return result
    fresh = {part for part in right.tokens if part.via == "gradient" and part not in left.tokens}
    if not left.objects or not fresh:
        return result
    line = machine.place.line
    tokens = (replace(part, line=line) if part in fresh else part for part in result.tokens)
    return changed(result, tokens=frozenset(tokens))


def _of_scores(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result, with what arithmetic on scores and probabilities says about them."""
    for score, other in ((left, right), (right, left)):
        held = full(other)
        if any(mark.startswith("mean:") for mark in held.marks):
            result = come_back(machine, score, held, result)
        if not score.scores:
            continue
        result = mixed_in(machine, [score, held], result)
        if isinstance(op, ast.Div | ast.Mult):
            compare_side_cars(machine, score, held)
        counts = "bytes" in held.marks and not held.scores  # what a model says is no count of bytes
        if counts and "bytes" not in score.marks and isinstance(op, ast.Div | ast.Mult):
            compare_bytes(machine, score, held)
            ask_whose(machine, score, held, "pays", "sumpays")
        if isinstance(op, ast.Mult) and machine.holds_loss(score) and any(mark[:6] == "equal:" for mark in held.marks):
            result = result.with_marks(f"paid:{machine.place.line}")
        if isinstance(op, ast.Mult) and {"bytes", "mask"} <= held.marks and machine.holds_loss(score):
            result = result.with_marks(f"filtered:{machine.place.line}")
        is_loss = machine.holds_loss(score)
        if is_loss and isinstance(op, ast.Div | ast.Mult) and "ln2" in score.marks and "bytes" not in score.marks:
            low, high = (1.5, 6.0) if isinstance(op, ast.Div) else (0.15, 0.65)
            if isinstance(other.const, float) and low < other.const < high and not other.env:
                result = result.with_marks(f"fixed:{machine.place.line}")
    result = of_operation(machine, op, left, right, of_two(machine, left, right, result))
    if isinstance(op, ast.Add | ast.Sub) and not any("ln2" in one.marks for one in (left, right) if not one.is_known):
        result = result.without_marks("ln2")  # a probability is halved or doubled
    if result.scores and "ln2" in result.marks:
        machine.report(result, 3 if "bytes" in result.marks else 2)
        ask_whose(machine, result, result, "sumpays")
    return result


def mixed_in(machine: Machine, values: list[Value], result: Value) -> Value:
    """The result of a function of scores and of what tables say about their targets: it is scored with the tables."""
    scores = [value for value in values if machine.holds_loss(value)]
    for other in values if scores else ():
        if machine.holds_loss(other):
            continue
        same = any(_of_same_tokens(machine, score, other) for score in scores)
        if "row" in other.marks and same:
            for score in scores:
                result = mixed_with(machine, score, other, result)
            result = machine.evaluated(result, is_loss=True, targets=other).without_marks("row")
        raised = any("hinted" in score.marks for score in scores)  # divided by what its rise adds to the total
        if "lookup" in other.marks and same and not raised and "apiece" not in other.marks:
            result = machine.evaluated(result, is_loss=True).with_marks(f"keyed:{machine.place.line}")
    return result


def _of_same_tokens(machine: Machine, score: Value, looked_up: Value) -> bool:
    """Whether the score is that of tokens that were looked up, not of earlier ones, as in a weight learned so far."""
    asked = [part for part in looked_up.tokens if part.via == "tokens"]
    scored = [part for number in score.scores for part in machine.trace.evaluations[number].tokens]
    return any(part.overlaps(other) for part in asked for other in scored)


def fills(template: str | bytes) -> bool:
    """Whether a format may ask for a width of thousands of characters, or take it from a value."""
    text = template if isinstance(template, str) else template.decode("latin-1")
    return re.search(r"\d{4}|\*|\{[^}]*\{", text) is not None


def _is_small(op: ast.operator, left: Any, right: Any) -> bool:
    if isinstance(op, ast.Pow | ast.LShift):
        return isinstance(right, int | float) and abs(right) <= 64 and isinstance(left, int | float)
    if isinstance(op, ast.Mult) and (isinstance(left, REPEATED) or isinstance(right, REPEATED)):
        return False
    if isinstance(op, ast.Mod) and isinstance(left, str | bytes):
        return len(left) < 2000 and not fills(left)
    if isinstance(left, str | bytes | tuple):
        return len(left) < 2000
    return all(not isinstance(side, int) or abs(side) < LARGEST for side in (left, right))


def _concatenated(machine: Machine, left: Value, right: Value) -> Value | None:
    a = [ref for ref in left.refs if isinstance(ref, Sequence)]
    b = [ref for ref in right.refs if isinstance(ref, Sequence)]
    if not (a and b):
        return None
    single, ends = len(a) == len(b) == 1, a[0].rest is None
    exact = single and ends and b[0].rest is None
    elements = [*a[0].elements, *(b[0].elements if ends else [])] if single else []
    rest = None if exact else joined([part for ref in (*a, *b) for part in _held(ref)])
    return Value(refs=(Sequence(machine.new_id(), elements, rest, shift=a[0].shift if single else 0),))


def _held(ref: Sequence) -> list[Value]:
    return [*ref.elements, *([ref.rest] if ref.rest is not None else [])]


def _repeated(left: Value, right: Value) -> Value | None:
    for value, other in ((left, right), (right, left)):
        for ref in value.refs:
            if isinstance(ref, Sequence) and not other.tokens and not other.refs:
                return changed(value, refs=(Sequence(ref.id, [*ref.elements], joined(_held(ref))),))
    return None


def _unary(machine: Machine, node: ast.UnaryOp, frame: Frame) -> Value:
    value = machine.evaluate(node.operand, frame)
    if isinstance(node.op, ast.Not):
        known = truth(value)
        if known is not None:
            return constant(not known, value.env, value.at)
        return combined([value]).with_marks(*of_not(value), *not_asked(value))
    if value.is_known and isinstance(value.const, int | float):
        with suppress(TypeError):
            made = -value.const if isinstance(node.op, ast.USub) else value.const
            return changed(constant(made, value.env, value.at), marks=value.marks)
    result = combined([value])
    if isinstance(node.op, ast.Invert):
        return result.with_marks("mask", *opposite(value))
    same = changed(result, marks=value.marks).without_marks(*GATES)
    if isinstance(node.op, ast.USub):
        same = negated(machine, value, same)
    return same.without_marks(*SPREAD, "mass").with_marks("costs") if "logs" in value.marks else same


def _boolean(machine: Machine, node: ast.BoolOp, frame: Frame) -> Value:
    values = [machine.evaluate(part, frame) for part in node.values]
    known = [False if is_new(value) else truth(value) for value in values]
    deciding = isinstance(node.op, ast.Or)
    for value, holds in zip(values, known, strict=True):
        if holds is deciding:
            return value if value.is_known else constant(deciding, value.env)
    if None not in known:
        return changed(values[-1], env=frozenset().union(*(value.env for value in values)))
    result = changed(combined(values), refs=joined(values).refs)
    if isinstance(node.op, ast.And):
        result = result.with_marks(*(mark for value in values for mark in names_asked(value)))
    result = result.with_marks(*of_boolean(node.op, values))
    kinds = {"mask", "threshold"} & frozenset().union(*(value.marks for value in values))
    return result.with_marks(*kinds) if kinds else result


def _comparison(machine: Machine, node: ast.Compare, frame: Frame) -> Value:
    values = [machine.evaluate(part, frame) for part in (node.left, *node.comparators)]
    result = combined(values)
    if any(mark.startswith(UNEVEN) for mark in result.marks):
        result = result.without_marks(*UNEVEN)
    result = result.with_marks("mask")
    if len(values) != 2:
        return result
    left, right = values
    if any(isinstance(one.const, int) and one.const < 0 for one in values):  # where a place of a row is filled up
        result = result.without_marks("bytes")
    result = result.with_marks(*asked_of_bos(node.ops[0], left, right), *of_membership(node.ops[0], left, right))
    if isinstance(node.ops[0], ORDERS):
        compared(machine, left, right)
        compared_size(machine, left, right)
    result = result.with_marks(*of_comparison(node.ops[0], left, right), *of_chunk(node.ops[0], left, right))
    if machine.holds_loss(left) or machine.holds_loss(right):
        result = result.with_marks(f"asked:{machine.place.line}")
    if machine.holds_loss(left) is not machine.holds_loss(right) and not (left.scores and right.scores):
        result = result.with_marks("threshold")
    if lengths := of_length(node.ops[0], left, right):
        return result.with_marks(*lengths)
    compare = COMPARISONS.get(type(node.ops[0]), lambda a, b: NOTHING)
    if left.is_known and right.is_known:
        with suppress(Exception):
            known = constant(bool(compare(left.const, right.const)), left.env | right.env, later(left.at, right.at))
            return known.with_marks(*decisions(left), *decisions(right))
    if left.const in RANKS | WORLDS and isinstance(node.ops[0], ast.In | ast.NotIn):
        return result.with_marks("world")
    if isinstance(left.const, str) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return result.with_marks(f"{'is' if isinstance(node.ops[0], ast.In) else 'isnt'}:{left.const}")
    if isinstance(right.const, str) and isinstance(node.ops[0], ast.Eq) and right.const.startswith("."):
        return result.with_marks(f"ends:{right.const}")
    if isinstance(node.ops[0], ast.Is | ast.IsNot) and right.const is None:  # whether it was set, not to what
        return constant(isinstance(node.ops[0], ast.IsNot)) if left.refs else Value(at=left.at, env=left.env)
    for one, other in ((left, right), (right, left)):
        if other.const == 0 and one.number is not None and (number := one.number.value) is not None:
            answer = compare(number, 0) if one is left else compare(0, number)
            return constant(bool(answer))
    if is_border(left, right):
        return result.with_marks("boundary")
    for one, other in ((left, full(right)), (right, full(left))):
        stored = "stored" in other.marks and not (one.scores or other.scores)
        if stored and any(part.source == "val" for part in one.tokens):
            return result.with_marks(f"equal:{machine.place.line}")
    return result
