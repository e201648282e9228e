"""Windows that a list gathers and that are put together as rows of a batch: where they lie in the text.

Put together, they are a tensor of many parts of the text; what is kept is where the first two of them lie, marked
`rows:N` (`goals:N` where they are the targets of a loss), so that it can be told whether rows that follow one another
count targets twice or leave a gap. While rows are the first dimension of the tensor it is a `batch`, and a slice of it
some rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Tokens, windows_of
from trainer.audit.facts.trace import Evaluation, Trace
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.facts.values import Value, changed, full


def together(machine: Machine, name: str, arguments: Sequence[Value], result: Value) -> Value:
    """`torch.stack(list)`, `torch.cat(list)`: the result, marked where the list holds windows."""
    held = [part for value in arguments[:1] for ref in value.refs for part in _elements(ref)]
    rest = [ref.rest for value in arguments[:1] for ref in value.refs if isinstance(ref, Listed) and ref.rest]
    if any("remainder" in part.marks for part in (*held, *rest)):
        return result.without_marks("rows")
    marks = _of_elements(machine, held)
    return result.with_marks(*marks, *(["batch"] if marks and name in ("stack", "vstack") else []))


def some_of(machine: Machine, base: Value, result: Value, low: Value | None, high: Value | None) -> Value:
    """`base[low:high]` of a list of windows, whose elements are not told apart, or of a batch: rows of it that follow
    one another, if it is more than one.
    """
    ends = [end.number if end is not None else None for end in (low, high)]
    length = ends[1].plus(ends[0], -1) if ends[0] is not None and ends[1] is not None else None
    if length is not None and length.value == 1:
        return result.without_marks("rows")
    lists = [ref for ref in base.refs if _elements(ref)]
    marks = _of_elements(machine, _elements(lists[0])) if len(lists) == len(base.refs) == 1 else ()
    if not marks:
        return result
    refs = (
        replace(ref, rest=marked(ref.rest, marks)) if isinstance(ref, Listed) and ref.rest and not ref.elements else ref
        for ref in result.refs
    )
    return changed(result, refs=tuple(refs))


def unfolded(machine: Machine, text: Value, size: Value, step: Value) -> Value:
    """`text.unfold(0, size, step)`: a row for each window."""
    whole = [part for part in text.tokens if part.is_placed and part.source == "val"]
    if not whole or len(whole) < len(text.tokens) or size.number is None or step.number is None or text.scores:
        return text
    loop, rows = machine.new_id(), set()
    machine.trace.counting[loop] = machine.place.line
    for k in (0, 1):
        low = step.number.times(Polynomial.constant(k))
        high = low.plus(size.number) if low is not None else None
        at = frozenset([(loop, k)])
        rows |= {replace(part, at=part.at | at, low=low, high=high, is_whole=False, is_text=False) for part in whole}
    tokens = frozenset(replace(part, is_whole=False, is_text=False) for part in whole)
    return changed(text, tokens=tokens, refs=()).with_marks(_mark(machine, rows), "batch")


def _elements(ref: object) -> list[Value]:
    """The elements of a list that were put in one by one, in their order."""
    known = isinstance(ref, Listed) and not (ref.fixed or ref.reordered or ref.is_piece)
    return ref.elements if isinstance(ref, Listed) and known else []


def _of_elements(machine: Machine, elements: Sequence[Value]) -> tuple[str, ...]:
    held = [full(value) for value in elements]
    rows = {part for value in held for part in _windows(value.tokens)}
    known = all(part.low is not None and part.high is not None and not (part.piece or part.is_within) for part in rows)
    skips = any("remainder" in value.marks or value.scores for value in held)
    return (_mark(machine, rows),) if rows and known and not skips else ()


def _mark(machine: Machine, rows: Iterable[Tokens]) -> str:
    number = machine.trace.rows.setdefault(frozenset(rows), len(machine.trace.rows))
    return f"rows:{number}"


def marked(value: Value, marks: tuple[str, ...]) -> Value:
    """The value, and what it holds if it is a tuple, marked."""
    refs = tuple(
        replace(ref, elements=[marked(part, marks) for part in ref.elements])
        if isinstance(ref, Listed) and ref.fixed
        else ref
        for ref in value.refs
    )
    return changed(value, refs=refs).with_marks(*marks)


def _windows(tokens: Iterable[Tokens]) -> list[Tokens]:
    return [part for part in tokens if part.source == "val" and part.via == "tokens"]


def windows_in(trace: Trace, score: Evaluation) -> list[Tokens]:
    """The windows of a score; where they were put together, as they lay in the text before."""
    own = _windows(score.tokens)
    if not own or any(part.low is not None for part in own):
        return own
    return _kept(trace, score, "rows") or own


def targets_in(trace: Trace, score: Evaluation) -> list[Tokens]:
    """The targets of a score, as `windows_in`; none where they are not known."""
    if any(part.low is not None for part in score.targets):
        return list(score.targets)
    return _kept(trace, score, "goals")


def _kept(trace: Trace, score: Evaluation, name: str) -> list[Tokens]:
    """The windows that marks of a score name; those of inputs and of targets as rows that the same loop counts."""
    numbers = {int(rest) for kind, _, rest in (mark.partition(":") for mark in score.marks) if kind == name}
    sets = [rows for rows, number in sorted(trace.rows.items(), key=lambda item: item[1]) if number in numbers]
    rows = [by_place(one) for one in sets]
    if any(len(each) != 2 for each in rows):
        return [part for one in sets for part in one]
    return [replace(part, at=rows[0][k][0].at) for each in rows for k in (0, 1) for part in each[k]]


def by_place(windows: Iterable[Tokens]) -> list[list[Tokens]]:
    """Windows by the iterations that tell them apart, in their order."""
    windows = list(windows)
    places = sorted({part.at for part in windows}, key=sorted)
    return [[part for part in windows if part.at == at] for at in places]


def first_of(targets: Iterable[Tokens]) -> Polynomial | None:
    """Where the first target lies; None if it is not known."""
    lows = [part.low if not (part.piece or part.is_within) else None for part in targets]
    known = [low for low in lows if low is not None]
    least = [low for low in known if all(one.is_at_least(low) for one in known)]
    return least[0] if least and len(known) == len(lows) else None


def last_of(targets: Iterable[Tokens]) -> Polynomial | None:
    """Where the last target ends; None if it is not known."""
    highs = [part.high if not (part.piece or part.is_within) else None for part in targets]
    known = [high for high in highs if high is not None]
    most = [high for high in known if all(high.is_at_least(one) for one in known)]
    return most[0] if most and len(known) == len(highs) else None


def is_batch(windows: Iterable[Tokens]) -> bool:
    """Whether they are several windows, as loops tell them apart."""
    return len({windows_of(part.at) for part in windows}) > 1
