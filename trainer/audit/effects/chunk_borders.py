"""Windows that are filed under chunks of the text: is each target scored before the chunk that holds it is learned?

A window that ends behind the border of two chunks scores targets of both. Where it is filed under the later chunk, the
earlier one is learned before. Followed are numbers that a range with a known stride counts: `grid:O:S` marks a number
that is O more than a multiple of the stride S, `edge:O:S` what was computed from such a number, `cell:O:S:C` the
number of the chunk of C tokens that holds it, `span:N` how far two such numbers lie apart, and `under:K` what comes
from the windows that are filed under chunk K.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Evaluation, Filing, Trace, Update
from trainer.audit.facts.values import Sequence as Listed
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
        grid, by = _grid(one) if one.marks else None, _integer(other)
        if grid is None or by is None:
            continue
        first, step = grid
        if isinstance(op, ast.Add):
            return _marks(first + by, step)
        if isinstance(op, ast.Sub) and one is left:
            return _marks(first - by, step)
        if isinstance(op, ast.Mult) and by > 0:
            return _marks(first * by, step * by)
        if isinstance(op, ast.FloorDiv) and one is left and by > 1 and step > 1:
            return (f"cell:{first}:{step}:{by}",)
    return _apart(op, left, right)


def _integer(value: Value) -> int | None:
    """A number that is the same for all that is counted; None if it is not known."""
    if isinstance(value.const, int) and not isinstance(value.const, bool):
        return value.const
    spans = [int(mark[5:]) for mark in value.marks if mark.startswith("span:")]
    return spans[0] if len(spans) == 1 else None


def _apart(op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of how far two numbers lie apart that one range counts, as of `min(start + length, total) - start`."""
    if not isinstance(op, ast.Add | ast.Sub):
        return ()
    one, other = _grid(left), _grid(right)
    if one is not None and other is not None and one[1] == other[1] and isinstance(op, ast.Sub):
        difference = left.number.plus(right.number, -1) if left.number and right.number else None
        return (f"span:{one[0] - other[0]}",) if difference and difference.value == one[0] - other[0] else ()
    a, b = _integer(left), _integer(right)
    if a is None or b is None or (left.is_known and right.is_known):
        return ()
    return (f"span:{a + b if isinstance(op, ast.Add) else a - b}",)


def kept(*values: Value) -> tuple[str, ...]:
    """The marks of the one counted number among these, as of `min(start + length, total)` and `int(number)`."""
    marks = {mark for value in values for mark in value.marks if mark.startswith(("grid:", "cell:", "span:"))}
    return tuple(marks) if len(marks) == 1 else ()


def larger_apart(values: Sequence[Value]) -> tuple[str, ...]:
    """The mark of the larger of some numbers that are the same for all that is counted."""
    each = [_integer(value) for value in values]
    known = [number for number in each if number is not None]
    return (f"span:{max(known)}",) if len(known) == len(values) > 1 and any(value.at for value in values) else ()


def edges(values: Iterable[Value | None]) -> tuple[str, ...]:
    """The marks that say from which counted numbers the ends of a slice were computed, and whose windows they cut."""
    marks = (mark for value in values if value is not None and value.marks for mark in value.marks)
    return tuple(mark for mark in marks if mark.startswith(("edge:", "under:")))


def cells(index: Value) -> tuple[str, ...]:
    """The marks of the list that is found by the number of a chunk."""
    return tuple(mark for mark in index.marks if mark.startswith("cell:")) if index.marks else ()


