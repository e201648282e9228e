"""Scores that end after a fixed number of windows or documents, or that count a part of the text alone.

What is a share of the text or of a list is told in `portions`; here is what all of it comes to.

A limit is a number of the script's own: `min(windows, 500)`, `documents[:10_000]`, `if step >= 200: break`. It is a cut
where it certainly comes to less than the published text (docs/recipe.md 1.2). What a setting's default leaves out is no
cut.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from trainer.audit.effects.portions import FEW, LONG, by_clock, counted, ends_in_time, few, of_part, portion_scored
from trainer.audit.effects.skipped import passed_over
from trainer.audit.effects.strides import gap
from trainer.audit.facts.machine import Frame, Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import DIVIDED, Tokens
from trainer.audit.facts.trace import Evaluation, Few, Place, Reported, Trace
from trainer.audit.facts.values import UNKNOWN, Steps, Value, Zipped, is_text, parts_of

MOST_TOKENS = 20_000_000
"""Fewer than these are not all of the split: each of its published exports has 40 million tokens or more."""
ALL_DOCUMENTS = 50_000
"""Documents of the split."""
FEW_WINDOWS = 2000
"""So many windows, of 8,192 tokens, are not all of the split."""
FEW_CHUNKS = 300
"""Nor so many chunks, of 65,536 tokens."""
HEADER = 4096
"""What begins a file, and is no text, is shorter."""
HARMLESS = ("min", "max", "len", "int", "time", "perf_counter", "monotonic")
"""Functions that change nothing."""
UPWARDS = (ast.Gt, ast.GtE, ast.Eq)
DOWNWARDS = (ast.Lt, ast.LtE, ast.NotEq)


def _is_off(machine: Machine) -> bool:
    """Whether the walk is in what a setting's default leaves out."""
    return bool(machine.given) or any(machine.off)


class Limit(NamedTuple):
    """What a number, or the length of a list, is kept from exceeding."""

    line: int
    most: int
    of_documents: bool = False


def limit_of(value: Value) -> Limit | None:
    """The limit of a number, or of the length of a list."""
    found = (mark.split(":") for mark in value.marks if mark.startswith("most:"))
    return _least(Limit(int(line), int(most), kind == "documents") for _, line, most, kind in found)


def _least(limits: Iterable[Limit]) -> Limit | None:
    return min(limits, key=lambda one: (one.most, one), default=None)


def _marked(limit: Limit | None, most: int | None = None) -> tuple[str, ...]:
    if limit is None:
        return ()
    kind = "documents" if limit.of_documents else "windows"
    return (f"most:{limit.line}:{limit.most if most is None else most}:{kind}",)


def of_least(machine: Machine, arguments: Sequence[Value]) -> tuple[str, ...]:
    """The mark of `min(...)`: no more than the least of its numbers."""
    if len(arguments) < 2 or _is_off(machine) or any(value.tokens or value.scores for value in arguments):
        return ()
    limits = [limit for value in arguments if (limit := limit_of(value)) is not None]
    numbers = [value.const for value in arguments if type(value.const) is int and value.const > 0]
    if len(numbers) < len(arguments):
        limits += [Limit(machine.place.line, min(numbers))] if numbers else []
    return _marked(_least(limits))


def of_largest(arguments: Sequence[Value]) -> tuple[str, ...]:
    """The mark of `max(1, n)` of a limited number, or of a number of chunks."""
    tails = [mark for value in arguments for mark in value.marks if mark.startswith("tail:")]
    if tails and len(arguments) == 2 and any(value.const == 1 for value in arguments):  # of a text of less than one
        return tuple(tails)
    limits = [limit for value in arguments if (limit := limit_of(value)) is not None]
    known = [value.const for value in arguments if type(value.const) is int]
    if len(limits) != 1 or len(known) != len(arguments) - 1:
        return ()
    return _marked(limits[0], max([limits[0].most, *known]))


