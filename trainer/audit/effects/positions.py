"""Which positions of its window a score or a byte count is summed over, and whether windows meet without a gap.

Followed are windows whose ends are known by the loop around them, and slices with known ends. Where more is done to the
losses (masks, several slices), nothing is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from trainer.audit.effects.extremes import is_loose
from trainer.audit.effects.rows import by_place, first_of, is_batch, last_of, targets_in, windows_in
from trainer.audit.effects.strides import may_skip, most_of, of_scored
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.slices import Part
from trainer.audit.facts.tokens import DIVIDED, Tokens
from trainer.audit.facts.trace import Evaluation, Place, Reported, Trace
from trainer.audit.facts.values import (
    Value,
    changed,
    is_scalar,
)

ZERO, ONE, TWO = (Polynomial.constant(number) for number in (0, 1, 2))
FEW = 2
"""A slice that leaves out fewer positions at either end is the shift from inputs to targets."""


def partly(machine: Machine, base: Value, result: Value, low: Value | None, high: Value | None) -> Value:
    """`base[low:high]`: the result, which remembers that it is a part of the losses or targets of a window."""
    of_loss = machine.holds_loss(base)
    of_share = "flat" in base.marks and not any(part.is_within for part in result.tokens)
    if not of_loss and (of_share or all(part.is_placed for part in base.tokens)):
        return result.with_marks(f"window:{machine.place.line}") if base.tokens else result
    result = result.with_marks(*of_scored(machine, base, low, high))
    ends = [(side, end) for side, end in ((1, low), (0, high)) if end is not None and not _is_small(end)]
    sides = frozenset((_division(machine, end), side) for side, end in ends)
    if not of_loss and sides:
        tokens = (replace(part, at=part.at | sides) for part in result.tokens)
        result = changed(result, tokens=frozenset(tokens))
    numbers = [end.number if end is not None else None for end in (low, high)]
    if base.scores and not of_loss:  # what a model computed of a window
        return result
    unknown = any(end is not None and end.number is None for end in (low, high))
    sometimes = most_of(low) if high is None and low is not None and low.number is None else 0
    if not unknown and all(number is None or _is_shift(number) for number in numbers):
        return result
    part = Part(
        machine.place.line,
        numbers[0] or ZERO,
        numbers[1],
        unknown,
        of_loss,
        sides,
        sometimes=sometimes,
        is_loose=is_loose(low),
    )
    return _remembered(machine, base, result, part)


def weighed(machine: Machine, base: Value, other: Value, result: Value) -> Value:
    """Losses or bytes times something that is no number, as a mask: which positions are left is not known."""
    counted = machine.holds_loss(base) or "bytes" in base.marks
    if not counted or other.is_known or other.number is not None or machine.holds_loss(other) or "ln2" in other.marks:
        return result
    if is_scalar(other):
        part = Part(machine.place.line, ZERO, None, True, machine.holds_loss(base), by_number=True)
        return _remembered(machine, base, result, part)
    return masked(machine, base, result)


def some_by_one(machine: Machine, value: Value, tests: Collection[Value] = ()) -> Value:
    """Losses that a loop goes through one by one, where conditions choose among them."""
    if not value.at or not machine.holds_loss(value):
        return value
    around = {loop for score in value.scores for loop, _ in machine.trace.evaluations[score].loops}
    through = {loop for loop, _ in value.at} - around
    asked = [machine.trace.depends.get(guard.condition, frozenset()) for guard in machine.guards]
    asked += [frozenset(loop for loop, _ in test.at) for test in tests]
    return masked(machine, value, value) if any(through & loops for loops in asked) else value


def masked(machine: Machine, base: Value, result: Value) -> Value:
    """The result of a mask: which positions are left is not known."""
    part = Part(machine.place.line, ZERO, None, True, machine.holds_loss(base))
    return _remembered(machine, base, result, part)


def sorts_out(machine: Machine, condition: Value) -> bool:
    """Whether a mask depends on what is scored: on losses, or on what kind of token each is."""
    return "bytes" in condition.marks or machine.holds_loss(condition)


def _remembered(machine: Machine, base: Value, result: Value, part: Part) -> Value:
    same = {machine.trace.evaluations[score].loops for score in base.scores}
    scores = base.scores if len(same) == 1 else frozenset()  # of one window, by one model or by several
    number = machine.trace.slices.setdefault((part, scores), len(machine.trace.slices))
    return result.with_marks(f"part:{number}")


def _is_small(end: Value) -> bool:
    return end.number is not None and _is_shift(end.number)


def _division(machine: Machine, end: Value) -> int:
    """A number for a place at which windows are divided."""
    key = (0, end.const if end.is_known else end.number or id(end))
    number, _ = machine.divisions.setdefault(key, (machine.new_id(), end))
    return DIVIDED + number


def counted(trace: Trace, number: int, score: Evaluation) -> Evaluation:
    """The evaluation, of its tokens only the side of a place that is counted, where no report counts another."""
    found: set[Part | None] = set()
    sliced = any(mark.startswith("part:") for mark in score.marks)
    for report in trace.reports:
        if number in report.scores:
            of_it = [part for part, scores in parts_in(trace, report.marks) if part.of_loss and scores == {number}]
            found.add(of_it[0] if len(of_it) == 1 else None)
            sliced = sliced or any(number in scores for _, scores in parts_in(trace, report.marks))
    looked_up = any(part.via == "table" for part in score.tokens)  # by contexts, that are no targets
    if found and not (sliced or looked_up):  # all of its targets
        return replace(score, tokens=_from_start(score.tokens), targets=_from_start(score.targets))
    counted_part = found.pop() if len(found) == 1 else None
    if counted_part is None:
        return score
    sides = counted_part.sides
    own = (replace(part, at=part.at | sides) if part.via == "tokens" else part for part in score.tokens)
    targets = (_from(replace(part, at=part.at | sides), counted_part) for part in score.targets)
    return replace(score, tokens=frozenset(own), targets=frozenset(targets))


def _from_start(parts: Collection[Tokens]) -> frozenset[Tokens]:
    """Windows of which every target is counted."""
    return frozenset(replace(part, counted=part.low) for part in parts)


def _from(targets: Tokens, counted_part: Part) -> Tokens:
    """The targets that are counted: those of a window from the place where a slice of their losses begins."""
    if counted_part.unknown or counted_part.high is not None or targets.low is None:
        return targets
    least = counted_part.low.value
    low = targets.low.plus(counted_part.low) if least is None or least >= 0 else None
    if targets.loose & {"low", "start"} and counted_part.is_loose:  # which both take off
        targets = replace(targets, loose=targets.loose & {"high"})
    return replace(targets, counted=low)


def _is_shift(number: Polynomial) -> bool:
    return number.value is not None and abs(number.value) < FEW


def parts_in(trace: Trace, marks: frozenset[str]) -> Iterator[tuple[Part, frozenset[int]]]:
    """The slices that a value remembers, each with the scores that it was taken of."""
    wanted = {int(mark[5:]) for mark in marks if mark.startswith("part:")}
    return ((part, scores) for (part, scores), number in trace.slices.items() if number in wanted)


def compare_bytes(machine: Machine, score: Value, counted: Value) -> None:
    """Notes where a part of a window's losses is divided by the bytes of all its targets."""
    losses = [part for part, _ in parts_in(machine.trace, score.marks) if not part.by_number]
    left_out = [part for part in losses if _leaves_out(part)]
    not_known = any(part.unknown and not part.sometimes for part in losses)
    if not left_out or not_known or any(mark[:5] == "part:" for mark in counted.marks):
        return
    lines = [int(mark[6:]) for mark in counted.marks if mark.startswith("sized:")]
    of_losses = all(part.of_loss for part in losses)
    if lines and (_same_windows(machine, score, counted) or (of_losses and _whole_rows(machine, score, counted))):
        detail = f"the loss is summed over a part of each window in line {left_out[-1].line}, bytes over all of it"
        machine.note("bytes-miscounted", detail, line=max(lines))


