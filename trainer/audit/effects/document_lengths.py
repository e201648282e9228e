"""Documents that a condition on their length leaves out of the score."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from trainer.audit.effects.iteration import with_iteration
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.tokens import SORTED, Iterations
from trainer.audit.facts.trace import Evaluation, Guards, Trace
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.facts.values import Value, changed, full

FEWEST = 4
"""A lower bound leaves out only documents of no target, or of two at most."""
FOUND = frozenset(["stored", "lookup", "drawn", "random"])
"""Marks of what is no number that the script names: text that was stored, found in a table or drawn."""
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def of_length(op: ast.cmpop, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of a comparison that asks how long a document is; none of another comparison.

    A document's length is the difference or size of what its borders cut out. `long:N` says that the comparison holds
    for documents of at least N tokens, `brief:N` that it holds for shorter ones.
    """
    for one, other, flipped in ((left, right, False), (right, left, True)):
        known = isinstance(other.const, int) and other.const >= FEWEST
        if isinstance(op, ORDERS) and known and "measured" in one.marks:
            is_long = isinstance(op, ast.Gt | ast.GtE) is not flipped
            least = other.const + (isinstance(op, ast.Gt | ast.Lt) is is_long)
            return ("length", f"{'long' if is_long else 'brief'}:{least}")
    return ()


def is_border(left: Value, right: Value) -> bool:
    """Whether a comparison asks where a text holds a certain token, as the one that begins its documents.

    The token is a number of the script, its tokenizer's, or the first of the text; no other text, and no prediction.
    """
    return any(
        bool(text.tokens) and not text.scores and _is_token(token) for text, token in ((left, right), (right, left))
    )


def _is_token(value: Value) -> bool:
    if value.is_known:
        return True
    held = full(value)
    first = all(part.is_single and part.low is not None and part.low.value == 0 for part in held.tokens)
    return first and not (held.scores or held.at or value.objects or held.marks & FOUND)


def sorted_by(test: Value, holds: bool) -> Iterations:
    """What tells documents for which such a comparison holds, or does not, from the others."""
    for mark in test.marks:
        name, _, least = mark.partition(":")
        if name in ("long", "brief"):
            return frozenset([(SORTED + int(least), int(holds is (name == "long")))])
    return frozenset()


def told_apart(names: dict[str, Value], test: Value, holds: bool) -> dict[str, tuple[Value, Value]]:
    """Tells what belongs to a document of which such a comparison holds, or not; by name what it was and is now."""
    sides, document = sorted_by(test, holds), max(test.at, default=None)
    if not sides or document is None:
        return {}
    own = {name: value for name, value in names.items() if document in value.at and not value.objects}
    told = {name: (value, with_iteration(value, sides)) for name, value in own.items()}
    names |= {name: now for name, (_, now) in told.items()}
    return told


def back_together(names: dict[str, Value], told: Mapping[str, tuple[Value, Value]]) -> None:
    """Where branches meet again, both kinds of documents go on."""
    names |= {name: before for name, (before, now) in told.items() if names.get(name) is now}


def measured(value: Value) -> frozenset[str]:
    """The marks of a value's size: whether it is that of a document."""
    return frozenset(["measured"]) if "document" in value.marks and value.tokens else frozenset()


def is_whole(index: ast.Slice, low: Value | None, high: Value | None) -> bool:
    """Whether a slice is a document: from its border to the next one, or to the border plus its length."""
    if low is None or high is None or not isinstance(index.lower, ast.Name) or low.at != high.at:
        return False
    if "border" not in low.marks & high.marks or "measured" in low.marks:
        return False
    upper, is_length = index.upper, "measured" in high.marks
    if isinstance(upper, ast.BinOp) and isinstance(upper.op, ast.Add):
        return is_length and any(getattr(part, "id", "") == index.lower.id for part in (upper.left, upper.right))
    return isinstance(upper, ast.Name) and not is_length and upper.id != index.lower.id


