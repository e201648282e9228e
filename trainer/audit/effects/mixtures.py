"""How much a distribution over the vocabulary sums to, through weights, sums and logarithms.

`mass:` says it where it is certain: 1 after a softmax, less or more after a weight that is a number. A distribution
times a weight that is not known is `weighted`. A sum that comes to more than one whatever the unknown weights are is
`unnormalised`, until it is divided by its total, goes through a softmax, or its logarithm is shifted.

Other things done to probabilities of the target leave no distribution, whatever they are weighed with: the larger of
two is taken (`greater`), powers of them are multiplied (`powered`), or a count of a pair is divided by a constant
(`constant`; `uneven` where it is mixed into the score of that target). A weight may be any of these.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

from trainer.audit.effects.gates import by, independent
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.values import NOTHING, Value, changed, full, is_scalar

SPREAD = ("probability", "weighted", "logs")
UNEVEN = ("greater", "powered", "uneven", "constant")
NEARLY = 1e-6
LARGEST_LOG = 50.0


def distribution(result: Value, *, logs: bool = False) -> Value:
    """The result, which is a distribution that sums to one, or its logarithm."""
    marked = kept(result, frozenset(["logs"] if logs else ["probability"]), 1.0)
    return marked.without_marks("unnormalised", *UNEVEN)


def kept(result: Value, marks: frozenset[str], mass: float | None) -> Value:
    """The result with these marks of a distribution, and what it sums to."""
    plain = result.without_marks(*SPREAD, "mass")
    return plain.with_marks(*(marks & set(SPREAD)), *(() if mass is None else (f"mass:{mass!r}",)))


def same_spread(result: Value, held: Value) -> Value:
    """The result, which is the same distribution in another form, or its part at the targets."""
    return kept(result, held.marks, mass_of(held)) if is_spread(held) else result


def transformed(result: Value, held: Value, name: str) -> Value:
    """The logarithm of a distribution, the distribution of a logarithm, or one in another type."""
    marks = held.marks | {"logs"} if name in ("log", "log2") else held.marks
    if name == "exp":
        marks = (marks - {"logs"}) | {"probability"}
    if name == "neg":
        return result if "logs" in marks else kept(result, marks, None)
    return kept(result, marks, mass_of(held))


def is_spread(value: Value) -> bool:
    """Whether it is a distribution, a part of one, or the logarithm of that."""
    return any(mark in value.marks for mark in SPREAD)


def mass_of(value: Value) -> float | None:
    """What it sums to; None if that is not certain."""
    return next((float(mark[5:]) for mark in value.marks if mark.startswith("mass:")), None)


def _is_told(machine: Machine, value: Value) -> bool:
    """Whether it may be of the targets alone: what a model, or the rows of a table, say of them."""
    return "row" in value.marks or machine.holds_loss(value)


def larger(machine: Machine, values: Sequence[Value], result: Value) -> Value:
    """The larger of several values: of two distributions it is none, at the target or before it is looked at."""
    held = [full(value) for value in values]
    logs = [value for value in held if "logs" in value.marks]
    if len(logs) > 1:
        return result.with_marks(f"greater:{machine.place.line}")
    spread = [value for value in held if is_spread(value) and "logs" not in value.marks]
    if len(spread) > 1:
        return kept(result, frozenset(["probability"]), None).with_marks(f"greater:{machine.place.line}")
    for whole in (*logs, *spread):
        if _is_whole(whole) and any(_knows_more(value, whole) for value in held):
            marks = whole.marks & {"probability", "logs"}
            return kept(result, marks, None).with_marks(f"greater:{machine.place.line}")
    if spread and _is_told(machine, spread[0]) and all(is_scalar(value) or value is spread[0] for value in held):
        return kept(result, frozenset(["probability"]), None)
    return result


def _is_whole(value: Value) -> bool:
    """Whether it certainly sums to one already, so that it exceeds that with anything added to it."""
    return (mass := mass_of(value)) is not None and mass > 1 - NEARLY


def _knows_more(value: Value, whole: Value) -> bool:
    """Whether a value was computed with models or tables that a distribution was not: it is no floor or mask of it."""
    return bool(value.objects - whole.objects) and bool(value.tokens or value.scores) and not is_scalar(value)


def _is_added_to(whole: Value, other: Value) -> bool:
    """Whether something that other models or tables say is added to what sums to one, and nothing was taken off it."""
    return is_spread(whole) and _is_whole(whole) and _knows_more(other, whole) and "difference" not in other.marks


def smallest_cost(machine: Machine, values: Sequence[Value], result: Value) -> Value:
    """The smaller of several values: of two negative logarithms it is as the larger of two logarithms."""
    costs = [value for value in map(full, values) if "costs" in value.marks]
    return result.with_marks(f"greater:{machine.place.line}") if len(costs) > 1 else result


def stacked(machine: Machine, parts: Sequence[Value], result: Value) -> Value:
    """The result of `stack` and its like: marked where several probabilities of the same targets stand in it, or the
    logarithms of two distributions that sum to more than one."""
    told = [part for part in parts if is_spread(part) and "logs" not in part.marks and _is_told(machine, part)]
    result = result.with_marks("several") if len(told) > 1 else result
    if len(parts) != 2 or not all("logs" in part.marks for part in parts):
        return result
    both = summed(machine, parts[0], parts[1], Value(), logs=True)
    return result.with_marks(*(f"exceeds:{mark[13:]}" for mark in both.marks if mark.startswith("unnormalised:")))


def of_stacked(held: Value, result: Value) -> Value:
    """The logarithm of the sum of the distributions whose logarithms were stacked."""
    lines = [mark[8:] for mark in held.marks if mark.startswith("exceeds:")]
    return result.without_marks("exceeds").with_marks(*(f"unnormalised:{line}" for line in lines))


def of_power(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result; a logarithm times a number, or a distribution to a power, is `power`; several of them `powered`."""
    if any("power" in value.marks for value in (left, right)):
        together = ast.Mult if "raised" in left.marks else ast.Add
        if isinstance(op, together) and all("power" in value.marks for value in (left, right)):
            marked = kept(result, frozenset(["weighted"]), None) if together is ast.Mult else result
            told = all(_is_told(machine, value) for value in (left, right))
            return marked.with_marks("power", f"{'powered' if told else 'powers'}:{machine.place.line}")
        return result
    for value, number in ((left, right), (right, left)):
        if isinstance(number.const, float) and 0 < number.const < 1:
            if isinstance(op, ast.Mult) and value.marks & {"logs", "costs"}:
                return result.with_marks("power")
            if isinstance(op, ast.Pow) and value is left and is_spread(value) and "logs" not in value.marks:
                return result.with_marks("power", "raised")
    return result