def _same_windows(machine: Machine, score: Value, counted: Value) -> bool:
    """Whether bytes are those of windows that are scored, as told by their ends."""
    windows = {
        (part.piece, part.low, part.high, part.at)
        for number in score.scores
        for part in machine.trace.evaluations[number].tokens
        if part.low is not None and part.high is not None
    }
    return any((part.piece, part.low, part.high, part.at) in windows for part in counted.tokens)


def _whole_rows(machine: Machine, score: Value, counted: Value) -> bool:
    """Whether bytes are those of windows that are scored, as told by the slice of the text that both come from.

    A loop that the score does not depend on may go through the positions of a window.
    """
    of_bytes, of_loss = slices_in(counted), slices_in(score)
    loops = {abs(loop) for part in counted.tokens for loop, _ in part.at}
    scored = [machine.trace.evaluations[number] for number in score.scores]
    around = {loop for one in scored for loop, _ in one.loops}
    around |= {abs(loop) for loop, _ in score.at}
    around |= {abs(loop) for one in scored for part in one.tokens for loop, _ in part.at}
    return bool(of_bytes) and of_bytes == of_loss and loops <= around


def slices_in(value: Value) -> frozenset[str]:
    """The slices of the text that it was computed from."""
    return frozenset(mark for mark in value.marks if mark.startswith("window:"))


