"""Bytes that a file holds for each token: are as many of them added as targets are scored?

A slice of a text that is summed up as it is holds bytes, not ids: `carried:N` says which slice. How long it is, and how
long the slice of the losses that it stands beside (`extent:N`), is compared by how both are written in one function, so
that `ws + s : ws + n + 1` is one longer than `s : n`; where no losses are left out, by the ends of the windows.
"""

from __future__ import annotations

import ast
from collections import Counter

from trainer.audit.effects.positions import parts_in
from trainer.audit.facts.machine import Frame, Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.values import Value, is_text

CASTS = ("long", "int", "astype", "type", "numpy", "clone")
"""Methods after which a slice is the same slice."""
SLICES = ("cutout", "entire")
"""Marks of a slice of a text that one of its elements, or a slice of it, does not bear."""
WHOLE_NUMBER = ""
"""The name under which a length counts its constant."""


def cut(machine: Machine, base: Value, result: Value, index: ast.Slice, frame: Frame) -> Value:
    """`base[index]`: marked where it is a slice of a text, or of losses."""
    of_loss = machine.holds_loss(base)
    placed = is_text(base) and all(part.is_placed for part in base.tokens)
    if (index.lower is None and index.upper is None) or not (of_loss or placed):
        return result
    number = machine.new_id()
    machine.slices[number] = (machine.place.line, index, frame)
    return result.with_marks(f"{'extent' if of_loss else 'cutout'}:{number}")


def another(base: Value, part: Value) -> Value:
    """An element or slice of a slice, which is another one; of bytes it is not known whose they are."""
    if any(mark.startswith("pays:from:") for mark in base.marks):
        part = part.without_marks("pays").with_marks("pays:other")
    return part.without_marks(*SLICES) if any(mark.startswith(SLICES) for mark in part.marks) else part


def added_as_it_is(held: Value, result: Value) -> Value:
    """The sum of a slice of a text, which so holds no ids."""
    numbers = [mark[7:] for mark in held.marks if mark.startswith("cutout:")] if is_text(held) else []
    return result.with_marks(*(f"carried:{number}" for number in numbers))


def compare(machine: Machine, score: Value, other: Value) -> None:
    """Notes where a score is divided by the bytes of certainly more or fewer tokens than were scored."""
    for mark in other.marks - score.marks:
        if not mark.startswith("carried:"):
            continue
        line, index, frame = machine.slices[int(mark[8:])]
        losses = [machine.slices[int(own[7:])] for own in score.marks if own.startswith("extent:")]
        more = None
        if losses:
            lengths = [_length(one) for _, one, around in losses if around is frame]
            length, beside = _length(index), [one for one in lengths if one is not None]
            if length is not None and len(beside) == len(losses) and all(lost == beside[0] for lost in beside):
                more = _difference(length, beside[0])
        elif not any(True for _ in parts_in(machine.trace, score.marks)):
            more = _more(machine, score, other.tokens)
        if more:
            detail = f"each slice of the bytes holds {abs(more)} {'more' if more > 0 else 'fewer'} than are scored"
            machine.note("bytes-miscounted", detail, line=line)


def _more(machine: Machine, score: Value, tokens: frozenset[Tokens]) -> int | None:
    """By how many the slices of bytes are longer than the windows of the same iterations; None if that is not known."""
    targets = [part for number in score.scores for part in machine.trace.evaluations[number].targets]
    found = {
        apart.value
        for part in tokens
        for own in targets
        if part.at == own.at and (apart := _apart(part, own)) is not None
    }
    return found.pop() if len(found) == 1 else None


def _apart(part: Tokens, own: Tokens) -> Polynomial | None:
    if part.piece or own.piece or part.is_bounded or own.is_bounded or part.loose or own.loose:
        return None
    lengths = [one.high.plus(one.low, -1) for one in (part, own) if one.high is not None and one.low is not None]
    if len(lengths) != 2 or lengths[0] is None or lengths[1] is None:
        return None
    return lengths[0].plus(lengths[1], -1)


def _length(index: ast.Slice) -> Counter[str] | None:
    """How long a slice is, as multiples of names; None if an end is not given or counts from the end."""
    if index.upper is None or index.step is not None:
        return None
    ends = [_linear(end) if end is not None else Counter[str]() for end in (index.lower, index.upper)]
    if any(not end.keys() - {WHOLE_NUMBER} and end[WHOLE_NUMBER] < 0 for end in ends):
        return None
    ends[1].subtract(ends[0])
    return ends[1]


def _difference(one: Counter[str], other: Counter[str]) -> int | None:
    left = Counter(one)
    left.subtract(other)
    if not other.keys() - {WHOLE_NUMBER}:  # rows of a batch, as well as positions
        return None
    return left[WHOLE_NUMBER] if all(not factor for name, factor in left.items() if name != WHOLE_NUMBER) else None


def _linear(node: ast.expr) -> Counter[str]:
    """An expression as multiples of names and a whole number."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return Counter({WHOLE_NUMBER: node.value})
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        negative = Counter[str]()
        negative.subtract(_linear(node.operand))
        return negative
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        left, right = Counter(_linear(node.left)), _linear(node.right)
        left.update(right) if isinstance(node.op, ast.Add) else left.subtract(right)
        return left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = [_linear(node.left), _linear(node.right)]
        for one, other in (sides, sides[::-1]):
            if not other.keys() - {WHOLE_NUMBER}:
                return Counter({name: factor * other[WHOLE_NUMBER] for name, factor in one.items()})
    return Counter({ast.unparse(node): 1})
