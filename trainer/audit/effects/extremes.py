"""Positions that `min` and `max` bound, and sizes of texts that they are bounded by.

The smaller of two positions is one of them where it is certain which, else the one that a loop decides. What bounds it
then is told apart: the end of the text (`capped:PIECE`, 0 for the text itself) or its start (`floored`), which leave
out no token that there is, or anything else (`bounded`).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from trainer.audit.effects.shares_of_ranks import RANKS, WORLDS
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.values import Steps, Value, changed

ZERO = Polynomial.constant(0)
Last = tuple[int, Polynomial] | None
LOOSE = ("bounded", "capped", "floored")
"""Marks of a position that may be smaller or larger than its number says."""


def length_of(machine: Machine, value: Value) -> Polynomial:
    """A number for a size that is known when the script runs; where it is that of a text, its end is remembered."""
    name = f"n{machine.new_id()}"
    pieces = {0 if part.is_text and not part.at else part.piece for part in value.tokens}
    texts = [part for part in value.tokens if part.via == "tokens" and (part.piece or (part.is_text and not part.at))]
    if len(pieces) == 1 and len(texts) == len(value.tokens) and not value.scores:
        machine.trace.text_ends[name] = pieces.pop()
    return Polynomial.unknown(name)


def part_of(machine: Machine, number: Polynomial) -> Polynomial:
    """A number for a quotient that is known when the script runs, as how many chunks a text has."""
    name = f"n{machine.new_id()}"
    if (piece := _end(machine, number)) is not None:
        machine.trace.text_ends[name] = piece
    return Polynomial.unknown(name)


def _end(machine: Machine, number: Polynomial | None) -> int | None:
    """The piece of which a number is the end, or a share of its size; None if it is none."""
    unknown = [(monomial, factor) for monomial, factor in number.terms if monomial] if number is not None else []
    pieces = {
        next((machine.trace.text_ends[name] for name in monomial if name in machine.trace.text_ends), None)
        for monomial, factor in unknown
        if factor > 0
    }
    return pieces.pop() if len(pieces) == 1 and all(factor > 0 for _, factor in unknown) else None


def is_loose(end: Value | None) -> bool:
    """Whether a position may be another than its number says."""
    return end is not None and bool(_marks(end))


def extreme(machine: Machine, arguments: Sequence[Value], result: Value, *, smallest: bool) -> Value:
    """`min(...)` or `max(...)` of positions: the result with the number that it is, or would be unbounded."""
    left = _undecided(arguments, smallest=smallest)
    if len(left) == 1 and left[0].number is not None and len(arguments) > 1:
        own = (mark for mark in left[0].marks if mark.partition(":")[0] in LOOSE)
        return changed(result.without_marks(*LOOSE), number=left[0].number, last=left[0].last).with_marks(*own)
    decided = [value for value in left if value.at] or [value for value in left if value.number is not None]
    number = decided[0].number if decided else None
    if number is None:
        return changed(result, number=None)
    only, others = decided[0], [value for value in left if value is not decided[0]]
    kind = _bound(machine, others, smallest=smallest)
    if not smallest and (number.value or 0) < 0 and any(value.const == 0 for value in others):
        number = ZERO
    last = only.last if kind != "bounded" else _last(only, others) if smallest else None
    return changed(result, number=number, last=last).with_marks(kind)


def _undecided(arguments: Sequence[Value], *, smallest: bool) -> list[Value]:
    """The arguments without those that another one certainly is not above, or for `max` not below."""
    left = list(arguments)
    for value in arguments:
        for other in left:
            if other is value or value.number is None or other.number is None:
                continue
            high, low = (value, other) if smallest else (other, value)
            certain = not (_marks(high) & {"bounded", "capped"} or _marks(low) & {"bounded", "floored"})
            if certain and high.number.is_at_least(low.number):  # type: ignore[union-attr, arg-type]
                left.remove(value)
                break
    return left


def _marks(value: Value) -> set[str]:
    """Which of the marks of a loose position it bears."""
    return {name for mark in value.marks if (name := mark.partition(":")[0]) in LOOSE}


def _bound(machine: Machine, others: Sequence[Value], *, smallest: bool) -> str:
    """The mark of a position that these bound."""
    if smallest:
        pieces = {_end(machine, value.number) for value in others}
        return f"capped:{pieces.pop()}" if len(pieces) == 1 and None not in pieces else "bounded"
    return "floored" if others and all(value.const == 0 and value.is_known for value in others) else "bounded"


def _last(only: Value, others: Sequence[Value]) -> Last:
    """What a bounded position comes to in the last iteration, where the bounds are certainly not below."""
    if only.last is None:
        return None
    certain = all(value.number is not None and value.number.is_at_least(only.last[1]) for value in others)
    return only.last if certain else None


def numbers_of(
    machine: Machine, op: ast.operator, left: Value, right: Value, result: Value
) -> tuple[Polynomial | None, Last]:
    """The number of `left op right`, and the one that it comes to in the last iteration of a range."""
    if left.number is None:
        return None, None
    if isinstance(op, ast.FloorDiv):
        if machine.is_alone and (own := _of_one_process(left.number, right.number)) is not None:
            return own, None
        both = (left.number.value, right.number.value if right.number is not None else None)
        if both[0] is not None and both[1] and not result.tokens:
            return Polynomial.constant(both[0] // both[1]), None
        return (None, None) if result.at or result.tokens else (part_of(machine, left.number), None)
    if right.number is None:
        return None, None
    number = _computed(op, left.number, right.number)
    loop = max(side.last[0] if side.last is not None else 0 for side in (left, right))
    if not loop or (right.last is not None and isinstance(op, ast.Sub)):
        return number, None
    if any("bounded" in side.marks and (side.last is None or side.last[0] != loop) for side in (left, right)):
        return number, None
    ends = (side.last[1] if side.last is not None and side.last[0] == loop else side.number for side in (left, right))
    last = _computed(op, *ends)  # type: ignore[arg-type]
    return number, (loop, last) if last is not None else None


def _of_one_process(left: Polynomial, right: Polynomial | None) -> Polynomial | None:
    """The end of a rank's share, as `count * (rank + 1) // ranks`: what it comes to where there is one process."""
    names = {name for monomial, _ in right.terms for name in monomial} if right is not None else set()
    if right is None or len(right.terms) != 1 or not names or not names <= WORLDS:
        return None
    first = Polynomial.of({monomial: factor for monomial, factor in left.terms if not RANKS & {*monomial}})
    left_over = {name for monomial, _ in first.terms for name in monomial} if first is not None else WORLDS
    return first if first != left and not left_over & WORLDS else None