def _leaves_out(part: Part) -> bool:
    """Whether a slice certainly leaves positions out, of some windows: from their start or from their end."""
    if part.unknown:
        return part.sometimes >= FEW
    ends = (part.low, part.high)
    low, high = (end.value if end is not None else None for end in ends)
    return (low is not None and abs(low) >= FEW) or (high is not None and high <= -FEW)


@dataclass(frozen=True)
class Seam:
    """Where two windows that follow one another do not meet."""

    place: Place
    missing: int
    """Targets between the two; negative: so many are counted in both."""
    report: Reported


def seams(trace: Trace) -> Iterator[Seam]:
    """Windows of the last score that leave a gap, or count targets twice."""
    if not trace.reports:
        return
    report = trace.reports[-1]
    losses = (number for number in sorted(report.scores) if trace.evaluations[number].is_loss)
    each = [(number, _in_its_row(trace.evaluations[number])) for number in losses]
    for i, (second, two) in enumerate(each):
        yield from _rows(trace, report, second, two)
        for first, one in each[:i]:
            loop = _between(trace, one, two)
            if loop is None:
                continue
            before, after = _extent(trace, report, first, one), _extent(trace, report, second, two)
            if before is None or after is None or before.window == after.window or may_skip(trace, (one, two)):
                continue
            difference = after.low.plus(before.high, -1)
            if difference is not None and difference.value:
                others = [(n, of) for n, of in each if (of.place, of.calls) != (one.place, one.calls)]
                if difference.value > 1 and any(_fills(trace, report, before.high, *other) for other in others):
                    continue
                place = Place(two.place.file, after.line or before.line or trace.counting[loop])
                yield Seam(place, difference.value, report)


def _fills(trace: Trace, report: Reported, gap: Polynomial, number: int, score: Evaluation) -> bool:
    """Whether another score may count what two windows leave out between them: it begins there, or it is not known."""
    extent = _extent(trace, report, number, score)
    apart = extent.low.plus(gap, -1) if extent is not None else None
    return extent is None or (apart is not None and apart.value in (0, 1))


def _in_its_row(score: Evaluation) -> Evaluation:
    """The evaluation; one of a single row of a batch, in a loop that goes through its rows, with that row's tokens."""
    places = {part.at for part in score.tokens if part.source == "val" and part.via == "tokens"}
    laid = {loop for at in places for loop, _ in at ^ next(iter(places)) if loop < DIVIDED}  # that fill in the rows
    read = [(loop, k) for loop, k in score.loops if laid and loop > max(laid)]  # by which they are gone through
    if not read or not all(read[0] in at for at in places):
        return score
    others = {(loop, 1 - read[0][1]) for loop in laid}
    return replace(score, tokens=frozenset(part for part in score.tokens if not part.at & others))