def of_chunks(machine: Machine, op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of `total // size`: how many whole chunks of a text there are, where they are long."""
    size = right.const
    if not isinstance(op, ast.FloorDiv) or type(size) is not int or size < LONG:
        return ()
    more = _behind_the_end(machine.trace, left.number)
    return (f"tail:{machine.place.line}:{size}",) if more is not None and more <= 1 else ()


def _behind_the_end(trace: Trace, number: Polynomial | None) -> int | None:
    """By how much a number is more than the size of the text; None if that is not known."""
    terms = dict(number.terms) if number is not None else {}
    more = terms.pop((), 0)
    only = next(iter(terms.items())) if len(terms) == 1 else None
    if only is None or only[1] != 1 or len(only[0]) != 1 or trace.text_ends.get(only[0][0]) != 0:
        return None
    return more


def of_operation(op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The mark of `left op right`, where one of them is limited; of a rank's share, what all ranks have."""
    limit = limit_of(left)
    number, of_ranks = right.const, bool({"rank", "world"} & right.marks)
    if limit is None and isinstance(op, ast.Add | ast.Mult):
        limit, number, of_ranks = limit_of(right), left.const, bool({"rank", "world"} & left.marks)
    if limit is None:
        return ()
    if of_ranks or isinstance(op, ast.Sub):
        return _marked(limit)
    if type(number) is not int or number < 1:
        return ()
    if isinstance(op, ast.FloorDiv):
        return _marked(limit, -(-limit.most // number))
    return (
        _marked(limit, limit.most + number if isinstance(op, ast.Add) else limit.most * number)
        if isinstance(op, ast.Add | ast.Mult)
        else ()
    )


def of_slice(
    machine: Machine, base: Value, low: Value | None, high: Value | None, step: Value | None = None
) -> tuple[str, ...]:
    """The marks of `list[low:high:step]`: of no more than so many elements, or of a part of them."""
    if _is_off(machine) or is_text(base) or base.scores:
        return ()
    if portion := of_part(machine, low, high, step):
        return portion
    if high is None or high.at:
        return ()
    known = high.const if type(high.const) is int else None
    limit = Limit(machine.place.line, known) if known is not None and known > 0 else limit_of(high)
    if limit is None:
        return ()
    limit = limit._replace(of_documents=_holds_documents(base))
    return (*_marked(limit), *(few(limit.line) if _is_few(machine, limit) else ()))


def _is_few(machine: Machine, limit: Limit) -> bool:
    """Whether a limit that holds for a whole evaluation leaves out most of the text, however long windows are."""
    return not machine.loops and limit.most < (ALL_DOCUMENTS if limit.of_documents else FEW_WINDOWS)


def _reaches_its_end(part: Tokens) -> bool:
    """Whether tokens are all of the text, or all but a remainder: from its beginning to an end that is not known."""
    if part.low is None:
        return True
    return part.low.value == 0 and (part.high is None or part.high.value is None)


def of_text(machine: Machine, text: Value, low: Value | None, high: Value | None) -> tuple[str, ...]:
    """The mark of `text[low:high]`, where it certainly is not all of the text."""
    whole = [part for part in text.tokens if part.source == "val" and not part.at and part.is_text]
    if machine.given or not any(_reaches_its_end(part) for part in whole):
        return ()
    if low is not None and not low.at and type(low.const) is int and low.const >= HEADER:
        return (f"behind:{machine.place.line}",)
    if high is None or high.at:
        return ()
    limit = limit_of(high)
    if (type(high.const) is int and high.const > 0) or (limit is not None and limit.most < MOST_TOKENS):
        return (f"cut:{machine.place.line}",)
    return ()


def remember(machine: Machine, over: Value, loop: int) -> None:
    """Remembers a loop over a limited list, or over a range to a limited number."""
    if _is_off(machine):
        return
    if (portion := counted(over)) is not None:
        machine.trace.few[loop] = portion
        return
    if (limit := limit_of(over)) is not None:
        machine.trace.few[loop] = Few(limit.line, limit.most, 1, True, limit.of_documents or _holds_documents(over))
        return
    for ref in over.refs:
        if isinstance(ref, Zipped):
            for column in ref.columns:
                remember(machine, column, loop)
        if isinstance(ref, Steps):
            step = ref.step.const if type(ref.step.const) is int and ref.step.const > 0 else None
            known = ref.stop.const if type(ref.stop.const) is int and not ref.start.at else None
            limit = Limit(machine.place.line, known) if known is not None and known > 0 else limit_of(ref.stop)
            whole = [mark[5:].split(":") for mark in sorted(ref.stop.marks) if mark.startswith("tail:")]
            more = _behind_the_end(machine.trace, ref.stop.number)
            if ref.start.const == 0 and whole and step == 1:
                machine.trace.tails[loop] = (int(whole[0][0]), int(whole[0][1]))
            if ref.start.const == 0 and step is not None and step >= LONG and more is not None and more <= 1 - step:
                machine.trace.tails[loop] = (machine.place.line, step)
            if limit is not None and (step is not None or limit.of_documents):
                machine.trace.few[loop] = Few(limit.line, limit.most, step or 1, False, limit.of_documents)
            elif limit is not None and not _in_another(machine) and limit.most < FEW_WINDOWS:
                what = f"no more than {limit.most} windows or sequences are scored"
                machine.trace.few[loop] = Few(limit.line, limit.most, 0, False, False, FEW, what)


def _holds_documents(value: Value, depth: int = 3) -> bool:
    """Whether it is a list of documents, or of where they begin."""
    if {"document", "border"} & value.marks:
        return True
    return depth > 0 and any(_holds_documents(part, depth - 1) for ref in value.refs for part in parts_of(ref))


def ended_by(machine: Machine, test: ast.expr, frame: Frame, *, goes_on: bool) -> None:
    """Remembers a loop that a condition ends at a fixed number: `if n >= 500: break`, or `while n < 500`.

    goes_on: whether the loop goes on where the condition holds
    """
    if _is_off(machine) or not machine.loops:
        return
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And if goes_on else ast.Or):
        for part in test.values:
            ended_by(machine, part, frame, goes_on=goes_on)
        return
    if isinstance(test, ast.BoolOp) and not goes_on:  # `if limit and n >= limit`
        others = [part for part in test.values if not isinstance(part, ast.Compare)]
        compared = [part for part in test.values if isinstance(part, ast.Compare)]
        known = [machine.evaluate(part, frame) if _is_plain(part) else UNKNOWN for part in others]
        if len(compared) == 1 and all(value.is_known and value.const for value in known):
            ended_by(machine, compared[0], frame, goes_on=False)
        return
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not _is_plain(test):
        return
    loop, k = machine.loops[-1]
    left, right = machine.evaluate(test.left, frame), machine.evaluate(test.comparators[0], frame)
    if not goes_on and ends_in_time(left, right):
        machine.trace.few[loop] = by_clock(machine.place.line)
        return
    up, down = (left, right) if isinstance(test.ops[0], DOWNWARDS if goes_on else UPWARDS) else (right, left)
    if not isinstance(test.ops[0], (*UPWARDS, *DOWNWARDS)) or up.number is None or (value := up.number.value) is None:
        return
    limit = Limit(machine.place.line, down.const) if type(down.const) is int else limit_of(down)
    key = (loop, test.lineno, test.col_offset)
    first = machine.trace.begun.setdefault(key, value)
    more = _behind_the_end(machine.trace, down.number)
    is_scored = any((loop, k) in one.loops for one in machine.trace.evaluations.values())  # before it is asked
    step = value - first
    if k == 1 and more is not None and not is_scored and step >= LONG and first - more >= step - 1:
        machine.trace.tails[loop] = (machine.place.line, step)
    if k == 1 and limit is not None and step > 0 and limit.most > 0:
        most = FEW_WINDOWS if step > 1 else FEW_CHUNKS  # batches of windows are counted, or what may be chunks
        is_few = not _in_another(machine) and limit.most < most
        what = f"the loop that scores ends after {limit.most} of its iterations' windows or chunks"
        machine.trace.few[loop] = Few(limit.line, limit.most + step, step, False, False, FEW if is_few else 0, what)


def _in_another(machine: Machine) -> bool:
    """Whether another loop is around the one that is walked."""
    return len({loop for loop, _ in machine.loops}) > 1


def _is_plain(test: ast.expr) -> bool:
    """Whether it may be evaluated once more: nothing in it changes anything."""
    called = (node.func for node in ast.walk(test) if isinstance(node, ast.Call))
    changes = any(isinstance(node, ast.NamedExpr | ast.Await | ast.Yield) for node in ast.walk(test))
    names = (name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "") for name in called)
    return not changes and all(name in HARMLESS for name in names)


@dataclass(frozen=True)
class Cut:
    """A report of scores that end early."""

    line: int
    detail: str
    report: Reported
    is_sure: bool = True


def cut_short(trace: Trace) -> Iterator[Cut]:
    """The last report that is of one score, where it ends early or leaves out what is behind the last chunk.

    It is sure that this is the score only where no other report outside of loops is of more windows or documents; where
    each report is in a loop, as that of training, all of them count.
    """
    reports = [report for report in trace.reports if not report.off]
    last = [report for report in reports if not report.loops] or reports
    of_one = [report for report in last if len(_places(trace, report)) == 1]
    if of_one and (found := _without_the_tail(trace, of_one[-1])) is not None:
        yield found
    if last and (line := passed_over(trace, last[-1])) is not None:
        yield Cut(line, "windows are left out where scoring them raises", last[-1])
    if last and (apart := gap(trace, last[-1])) is not None:
        yield Cut(apart[0], f"{apart[1]} targets between two windows", last[-1])
    if last and (portion := portion_scored(trace, last[-1])) is not None:
        yield Cut(*portion, last[-1])
    if of_one and (found := _cut(trace, of_one[-1])) is not None:
        yield replace(found, is_sure=all(_cut(trace, report) for report in last))


def _places(trace: Trace, report: Reported) -> set[Place]:
    """Where losses of a report are computed."""
    return {trace.evaluations[number].place for number in report.scores if trace.evaluations[number].is_loss}


def _without_the_tail(trace: Trace, report: Reported) -> Cut | None:
    """A report of all whole chunks of the text, and of nothing else."""
    losses = [one for number in sorted(report.scores) if (one := trace.evaluations[number]).is_loss]
    found = [
        (score, part) for score in losses for part in score.tokens if part.source == "val" and part.via == "tokens"
    ]
    loops = {_limited_by(report, score, part, trace.tails) for score, part in found}
    loop = loops.pop() if len(loops) == 1 else None
    if loop is None:
        return None
    line, size = trace.tails[loop]
    for score, part in found:
        k = min(k for number, k in part.at if abs(number) == loop)
        length = part.high.plus(part.low, -1) if part.low is not None and part.high is not None else None
        own = part.low is not None and part.low.value in (k * size, k * size + 1) and not part.piece
        if not own or length is None or length.value not in (size, size + 1) or not _is_single(score, part, loop):
            return None
    return Cut(line, f"what is behind the last whole chunk of {size} tokens is not scored", report)


def _cut(trace: Trace, report: Reported) -> Cut | None:
    losses = [one for number in sorted(report.scores) if (one := trace.evaluations[number]).is_loss]
    found: dict[int, list[tuple[Evaluation, Tokens]]] = {}
    for score in losses:
        parts = [part for part in score.tokens if part.source == "val" and part.via == "tokens"]
        loops = {_limited_by(report, score, part, trace.few) for part in parts}
        loop = loops.pop() if len(loops) == 1 else None
        if loop is None:
            return None
        found.setdefault(loop, []).extend((score, part) for part in parts)
    if len(found) != 1:
        return None
    loop, parts_found = next(iter(found.items()))
    few = trace.few[loop]
    if not few.most:
        return None
    each_alone = all(_is_single(score, part, loop) for score, part in parts_found)
    of_borders = any(abs(k) in trace.of_borders for _, part in parts_found for k, _ in part.at)
    if few.is_of_documents or (of_borders and each_alone):
        if few.most >= ALL_DOCUMENTS:
            return None
        return Cut(few.line, f"no more than {few.most} documents are scored, of {ALL_DOCUMENTS}", report)
    inner = (trace.few.get(abs(k)) for _, part in parts_found for k, _ in part.at)
    if any(one is not None and one.is_list and one.line == few.line for one in inner):  # batches of one list
        few = few._replace(is_list=True)
    most = _tokens_at_most(few, loop, parts_found) if each_alone or not of_borders else None
    if most is None or most >= MOST_TOKENS:
        return None
    return Cut(few.line, f"no more than {most} tokens are scored", report)


def _limited_by(report: Reported, score: Evaluation, part: Tokens, few: Mapping[int, Any]) -> int | None:
    """The limited loop that decides a part, around which none but the report's own goes on."""
    around = {loop for loop, _ in report.loops}
    first = next((loop for loop, _ in score.loops if loop not in around), None)
    own = sorted({abs(loop) for loop, _ in part.at if abs(loop) < DIVIDED})
    return next((loop for loop in own if loop in few and (first is None or loop <= first)), None)


def _is_single(score: Evaluation, part: Tokens, loop: int) -> bool:
    """Whether no other loop that goes on decides a part, so that each iteration holds one."""
    return not any(abs(k) != loop and abs(k) == other for k, _ in part.at for other, _ in score.loops)


def _tokens_at_most(few: Few, loop: int, found: list[tuple[Evaluation, Tokens]]) -> int | None:
    """How many tokens the windows of a limited loop hold at most; None if it is not known."""
    lows: dict[int, set[int]] = {0: set(), 1: set()}
    lengths = set()
    for _, part in found:
        if part.low is None or part.high is None or part.piece:
            return None
        length = part.high.plus(part.low, -1)
        if length is None or length.value is None:
            return None
        lengths.add(length.value)
        if part.low.value is not None:
            lows[min(k for number, k in part.at if abs(number) == loop)].add(part.low.value)
    longest = max(lengths)
    single = all(_is_single(score, part, loop) for score, part in found)
    bounds = [few.most * longest] if single or few.is_list else []
    follows = lows[0] and lows[1] and max(lows[0]) <= min(lows[1])  # not rounds that each go through all of the text
    if follows and (step := max(lows[1]) - min(lows[0])) > 0:
        bounds.append(-(-few.most // few.step) * step + longest)
    return min(bounds, default=None)