def remember(machine: Machine, condition: int, node: ast.If, test: Value) -> None:
    """A condition on a document's length of which one branch does nothing: what the other scores is not all."""
    if "length" in test.marks and (_is_idle(node.body) or _is_idle(node.orelse)):
        machine.trace.left_out[condition] = (node.lineno, 0 if _is_idle(node.body) else 1)


def kept(machine: Machine, value: Value) -> Value:
    """What is yielded or listed under such conditions; what is so without them may be what they left out."""
    lines = _lines(machine.trace, tuple(machine.guards))
    told = any(mark.startswith("short:") for mark in value.marks)
    if machine.trace.left_out and not (lines or told) and value.tokens and not value.scores:
        machine.trace.left_out[0] = (0, 0)
    return _kept_by(value, lines) if lines else value


def _kept_by(value: Value, lines: Collection[int]) -> Value:
    """The value, marked; of a tuple, as of a document's border and length, what it holds too."""
    marks = [f"short:{line}" for line in lines]
    refs = tuple(
        replace(ref, elements=[part.with_marks(*marks) for part in ref.elements])
        if isinstance(ref, Listed) and ref.fixed
        else ref
        for ref in value.refs
    )
    return changed(value, refs=refs).with_marks(*marks)


def of_ends(ends: Iterable[Value | None]) -> frozenset[str]:
    """The marks of what is cut out of a text at borders that such a condition kept."""
    return frozenset(mark for end in ends if end is not None for mark in end.marks if mark.startswith("short:"))


def filtered(machine: Machine, tests: Sequence[Value], node: ast.expr, value: Value) -> Value:
    """An element of a comprehension that such a condition keeps; other conditions may keep what it leaves out."""
    if not any("length" in test.marks for test in tests):
        if tests and "document" in value.marks:
            machine.trace.left_out[0] = (0, 0)
        return value
    machine.trace.left_out[-(node.lineno << 10) - node.col_offset] = (node.lineno, 1)  # one line may hold several
    return _kept_by(value, [node.lineno])


def lines_left_out(trace: Trace) -> Iterator[int]:
    """The line of the one condition under which all is scored; none where another one may mend it."""
    if not trace.reports or 0 in trace.left_out:
        return
    scores = [trace.evaluations[number] for number in trace.reports[-1].scores]
    each = [_of(trace, score) for score in scores if score.is_loss]
    lines = Counter(line for line, _ in {(line, min(number, 0)) for number, (line, _) in trace.left_out.items()})
    common = set.intersection(*each) if each else set()
    if len(common) == 1 and lines.keys() == set.union(*each) and all(lines[line] == 1 for line in common):
        yield from common


def _of(trace: Trace, score: Evaluation) -> set[int]:
    return {int(mark[6:]) for mark in score.marks if mark.startswith("short:")} | _lines(trace, score.guards)


def _lines(trace: Trace, guards: Guards) -> set[int]:
    known = ((trace.left_out[guard.condition], guard) for guard in guards if guard.condition in trace.left_out)
    return {line for (line, branch), guard in known if guard.branch == branch}


def _is_idle(body: Sequence[ast.stmt]) -> bool:
    """Whether statements neither score nor keep anything."""
    return all(isinstance(part, ast.Pass | ast.Continue) or _is_count(part) or _is_empty(part) for part in body)


def _is_count(part: ast.stmt) -> bool:
    calls = [node for node in ast.walk(part) if isinstance(node, ast.Call)]
    return isinstance(part, ast.AugAssign) and all(getattr(call.func, "id", "") == "len" for call in calls)


def _is_empty(part: ast.stmt) -> bool:
    """`return`, `return 0.0, 0` and the like."""
    if not isinstance(part, ast.Return):
        return False
    values = part.value.elts if isinstance(part.value, ast.Tuple) else [part.value]
    return all(value is None or isinstance(value, ast.Constant) for value in values)