def at_targets(held: Value, result: Value) -> Value:
    """What a distribution, or its logarithm, says of the targets."""
    found = (f"powered:{mark[7:]}" for mark in held.marks if mark.startswith("powers:"))
    return same_spread(result, held).with_marks(*found)


def mixed_with(machine: Machine, score: Value, counted: Value, result: Value) -> Value:
    """The result of a score and a count over a constant, `uneven` where that counts the target that is scored."""
    lines = [mark[9:] for mark in counted.marks if mark.startswith("constant:")]
    targets = {part for number in score.scores for part in machine.trace.evaluations[number].targets}
    sides = {mark for mark in score.marks & counted.marks if mark.startswith("target:")}
    if not (sides or targets & counted.tokens):
        return result
    return result.with_marks(*(f"uneven:{line}" for line in lines))


def of_operation(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The result, marked if it is a distribution, a weighted one, or a sum whose weights do not add up to one."""
    left, right = _as_switched_on(machine, left), _as_switched_on(machine, right)
    result = of_power(machine, op, left, right, result)
    if isinstance(op, ast.Sub) and (right.tokens or right.scores) and not machine.holds_loss(right):
        result = result.without_marks(*UNEVEN)  # the logarithm of a total
    if "logs" in left.marks | right.marks:
        return _of_logarithms(op, left, right, result)
    spread = [is_spread(value) for value in (left, right)]
    if isinstance(op, ast.Div) and not spread[0] and _is_own_total(machine, left, right):
        return kept(result, frozenset(["probability"]), None if "scaled" in left.marks else 1.0)
    if not any(spread):
        return result
    if isinstance(op, ast.Sub):
        return result.with_marks("difference")
    if isinstance(op, ast.Add):
        if all(spread):
            return summed(machine, left, right, result)
        if any(_is_added_to(whole, other) for whole, other in ((left, right), (right, left))):
            return kept(result, frozenset(["weighted"]), None).with_marks(f"unnormalised:{machine.place.line}")
        return result.without_marks("unnormalised").with_marks("probability")
    if isinstance(op, ast.Div) and spread[0]:
        return _divided(left, right, result)
    if isinstance(op, ast.Mult) and not all(spread):
        return _weighed(left, right, result) if spread[0] else _weighed(right, left, result)
    return result


def _as_switched_on(machine: Machine, value: Value) -> Value:
    """A value without the number that a setting's default gave it, where that setting is switched on."""
    off = frozenset().union(*machine.off) & value.env if machine.off else frozenset()
    return changed(value, const=NOTHING, number=None) if value.is_known and off else value


def summed(machine: Machine, left: Value, right: Value, result: Value, *, logs: bool = False) -> Value:
    """The sum of two distributions, or of their logarithms by `logaddexp`.

    logs:  by `logaddexp`, of which the result is more than either
    """
    space = left.marks & right.marks & {"logs"}
    for whole, other in ((left, right), (right, left)):
        if logs and _is_whole(whole) and "logs" in whole.marks and _knows_more(other, whole):
            return kept(result, frozenset(["logs", "weighted"]), None).with_marks(f"unnormalised:{machine.place.line}")
    if not (is_spread(left) and is_spread(right)) or len(space) != len((left.marks | right.marks) & {"logs"}):
        return result
    masses = [mass_of(left), mass_of(right)]
    known = [mass for mass in masses if mass is not None]
    total = sum(known) if len(known) == len(masses) else None
    gates = {mark for value in (left, right) for mark in value.marks if mark.startswith("by:")}
    if independent(left, right):
        marked = kept(result, space | {"weighted"}, None).with_marks(*gates)
        return marked.with_marks(f"unnormalised:{machine.place.line}")
    if gates and total is None:  # another part may take what the gates leave
        result = result.without_marks("unnormalised")
    if total is not None and abs(total - 1) < NEARLY:
        return distribution(result, logs=bool(space))
    other = left if masses[0] is None else right
    if total is None and (not known or known[0] < 1 - NEARLY or "weighted" not in other.marks):
        return kept(result, space or frozenset(["probability"]), None)
    result = kept(result, space | {"weighted"}, total)
    if total is not None and total < 1:
        return result
    return result.with_marks(f"unnormalised:{machine.place.line}")


def _is_own_total(machine: Machine, left: Value, right: Value) -> bool:
    """Whether something is divided by its sum: what was computed from the same."""
    held, total = full(left), full(right)
    if "summed" not in right.marks or "summed" in left.marks or machine.holds_loss(held):
        return False
    parts = [{(part.source, part.at, part.low, part.high) for part in value.tokens} for value in (held, total)]
    return bool(held.tokens) and parts[0] == parts[1] and held.objects == total.objects


def _divided(left: Value, right: Value, result: Value) -> Value:
    """A distribution over its total, or over how many were added."""
    mass = mass_of(left)
    plain = result.without_marks("unnormalised")
    if isinstance(right.const, int | float) and right.const and mass is not None:
        return _of_mass(plain, left, mass / right.const)
    if right.tokens or right.scores:
        return distribution(plain)
    return kept(plain, frozenset(["probability"]), None)


def _weighed(spread: Value, weight: Value, result: Value) -> Value:
    mass = mass_of(spread)
    own = {mark for mark in weight.marks - spread.marks if mark.partition(":")[0] in UNEVEN}
    result = changed(result, marks=result.marks - own)
    plain = result.without_marks("unnormalised") if weight.is_known else result
    if isinstance(weight.const, int | float) and mass is not None:
        return _of_mass(plain, spread, mass * weight.const)
    marks = frozenset(["probability"] if _was_summed(result) and weight.is_known else ["weighted"])
    return kept(plain, marks, None).with_marks(*by(weight))


def _of_mass(result: Value, spread: Value, mass: float) -> Value:
    logs = spread.marks & {"logs"}
    if abs(mass - 1) < NEARLY:
        return distribution(result, logs=bool(logs))
    return kept(result, logs | {"weighted"}, mass)


def _of_logarithms(op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """The logarithm of a distribution plus or minus that of a weight."""
    both = "logs" in left.marks and "logs" in right.marks
    if both or not isinstance(op, ast.Add | ast.Sub) or (isinstance(op, ast.Sub) and "logs" in right.marks):
        return result
    logs, shift = (left, right) if "logs" in left.marks else (right, left)
    if isinstance(shift.const, int | float) and abs(shift.const) < LARGEST_LOG:
        if shift.const == 0:
            return same_spread(result, logs)
        factor = math.exp(shift.const if isinstance(op, ast.Add) else -shift.const)
        plain, mass = result.without_marks("unnormalised"), mass_of(logs)
        marks = frozenset(["logs"] if _was_summed(result) else ["logs", "weighted"])
        return _of_mass(plain, logs, mass * factor) if mass is not None else kept(plain, marks, None)
    if logs is right and not by(shift):  # added to what was summed before
        return result
    marks = frozenset(["logs"] if _was_summed(result) else ["logs", "weighted"])
    weighed = kept(result.without_marks("unnormalised"), marks, None)
    return weighed.with_marks(*by(shift)) if isinstance(op, ast.Add) else weighed


def _was_summed(result: Value) -> bool:
    return any(mark.startswith("unnormalised:") for mark in result.marks)
