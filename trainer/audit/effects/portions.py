"""Portions of a text or of a list of windows, of which the rest is not scored: halves, every second, by a clock.

`portion:LINE:RATIO:OF` is borne by a number that is so large a part of a size (`len(windows) // 2`) and by the list
that it or a step cuts out (`windows[: len(windows) // 2]`, `windows[::2]`). How much each rank takes is no portion.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.tokens import DIVIDED, Tokens
from trainer.audit.facts.trace import Evaluation, Few, Reported, Trace
from trainer.audit.facts.values import Sequence, Steps, Value, is_text

WHOLE = 0.999
"""A portion that comes to more is a text without its last window."""
FEW = 1e-6
"""A portion so small that it does not matter how long windows are; also what a clock leaves."""
NO_LIMIT_S = 100_000
"""A longer limit of a clock stands for none."""
LONG = 16_384
"""Chunks of so many tokens are no sequences of a model: a number from here on is their size, not a part of a text."""
OF_RANKS = frozenset({"rank", "world", "itself"})


class Portion(NamedTuple):
    """How much of a text or a list a value is, and the line that says so."""

    line: int
    ratio: float
    of: str
    """'text'; 'list', or 'rest' of a list behind its first part; 'chunks', of which the last is left out."""


def portion_of(value: Value) -> Portion | None:
    """What the value's mark says."""
    found = (mark.split(":") for mark in value.marks if mark.startswith("portion:"))
    return min((Portion(int(line), float(ratio), of) for _, line, ratio, of in found), default=None)


def _marked(line: int, ratio: float, of: str) -> tuple[str, ...]:
    return (f"portion:{line}:{ratio:.6g}:{of}",) if 0 < ratio < WHOLE else ()


def ends_in_time(left: Value, right: Value) -> bool:
    """Whether a clock is compared with a number of seconds."""
    for one, other in ((left, right), (right, left)):
        if any(mark.startswith("clock:") for mark in one.marks) and isinstance(other.const, int | float):
            return 0 < other.const < NO_LIMIT_S
    return False


def by_clock(line: int) -> Few:
    """A loop that a clock ends."""
    return Few(line, 0, 0, False, False, FEW, "a clock ends the loop that scores")


def few(line: int) -> tuple[str, ...]:
    """The mark of a list of so few windows or documents that most are left out."""
    return _marked(line, FEW, "list")


def _size_of(machine: Machine, value: Value) -> Portion | None:
    """All of the text, or of a list of unknown length, whose size a value is."""
    if (portion := portion_of(value)) is not None:
        return portion if portion.of != "chunks" else None
    if "size" in value.marks:
        return Portion(machine.place.line, 1.0, "list")
    terms = dict(value.number.terms) if value.number is not None and not value.marks & OF_RANKS else {}
    terms.pop((), None)
    if len(terms) == 1:
        monomial, factor = next(iter(terms.items()))
        if factor == 1 and len(monomial) == 1 and machine.trace.text_ends.get(monomial[0]) == 0:
            return Portion(machine.place.line, 1.0, "text")
    return None


