"""Which windows that a loop counts follow one another: not those of which a remainder or a step leaves some out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trainer.audit.facts.trace import Evaluation, Guard, Trace
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.facts.values import Value, changed


def of_remainder(left: Value, right: Value) -> tuple[str, ...]:
    """The mark of a counter's remainder, as `start % length`; where ranks take turns, all windows are some rank's."""
    counts = left.at and not (left.tokens or left.scores)
    return ("remainder",) if counts and "world" not in right.marks else ()


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
