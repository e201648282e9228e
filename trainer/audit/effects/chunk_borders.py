"""Windows that are filed under chunks of the text: is each target scored before the chunk that holds it is learned?

A window that ends behind the border of two chunks scores targets of both. Where it is filed under the later chunk, the
earlier one is learned before. Followed are numbers that a range with a known stride counts: `grid:O:S` marks a number
that is O more than a multiple of the stride S, `edge:O:S` what was computed from such a number, `cell:O:S:C` the
number of the chunk of C tokens that holds it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Evaluation, Filing, Trace
from trainer.audit.facts.values import Value

MOST_STEPS = 10_000
Grid = tuple[int, int]


def counted_by(start: Value, step: Value) -> tuple[str, ...]:
    """The marks of what `range(start, ..., step)` counts."""
    first = start.const if isinstance(start.const, int) else None
    if first is None or not isinstance(step.const, int) or step.const < 1:
        return ()
    return _marks(first, step.const)


def _marks(first: int, step: int) -> tuple[str, ...]:
    return (f"grid:{first}:{step}", *([f"edge:{first}:{step}"] if step > 1 else []))


def _grid(value: Value) -> Grid | None:
    """What a number is more than multiples of a stride, and the stride; None if that is not known."""
    found = [mark for mark in value.marks if mark.startswith("grid:")]
    if len(found) != 1:
        return None
    _, first, step = found[0].split(":")
    return int(first), int(step)


def of_operation(op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of a counted number plus, minus, times or divided by a known one."""
    for one, other in ((left, right), (right, left)):
        grid = _grid(one) if one.marks and isinstance(other.const, int) and not isinstance(other.const, bool) else None
        if grid is None:
            continue
        first, step = grid
        if isinstance(op, ast.Add):
            return _marks(first + other.const, step)
        if isinstance(op, ast.Sub) and one is left:
            return _marks(first - other.const, step)
        if isinstance(op, ast.Mult) and other.const > 0:
            return _marks(first * other.const, step * other.const)
        if isinstance(op, ast.FloorDiv) and one is left and other.const > 1 and step > 1:
            return (f"cell:{first}:{step}:{other.const}",)
    return ()


def kept(*values: Value) -> tuple[str, ...]:
    """The marks of the one counted number among these, as of `min(start + length, total)` and `int(number)`."""
    marks = {mark for value in values for mark in value.marks if mark.startswith(("grid:", "cell:"))}
    return tuple(marks) if len(marks) == 1 else ()


def edges(values: Iterable[Value | None]) -> tuple[str, ...]:
    """The marks that say from which counted numbers the ends of a slice were computed."""
    return tuple(
        mark for value in values if value is not None and value.marks for mark in value.marks if mark[:5] == "edge:"
    )


def cells(index: Value) -> tuple[str, ...]:
    """The marks of the list that is found by the number of a chunk."""
    return tuple(mark for mark in index.marks if mark.startswith("cell:")) if index.marks else ()


def of_comparison(op: ast.cmpop, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of a condition that a window is of the chunk that a loop goes through."""
    for one, other in ((left, right), (right, left)):
        if isinstance(op, ast.Eq) and (_grid(other) or (0, 0))[1] == 1 and (found := cells(one)):
            return found
    return ()


def filed(machine: Machine, under: Value, window: Value) -> None:
    """Remembers by which of its targets a window is filed under a chunk."""
    found, grid = cells(under), _grid(window)
    if len(found) == 1 and grid is not None:
        first, step, size = (int(part) for part in found[0].split(":")[1:])
        if step == grid[1]:
            machine.trace.filings.append(Filing(machine.place, grid[0], step, size, first - grid[0]))


@dataclass(frozen=True)
class Late:
    """Windows that are filed under a later chunk than that of some of their targets."""

    filing: Filing
    score: Evaluation
    learned: Evaluation
    targets: int
    """The most targets that such a window scores of the chunk before."""


def late_windows(trace: Trace, scored: Sequence[Evaluation]) -> Iterator[Late]:
    """Filed windows some of whose targets were learned with an earlier chunk than the one they are scored with."""
    for filing in trace.filings:
        for score in scored:
            ends = [first for first, step in _edges_of(score) if step == filing.step]
            length = max(ends, default=0) - 1 - filing.start
            late = _most_late(filing, length)
            for learned in _learned_after(trace, score) if late else ():
                if (targets := late - _left_over(learned, filing, length)) > 0:
                    yield Late(filing, score, learned, targets)
                    return


def _edges_of(score: Evaluation) -> set[Grid]:
    return {
        (int(first), int(step)) for first, step in (mark.split(":")[1:] for mark in score.marks if mark[:5] == "edge:")
    }


def _most_late(filing: Filing, length: int) -> int:
    """The most targets of the chunk before that a window scores under its chunk; it scores its last `step` ones."""
    step, size = filing.step, filing.size
    if not step <= length <= size or filing.delta >= size:
        return 0
    most = 0
    for number in range(1, min(step // math.gcd(step, size), MOST_STEPS) + 1):
        border = (number + 1) * size
        low = border - filing.delta  # the first start that is filed behind the border
        start = low + (filing.start - low) % step
        most = max(most, border - (start + length - step))
    return most


def _learned_after(trace: Trace, score: Evaluation) -> Iterator[Evaluation]:
    """Losses that were learned from behind a score, in the same iteration of the same loop."""
    around = set(score.loops[:1])
    steps = [update.time for update in trace.updates if update.kind != "table" and around & {*update.loops}]
    for one in trace.evaluations.values():
        together = one.is_loss and one.with_gradient and one.time > score.time and around & {*one.loops}
        if together and any(time > one.time for time in steps):
            yield one


def _left_over(learned: Evaluation, filing: Filing, length: int) -> int:
    """How many targets at the end of a chunk are not learned: all, where it is not learned from its start to its end.

    It is learned in rows as long as a window: as many as fit, or those that begin before a place near its end.
    """
    found = _edges_of(learned)
    own = {first for first, step in found if step == filing.size}
    if not {0, filing.size} <= own or min(own) < 0 or any(step == filing.step for _, step in found):
        return filing.size
    before = max((first for first in own if filing.size - 2 * length < first < filing.size), default=filing.size)
    rows = -(-before // length) if before < filing.size else filing.size // length
    return filing.size - rows * length