def of_comparison(op: ast.cmpop, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of a condition that a window is of the chunk that a loop goes through."""
    for one, other in ((left, right), (right, left)):
        if isinstance(op, ast.Eq) and (_grid(other) or (0, 0))[1] == 1 and (found := cells(one)):
            number = other.number.value if other.number is not None else None
            return found if number is None else (*found, f"under:{number}")
    return ()


def filed(machine: Machine, under: Value, window: Value) -> None:
    """Remembers by which of its targets a window is filed under a chunk."""
    found, grid = cells(under), _start_of(window)
    if len(found) == 1 and grid is not None:
        first, step, size = (int(part) for part in found[0].split(":")[1:])
        if step == grid[1]:
            machine.trace.filings.append(Filing(machine.place, grid[0], step, size, first - grid[0]))
            machine.trace.filed_lists |= {ref.id for ref in under.refs if isinstance(ref, Listed)}


def _start_of(window: Value) -> Grid | None:
    """The counted number that a window is kept as, or the least of those in the tuple that it is kept as."""
    held = [part for ref in window.refs if isinstance(ref, Listed) and ref.fixed for part in ref.elements]
    found = [grid for one in (window, *held) if (grid := _grid(one)) is not None and grid[1] > 1]
    return min(found) if len({step for _, step in found}) == 1 else None


def filed_under(machine: Machine, found: Value, index: Value) -> tuple[str, ...]:
    """The mark of the windows that are filed under a chunk, taken out of where they are filed by its number."""
    number = index.number.value if index.number is not None else None
    filed_here = any(isinstance(ref, Listed) and ref.id in machine.trace.filed_lists for ref in found.refs)
    return (f"under:{number}",) if filed_here and number is not None else ()


def kept_under(value: Value) -> tuple[str, ...]:
    """The marks of a list that its elements bear too: under which chunk windows are filed, and whose share they are."""
    return tuple(mark for mark in value.marks if mark.startswith(("under:", "share:"))) if value.marks else ()


def under_in(marks: frozenset[str]) -> tuple[str, ...]:
    """Those of some marks that say so."""
    return tuple(mark for mark in marks if mark.startswith("under:"))


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


@dataclass(frozen=True)
class Ahead:
    """Learning, in the iteration that scores the windows of a chunk, from targets that no window up to there scores."""

    filing: Filing
    score: Evaluation
    update: Update
    targets: int


def learned_ahead(trace: Trace, scored: Sequence[Evaluation]) -> Iterator[Ahead]:
    """Learning behind the score of chunks' windows that goes on beyond all that they score."""
    for filing in {filing.place: filing for filing in trace.filings}.values():
        ends = [(end, score) for score in scored if (end := _end_of_chunk(filing, score))]
        for update in trace.updates:
            before = [(end, score) for end, score in ends if update.kind != "table" and _goes_before(score, update)]
            if before:
                last, score = max(before, key=lambda one: one[0])
                if (targets := _end_of(update, score) - 1 - last) > 0:
                    yield Ahead(filing, score, update, targets)


def _goes_before(score: Evaluation, update: Update) -> bool:
    """Whether a score is taken earlier within the same outermost loop."""
    together = bool(score.loops and update.loops) and score.loops[0][0] == update.loops[0][0]
    return together and score.time < update.time


def _end_of_chunk(filing: Filing, score: Evaluation) -> int:
    """Behind which target no window ends that is filed under the chunk of a score; 0 if that is not known."""
    chunks = [int(mark[6:]) for mark in under_in(score.marks)]
    length = max((first for first, step in _edges_of(score) if step == filing.step), default=0) - 1 - filing.start
    if len(chunks) != 1 or length < filing.step:
        return 0
    return (chunks[0] + 1) * filing.size - filing.delta + length


def _end_of(update: Update, score: Evaluation) -> int:
    """Where the validation tokens end that were certainly learned from in the loops around a score; 0: not known."""
    ends, around = [0], {loop for loop, _ in score.loops}
    for part in update.tokens:
        if part.source != "val" or part.via != "tokens" or part.piece or part.low is None or part.high is None:
            continue
        if "low" in part.loose or part.is_rough:
            continue
        if "high" not in part.loose:
            ends.append((part.low if part.is_within else part.high).value or 0)
        if part.reach is not None and part.reach[0] not in around:
            ends.append(part.reach[1].value or 0)
    return max(ends)