def _computed(op: ast.operator, left: Polynomial, right: Polynomial) -> Polynomial | None:
    if isinstance(op, ast.Add | ast.Sub):
        return left.plus(right, 1 if isinstance(op, ast.Add) else -1)
    return left.times(right) if isinstance(op, ast.Mult) else None


def last_of(steps: Steps, loop: int) -> Last:
    """What a range that counts upwards comes to at least in its last iteration; None if its end is not known."""
    start, stop, step = steps.start, steps.stop, steps.step.number
    if start.number is None or stop.number is None or step is None or _marks(stop) & {"bounded", "floored"}:
        return None
    last = stop.number.plus(step, -1) if step.is_at_least(Polynomial.constant(1)) else None
    return (loop, last) if last is not None else None


def is_share(part: Tokens) -> bool:
    """Whether it is a slice of the text that no loop decides, as a rank's share."""
    return part.low is not None and not (part.at or part.piece or part.is_within or part.is_placed)


def cut_again(
    part: Tokens, low: Value | None, high: Value | None, bounds: tuple[Polynomial | None, Polynomial | None]
) -> Tokens:
    """The tokens of a slice of a share of the text; it may end before the slice does."""
    moved = [end.plus(part.low) if end is not None and part.low is not None else None for end in bounds]
    if None in moved:
        return part
    cut = cut_to(part, low, high, (moved[0], moved[1]), is_placed=True)
    last = cut.reach[1].plus(part.low) if cut.reach is not None and part.low is not None else None
    reach = (cut.reach[0], last) if cut.reach is not None and last is not None else None
    return replace(cut, is_bounded=True, reach=reach)


def cut_to(
    part: Tokens,
    low: Value | None,
    high: Value | None,
    bounds: tuple[Polynomial | None, Polynomial | None],
    *,
    is_placed: bool,
) -> Tokens:
    """The tokens of a slice between these bounds: of its ends, those that the text has are no loss."""
    loose = []
    for name, end in (("low", low), ("high", high)):
        capped = {mark for mark in end.marks if mark.startswith("capped:")} if end is not None else set()
        if end is not None and ("bounded" in end.marks or capped - {f"capped:{part.piece}"}):
            loose.append(name)
    if low is not None and "floored" in low.marks:
        loose.append("start")
    return replace(
        part,
        low=bounds[0],
        high=bounds[1],
        reach=high.last if high is not None else None,
        is_bounded=is_placed and (part.is_bounded or any(_marks(end) for end in (low, high) if end is not None)),
        is_within=part.is_within and is_placed,
        loose=part.loose | {*loose},
    )
