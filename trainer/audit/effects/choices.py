"""Choices by validation scores: `min(...)`, `sorted(...)`, conditions. Which score counts, and what was chosen by it.

A choice among parts of a score (of each token, chunk, document) takes the best of several passes. A choice among
finished scores is one of what to report, unless it is among repeated passes of the same evaluation; which of the two it
was is decided once the script was walked (`judgement`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from trainer.audit.effects.extremes import extreme
from trainer.audit.effects.iteration import iterated
from trainer.audit.effects.mixtures import larger
from trainer.audit.facts.machine import Function, Keywords, Machine
from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.values import UNKNOWN, External, Mapping, Value, changed, combined, decisions, full, joined

Marks = tuple[str, ...]
MEASURED = ("activation", "statistic")
"""How validation tokens reached what a model computed in passing, as the inputs of a layer."""
SMALL = 1e-6
LARGEST = ("chosen", "greater")
"""Marks of the smaller of several scores, and of the larger of several logarithms of probabilities."""


def has_val(value: Value) -> bool:
    """Whether validation tokens are in a value."""
    return any(part.source == "val" for part in value.tokens)


def is_score(machine: Machine, value: Value) -> bool:
    """Whether a value holds scores of validation tokens."""
    return bool(value.scores) and has_val(value) and machine.holds_loss(value)


def is_pooled(value: Value) -> bool:
    """Whether a mean, sum or spread over targets is in a value."""
    return any(mark.startswith("mean:") for mark in value.marks)


def smaller(machine: Machine, values: list[Value], result: Value, *, of_tensors: bool = True) -> Value:
    """The smaller of several scores of validation tokens: of each element of tensors, or of numbers."""
    scored = [value for value in map(full, values) if is_score(machine, value)]
    if len(values) == len(scored) == 2 and is_pooled(scored[0]) is not is_pooled(scored[1]):
        return result.with_marks(f"clamped:{machine.place.line}")  # no other pass: a bound that losses gave
    if len(scored) > 1 or (len(values) == 1 and scored):
        return result.with_marks(*choice(machine, scored, of_tensors=of_tensors))
    return result


def choice(machine: Machine, scored: list[Value], *, of_tensors: bool = False, line: int = 0) -> Marks:
    """The marks of what these scores decide: `chosen`, and `finished` where none of them is part of a score."""
    line = line or machine.place.line
    machine.deciding[line] = frozenset().union(*(value.scores for value in scored))
    around = {loop for loop, _ in machine.loops}
    is_part = any(
        abs(loop) in around
        for value in scored
        for number in value.scores
        for part in machine.trace.evaluations[number].tokens
        for loop, _ in part.at
    )
    in_bits = all({"ln2", "bytes"} <= value.marks for value in scored)
    if is_part or (of_tensors and not in_bits):
        return (f"chosen:{line}",)
    return (f"chosen:{line}", f"finished:{line}")


def activations(value: Value) -> frozenset[Tokens]:
    """The validation tokens that a value holds through activations of a model; none of a value that holds scores."""
    parts = (part for part in value.tokens if part.source == "val" and part.via in MEASURED)
    return frozenset() if value.scores else frozenset(parts)


def compares(asked: ast.expr, test: Value) -> frozenset[Tokens]:
    """These tokens, of a condition that compares by size, as `error < least`; none of another condition."""
    orders = (op for part in ast.walk(asked) if isinstance(part, ast.Compare) for op in part.ops)
    by_size = any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in orders)
    return activations(test) if by_size else frozenset()


def depending(value: Value, *parts: frozenset[Tokens]) -> Value:
    """The value, which depends on these tokens as well, since they decided that it is kept or taken."""
    return changed(value, tokens=value.tokens.union(*parts)) if any(parts) else value


def finally_chosen(machine: Machine, since: int = 0) -> Marks:
    """The marks of what is kept or returned here, under a condition on finished scores; none under another.

    since:  how many conditions stand outside of what is asked about
    """
    return lasting(machine.choosing[-1]) if len(machine.choosing) > since else ()


def lasting(marks: Iterable[str]) -> Marks:
    """The marks of a choice by finished scores; none of another, as by the score of the chunk before."""
    found = tuple(marks)
    return found if any(mark.startswith("finished:") for mark in found) else ()


def kept_by(machine: Machine, tests: Sequence[Value], line: int) -> Marks:
    """The marks of what a comprehension keeps whose conditions compare finished scores."""
    scored = [test for test in tests if "mask" in test.marks and is_score(machine, test)]
    return tuple(mark for test in scored for mark in lasting(choice(machine, [test], line=line)))


def best_place(machine: Machine, held: Value, result: Value) -> Value:
    """`argmin` and its like: which of several finished scores is the lowest."""
    return result.with_marks(*lasting(choice(machine, [held]))) if is_score(machine, held) else result


def chosen_branch(test: Value) -> Marks:
    """The marks of what is done where something that scores chose is asked for, as which precision a tensor gets."""
    return () if test.scores else tuple(decisions(test))


def chosen_before(machine: Machine, marks: Marks, result: Value) -> Marks:
    """Of the marks of what decided a result those that stay: not of parts of the score before all that it adds."""
    scores = [machine.trace.evaluations[number] for number in result.scores]
    decided = [machine.trace.evaluations[n].time for mark in marks for n in machine.decided_by(mark)]
    newer = [part for one in scores if one.time > max(decided, default=0) for part in one.targets or one.tokens]
    return tuple(machine.still_open(frozenset(marks), frozenset(newer))) if decided and newer else marks


def gate(machine: Machine, test: Value, line: int) -> Marks:
    """The marks of what a condition on scores decides: `gated` where it compares a target's score with a threshold."""
    marks = choice(machine, [test], line=line)
    return (f"gated:{line}",) if "threshold" in test.marks and len(marks) == 1 else marks