def _rows(trace: Trace, report: Reported, number: int, score: Evaluation) -> Iterator[Seam]:
    """The seam between two windows that are rows of one batch, of which the second follows the first."""
    whole = windows_in(trace, score)
    places = {part.at for part in whole}
    if len(places) != 2:
        return
    first, second = sorted(places, key=sorted)
    loops = {loop for loop, _ in first ^ second}
    if not (loops & trace.counting.keys()) or {k for _, k in first - second} != {0}:
        return
    each = _parts_of(trace, report, number, score)
    if len(each) > 2 or any(part.unknown for part in each):
        return
    each.sort(key=lambda part: part.low.value or 0)  # the first window counts from its start
    rows = [frozenset(part for part in whole if part.at == at) for at in (first, second)]
    asked = by_place(targets_in(trace, score))
    asked = asked if len(asked) == len(places) else [[], []]
    before = _counted_of(rows[0], each[:1], asked[0])
    after = _counted_of(rows[1], each[-1:], asked[1])
    if before is not None and after is not None:
        difference = after.low.plus(before.high, -1)
        if difference is not None and difference.value:
            line = after.line or before.line or next(trace.counting[loop] for loop in loops if loop in trace.counting)
            yield Seam(Place(score.place.file, line), difference.value, report)


def _between(trace: Trace, one: Evaluation, two: Evaluation) -> int | None:
    """The loop of which two evaluations are iterations that follow one another; None if they are not."""
    if (one.place, one.calls) != (two.place, two.calls):
        return None
    mine, theirs = dict(one.loops), dict(two.loops)
    differing = [loop for loop in mine if theirs.get(loop) != mine[loop]]
    loop = differing[0] if len(differing) == 1 else None
    if loop is None or len(mine) != len(theirs) or loop not in trace.counting:
        return None
    return loop if (mine[loop], theirs.get(loop)) == (0, 1) else None


@dataclass(frozen=True)
class _Extent:
    low: Polynomial
    high: Polynomial
    window: Polynomial
    line: int


def _extent(trace: Trace, report: Reported, number: int, score: Evaluation) -> _Extent | None:
    """The targets [low, high) that a score counts of its window, which begins at a token before them."""
    parts = _parts_of(trace, report, number, score)
    if len(parts) > 1 or any(part.unknown for part in parts):
        return None
    windows = windows_in(trace, score)
    return _counted_of(windows, parts, targets_in(trace, score)) if not is_batch(windows) else None


def _parts_of(trace: Trace, report: Reported, number: int, score: Evaluation) -> list[Part]:
    """The different slices of its losses or targets that a report counts."""
    own = set(parts_in(trace, score.marks))
    found = {
        (part.low, part.high, part.unknown): part
        for part, scores in (*parts_in(trace, report.marks), *own)
        if number in scores or (part, scores) in own
    }
    return list(found.values())


def _counted_of(windows: Collection[Tokens], parts: Sequence[Part], targets: Collection[Tokens] = ()) -> _Extent | None:
    """What a slice of a window's losses counts of its targets, or all of them; they may begin late in the window."""
    windows = list(windows)
    if not windows or any(part.piece or part.low is None or part.high is None for part in windows):
        return None
    low, high = windows[0].low, windows[0].high
    for other in windows[1:]:
        assert other.low is not None and other.high is not None and low is not None and high is not None  # noqa: PT018
        low = other.low if low.is_at_least(other.low) else low
        high = other.high if other.high.is_at_least(high) else high
    assert low is not None and high is not None  # noqa: PT018
    first = first_of(targets)
    if first is not None and (late := first.plus(low, -1)) is not None and late.is_at_least(TWO):
        low = first.plus(ONE, -1) or low
    last = last_of(targets)
    if last is not None and (early := high.plus(last, -1)) is not None and early.is_at_least(ONE):
        high = last
    length = high.plus(low, -1)
    length = length.plus(Polynomial.constant(1), -1) if length is not None else None
    if length is None:
        return None
    part = next(iter(parts), None)
    if part is None:
        end = low.plus(length)
        return _Extent(low, end, low, 0) if end is not None else None
    start, stop = _counted_from(part.low, length), _counted_from(part.high, length) if part.high is not None else length
    begin, end = low.plus(start) if start is not None else None, low.plus(stop) if stop is not None else None
    return _Extent(begin, end, low, part.line) if begin is not None and end is not None else None


def _counted_from(end: Polynomial, length: Polynomial) -> Polynomial | None:
    """The end of a slice, counted from the start; None if it is not known from where it counts."""
    if end.is_at_least(ZERO):
        return end
    return length.plus(end) if end.value is not None else None
