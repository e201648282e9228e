"""How long a script trains and evaluates by its own clock: worth a sentence where its limit is above 600 seconds.

A limit is a comparison of a clock with a number, or with a setting's default, in a loop that trains or scores. Alone it
is no breach: a setting or the log may say otherwise, and 0 mostly means that there is no limit. Where training takes
all the seconds, none is left for calibration on training tokens, nor for more training.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from itertools import islice

from trainer.audit.facts.machine import Keywords, Machine
from trainer.audit.facts.trace import Event, Limit, Trace
from trainer.audit.facts.values import Value

MOST_S = 600
"""Seconds of training, and of evaluation apart (docs/recipe.md 1.1)."""
SECONDS, MILLISECONDS = "clock:1", "clock:1000"


def clock(machine: Machine, arguments: object, keywords: Keywords) -> Value:
    """`time.perf_counter()` and its like."""
    return machine.elsewhere(Value(marks=frozenset([SECONDS])))


def timed(op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result of arithmetic on clocks: a difference is a time too, a share or a rate is none."""
    unit = {mark for mark in left.marks | right.marks if mark.startswith("clock:")}
    plain = result.without_marks("clock")
    if isinstance(op, ast.Sub) and unit and not unit & left.marks:  # what is left of a limit begins a phase, ends none
        return plain
    if not unit or isinstance(op, ast.Add | ast.Sub):
        return result
    factor = right.const if unit & left.marks else left.const
    if factor == 1000 and isinstance(op, ast.Mult) and unit == {SECONDS}:
        return plain.with_marks(MILLISECONDS)
    if factor == 1000 and isinstance(op, ast.Div) and unit == {MILLISECONDS} & left.marks:
        return plain.with_marks(SECONDS)
    return plain


def compared(machine: Machine, left: Value, right: Value) -> None:
    """Notes a comparison of a clock with a number of seconds."""
    for one, other in ((left, right), (right, left)):
        units = {int(mark[6:]) for mark in one.marks if mark.startswith("clock:")}
        if len(units) == 1 and isinstance(other.const, int | float) and not isinstance(other.const, bool):
            machine.trace.limits.append(Limit(seconds=other.const / units.pop(), **machine.where()))


def remarks(trace: Trace, scored: Iterable[Event]) -> Iterator[str]:
    """What a script's clock allows beyond the budgets, by the least limit of each loop."""
    for what, events in (("training", _trained(trace)), ("evaluation", list(scored))):
        least = _least(trace, what, events)
        if least is not None and least.seconds > MOST_S:
            yield (
                f"line {least.place.line}: {what} may take {least.seconds:,.0f} seconds at the defaults, more than "
                f"{MOST_S} (E16): a setting or the log must show less"
            )


def calibrated_late(trace: Trace) -> Iterator[tuple[Event, Limit]]:
    """Where training tokens are looked at after training that a clock of all the seconds ends; and that clock."""
    trained = _trained(trace)
    if (clock_of_all := _takes_all(trace, trained)) is not None:
        end = max(event.time for event in trained)
        yield from ((event, clock_of_all) for event in trace.calibrated[:1] if event.time > end)


def trained_late(trace: Trace) -> Iterator[tuple[Event, Limit]]:
    """Where training goes on, by no clock, after training that a clock of all the seconds ended; and that clock."""
    trained = _trained(trace)
    if (clock_of_all := _takes_all(trace, trained)) is None:
        return
    end = max(update.time for update in trained if _shared(clock_of_all, update))
    timed = [one for one in trace.limits if not one.off]
    late = (one for one in trained if one.time > end and not (one.off or any(_shared(limit, one) for limit in timed)))
    yield from ((update, clock_of_all) for update in islice(late, 1))


def _takes_all(trace: Trace, trained: list[Event]) -> Limit | None:
    """The clock that ends training, if it leaves less than a second of the budget."""
    least = _least(trace, "training", trained)
    return least if least is not None and MOST_S - 1 < least.seconds <= MOST_S else None


def _trained(trace: Trace) -> list[Event]:
    return [update for update in trace.updates if any(part.source == "train" for part in update.tokens)]


def _least(trace: Trace, what: str, events: Iterable[Event]) -> Limit | None:
    """The lowest limit of the loops that train or score; what begins in the first half of training ends none."""
    loops = {loop for event in events for loop, _ in event.loops}
    limits = [one for one in trace.limits if not one.off and loops & dict(one.loops).keys()]
    limits = [one for one in limits if one.seconds > (MOST_S / 2 if what == "training" else 0)]
    if what == "evaluation":
        limits = [one for one in limits if not any(_shared(one, event) for event in _trained(trace))]
    return min(limits, key=lambda one: one.seconds, default=None)


def _shared(one: Event, other: Event) -> bool:
    return bool(dict(one.loops).keys() & dict(other.loops).keys())