def only_divides(test: ast.expr, does: Sequence[ast.AST]) -> bool:
    """Whether a condition asks if a total is above zero, and what is done then is only to divide by it."""
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Gt | ast.NotEq)):
        return False
    least = getattr(test.comparators[0], "value", None)
    total = ast.dump(test.left)
    return isinstance(least, int | float) and 0 <= least <= SMALL and all(_divides_by(node, total) for node in does)


def _divides_by(node: ast.AST, total: str) -> bool:
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Div) and ast.dump(node.value) == total
    made = node.value if isinstance(node, ast.Assign) else node
    return isinstance(made, ast.BinOp) and isinstance(made.op, ast.Div) and ast.dump(made.right) == total


def steered(machine: Machine, value: Value) -> None:
    """Training goes on as a value says: noted where finished validation scores decided it."""
    lines = [int(mark[9:]) for mark in value.marks if mark.startswith("finished:")]
    if lines:
        machine.note("training-steered-by-score", "what a validation score decides here steers it", line=min(lines))


def unshifted(op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result; the largest of logarithms that is taken off and put back, as in a sum of them, decides nothing."""
    if isinstance(op, ast.Sub):
        if put_back := _lines(left, "greater") & _lines(right, "shifted"):  # of negative logarithms
            return changed(
                result, marks=result.marks - {f"{n}:{at}" for at in put_back for n in ("greater", "shifted")}
            )
        names = LARGEST if "logs" in left.marks else LARGEST[:1]
        lines = _lines(right, *names) - _lines(left, *names)
        lines |= _lines(left, "greater") - _lines(right, "greater") if "costs" in right.marks else set()
        gone = {f"{name}:{line}" for line in lines for name in (*LARGEST, "finished")}
        return changed(result, marks=(result.marks - gone) | {f"shifted:{line}" for line in lines}) if lines else result
    if isinstance(op, ast.Add):
        lines = (_lines(left, *LARGEST) & _lines(right, "shifted")) | (
            _lines(right, *LARGEST) & _lines(left, "shifted")
        )
        gone = {f"{name}:{line}" for line in lines for name in (*LARGEST, "finished", "shifted")}
        return changed(result, marks=result.marks - gone) if lines else result
    return result


def _lines(value: Value, *names: str) -> set[str]:
    return {mark.partition(":")[2] for mark in value.marks if mark.partition(":")[0] in names}


def smallest(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`min(...)`: of scores, of positions, or of anything else."""
    return _least(machine, arguments, keywords, is_min=True)


def largest(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`max(...)`: of scores, of positions, or of anything else."""
    return _least(machine, arguments, keywords, is_min=False)


def _least(machine: Machine, arguments: Sequence[Value], keywords: Keywords, *, is_min: bool) -> Value:
    if arguments and "key" in keywords and (found := _least_by(machine, arguments, keywords["key"])) is not None:
        return found
    if len(arguments) == 1:
        value = full(arguments[0])
        result = changed(combined([value]), number=None)
        if is_score(machine, value):
            return result.with_marks(*choice(machine, [value]))
        return changed(result, refs=())
    result = smaller(machine, list(arguments), combined(arguments), of_tensors=False)
    result = result if is_min else larger(machine, arguments, result)
    return extreme(machine, arguments, result, smallest=is_min)


def _least_by(machine: Machine, arguments: Sequence[Value], key: Value) -> Value | None:
    """`min(candidates, key=function)`: a candidate, marked if a validation score decides; None if none does."""
    line = machine.place.line
    asked = _asked(machine, arguments, key)
    marks, parts = _decided_by(machine, asked, line), [activations(value) for value in asked]
    if not (marks or any(parts)):
        return None
    candidates = arguments if len(arguments) > 1 else _elements(machine, arguments[0])
    return depending(joined(candidates).with_marks(*marks), *parts)


def marks_by(machine: Machine, arguments: Sequence[Value], key: Value) -> Marks:
    """The marks of what a key function decides that looks at validation scores; none if it does not."""
    line = machine.place.line
    return _decided_by(machine, _asked(machine, arguments, key), line)


def _decided_by(machine: Machine, asked: list[Value], line: int) -> Marks:
    scored = [value for value in asked if is_score(machine, value)]
    return choice(machine, scored, line=line) if scored else ()


def _asked(machine: Machine, arguments: Sequence[Value], key: Value) -> list[Value]:
    """What a key function says of each candidate."""
    candidates = list(arguments) if len(arguments) > 1 else _elements(machine, arguments[0])
    if any(isinstance(ref, Function) for ref in key.refs):
        return [full(machine.call(key, [candidate], {})) for candidate in candidates]
    if any(isinstance(ref, External) for ref in key.refs):
        return [full(candidate) for candidate in candidates]
    return [full(key)]  # a bound method, as `scores.get`


def _elements(machine: Machine, value: Value) -> list[Value]:
    if any(isinstance(ref, Mapping) for ref in value.refs):
        return [UNKNOWN]
    loop = machine.new_id()
    found = []
    for k, element in enumerate(iterated(machine, value, loop).elements):
        machine.loops.append((loop, k))
        found.append(element)
        machine.loops.pop()
    return found