def of_operation(machine: Machine, op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of `size // 2`, `size * 0.9`, and of what is computed from such a portion."""
    if isinstance(op, ast.FloorDiv) and _rounds_up(machine, left, right):
        return ("chunks",)
    if isinstance(op, ast.Sub) and "chunks" in left.marks and type(right.const) is int and right.const > 0:
        return _marked(machine.place.line, FEW, "chunks")
    of_left, of_right = _size_of(machine, left), _size_of(machine, right)
    part, other = (of_left, right) if of_left is not None else (of_right, left)
    number = other.const
    if part is None or other.marks & OF_RANKS or not isinstance(number, int | float) or isinstance(number, bool):
        return ()
    if isinstance(op, ast.Add) or (isinstance(op, ast.Sub) and part is of_left):
        return _marked(*part)
    if isinstance(op, ast.Mult) and 0 < number < LONG:
        return _marked(part.line, part.ratio * number, part.of)
    is_divided = isinstance(op, ast.FloorDiv | ast.Div) and part is of_left
    return _marked(part.line, part.ratio / number, part.of) if is_divided and 0 < number < LONG else ()


def _rounds_up(machine: Machine, total: Value, size: Value) -> bool:
    """Whether `total // size` is how many chunks a text has, the last one, which may be shorter, included."""
    if type(size.const) is not int or size.const < LONG or total.number is None:
        return False
    more = dict(total.number.terms).get((), 0)
    whole = _size_of(machine, total)
    return whole is not None and whole.of == "text" and whole.ratio == 1 and size.const - 2 <= more < size.const


def kept(value: Value) -> tuple[str, ...]:
    """The marks that `int(...)` and its like keep."""
    return tuple(mark for mark in value.marks if mark.startswith("portion:") or mark in ("size", "chunks"))


def of_part(machine: Machine, low: Value | None, high: Value | None, step: Value | None) -> tuple[str, ...]:
    """The mark of `list[low:high:step]`."""
    first, last = (portion_of(end) if end is not None else None for end in (low, high))
    if first is not None and high is None:
        return _marked(first.line, 1 - first.ratio, "rest")
    if last is not None and first is None:
        return _marked(last.line, last.ratio, "list")
    if step is not None and type(step.const) is int and step.const > 1 and low is None:
        return _marked(machine.place.line, 1 / step.const, "list")
    return ()


def of_text(text: Value, low: Value | None, high: Value | None) -> tuple[str, ...]:
    """The mark of `text[low:high]`, where an end is a portion of its size."""
    if not is_text(text) or any(end is not None and end.at for end in (low, high)):
        return ()
    if low is not None and (first := portion_of(low)) is not None:
        return (f"behind:{first.line}",)
    return (f"cut:{last.line}",) if high is not None and (last := portion_of(high)) is not None else ()


def counted(over: Value) -> Few | None:
    """A range whose end is a portion of the text's size, as a loop goes through it; None if it is none."""
    for ref in over.refs:
        if not isinstance(ref, Steps) or ref.start.const != 0 or type(ref.step.const) is not int:
            continue
        portion = portion_of(ref.stop)
        if portion is not None and portion.of in ("text", "chunks") and ref.step.const > 0:
            what = "the last chunk is not scored" if portion.of == "chunks" else "a part of the text alone is scored"
            return Few(portion.line, 0, ref.step.const, False, False, portion.ratio, what)
    return None


def partial(value: Value) -> tuple[str, ...]:
    """The marks of the elements of a list that is a portion of another."""
    portion = portion_of(value) if is_list(value) else None
    return (f"partial:{portion.line}:{portion.of}",) if portion is not None else ()


def of_ends(ends: Iterable[Value]) -> Iterator[str]:
    """The marks of what positions cut out that are elements of a portion."""
    return (mark for end in ends for mark in end.marks if mark.startswith("partial:"))


def portion_scored(trace: Trace, report: Reported) -> tuple[int, str] | None:
    """The line of a portion to which all scores of a report belong; None if some do not, or to other ones too."""
    losses = [one for number in sorted(report.scores) if (one := trace.evaluations[number]).is_loss]
    each = [_named(score.marks) for score in losses]
    if each and len(set.union(*each)) == 1:
        return (
            (int(each[0].pop().split(":")[1]), "a part of the windows or documents alone is scored")
            if all(each)
            else None
        )
    return None if any(each) else _ended(trace, report, losses)


def _ended(trace: Trace, report: Reported, losses: Iterable[Evaluation]) -> tuple[int, str] | None:
    """The line of the loop that ends early and decides each part that is scored; None if there is none."""
    around = {loop for loop, _ in report.loops}
    found: list[set[Few]] = []
    lows: dict[Few, dict[int, set[int]]] = {}
    for score in losses:
        walked = {loop for loop, _ in score.loops} - around
        for part in (one for one in score.tokens if one.source == "val" and one.via == "tokens"):
            ended = {k: few for k, few in _looped(trace, part, walked) if abs(k[0]) not in around}
            found.append({*ended.values()})
            for (_, k), few in ended.items():
                if part.low is not None and part.low.value is not None:
                    lows.setdefault(few, {}).setdefault(k, set()).add(part.low.value)
    common = set.intersection(*found) if found else set()
    first = min((few for few in common if _advances(few, lows.get(few, {}))), default=None)
    return (first.line, first.what) if first is not None else None


def _looped(trace: Trace, part: Tokens, walked: set[int]) -> Iterator[tuple[tuple[int, int], Few]]:
    """The loops that end early and decide a part; a portion of the text only where no other loop decides it too."""
    for loop, k in sorted(part.at):
        few = trace.few.get(abs(loop)) if abs(loop) < DIVIDED else None
        if few is None or not few.portion:
            continue
        if few.portion <= FEW or not any(abs(other) in walked - {abs(loop)} for other, _ in part.at):
            yield (loop, k), few


def _named(marks: Iterable[str]) -> set[str]:
    return {mark for mark in marks if mark.startswith("partial:")}


def _advances(few: Few, lows: dict[int, set[int]]) -> bool:
    """Whether windows move by so little from step to step that they do not come to the end of the text."""
    if few.portion <= FEW:
        return True
    moved = min(lows[1]) - min(lows[0]) if lows.get(0) and lows.get(1) else 0
    return moved > 0 and few.portion * moved < WHOLE * few.step


def is_list(value: Value) -> bool:
    """Whether it is a list."""
    return any(isinstance(ref, Sequence) for ref in value.refs)
