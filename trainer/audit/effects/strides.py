"""Which windows that a loop counts follow one another: not those of which a remainder or a step leaves some out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Evaluation, Guard, Reported, Trace
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.facts.values import Value, changed


def of_remainder(left: Value, right: Value) -> tuple[str, ...]:
    """The mark of a counter's remainder, as `start % length`; where ranks take turns, all windows are some rank's."""
    counts = left.at and not (left.tokens or left.scores)
    return ("remainder",) if counts and "world" not in right.marks else ()


def of_difference(op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of `length - stride`: so many places before the end of a window that a counter begins."""
    counted = isinstance(op, ast.Sub) and any(mark.startswith("edge:") for mark in left.marks)
    known = type(right.const) is int and right.const > 1 and not left.is_known
    return (f"back:{right.const}",) if counted and known else ()


def kept_back(values: Iterable[Value]) -> Iterator[str]:
    """What `max(length - stride, 0)` keeps."""
    return (mark for value in values for mark in value.marks if mark.startswith("back:"))


def of_scored(machine: Machine, base: Value, low: Value | None, high: Value | None) -> tuple[str, ...]:
    """The mark of `losses[low:]` or `targets[low:]`, fewer than windows are apart."""
    edges = [mark.split(":") for mark in base.marks if mark.startswith("edge:")]
    steps, firsts = {int(step) for *_, step in edges}, [int(first) for _, first, _ in edges]
    if low is None or len(steps) != 1:
        return ()
    length = max(firsts) - min(firsts) - 1
    whole = high is None or type(high.const) is not int or high.const >= length
    backs = {int(mark[5:]) for mark in low.marks if mark.startswith("back:")}
    begins = low.const if type(low.const) is int else most_of(low)
    if not backs and 1 < begins < length and whole:
        backs = {length - begins}
    if len(backs) != 1 or (missing := steps.pop() - backs.pop()) <= 1:
        return ()
    name = "gap" if machine.holds_loss(base) else "apart"
    return (f"{name}:{machine.place.line}:{missing}",)


def most_of(end: Value) -> int:
    """The largest of the known numbers that a condition chooses among; 0 if they are not known."""
    return max((int(mark[7:]) for mark in end.marks if mark.startswith("either:")), default=0)


def gap(trace: Trace, report: Reported) -> tuple[int, int] | None:
    """The line whose windows leave targets out, and how many; none where a loop around shifts them, as over ranks."""
    found = [mark.split(":") for mark in sorted(report.marks) if mark.startswith("gap:")]
    losses = (one for number in report.scores if (one := trace.evaluations[number]).is_loss)
    edges = [mark.split(":") for one in losses for mark in one.marks if mark.startswith("edge:")]
    shifts = {int(first) % int(step) for _, first, step in edges}
    if len(found) != 1 or not shifts or max(shifts) - min(shifts) > 1:
        return None
    return int(found[0][1]), int(found[0][2])


def remember(trace: Trace, condition: int, test: Value) -> None:
    """Remembers a condition that a remainder decides."""
    if "remainder" in test.marks:
        trace.by_remainder.add(condition)


def left_out(trace: Trace, loop: int, tests: Iterable[Value]) -> None:
    """What a comprehension keeps by a remainder are no iterations that follow one another."""
    if any("remainder" in test.marks for test in tests):
        trace.counting.pop(loop, None)


def stepped(value: Value, step: Value | None) -> Value:
    """`list[::step]`: its elements do not follow one another, but for ranks that take turns."""
    if step is None or step.const == 1 or "world" in step.marks:
        return value
    value = value.without_marks("rows")
    return changed(value, refs=tuple(_apart(ref) if isinstance(ref, Listed) else ref for ref in value.refs))


def _apart(ref: Listed) -> Listed:
    elements = [part.with_marks("remainder") for part in ref.elements]
    return replace(ref, elements=elements, rest=ref.rest.with_marks("remainder") if ref.rest else None, counted=False)


def appended(trace: Trace, guards: Sequence[Guard], value: Value) -> Value:
    """What a loop puts into a list, where a remainder decides that."""
    return value.with_marks("remainder") if any(guard.condition in trace.by_remainder for guard in guards) else value


def may_skip(trace: Trace, each: Sequence[Evaluation]) -> bool:
    """Whether a remainder decides that these are scored, apart from one that decides over all of them."""
    guards = [frozenset(one.guards) for one in each]
    own = frozenset().union(*guards) - guards[0].intersection(*guards)
    return any(guard.condition in trace.by_remainder for guard in own)
