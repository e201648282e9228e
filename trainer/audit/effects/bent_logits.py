"""Logits that are changed by what their targets are, or by where the next document begins, before they are scored.

Whatever is multiplied with logits, added to them, or chooses between two of them, and is no score itself, may have
bent them: `bent:N`, with a number for what did. Where they become losses, of targets that these were computed from,
the loss bears `shaped:LINE`. A border of documents that a search for the next one found is `ahead`. The part of logits
at their targets, and a sum of them, is bent no more: `(logits * one_hot).sum()` only looks them up.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainer.audit.effects.mixtures import is_spread
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.values import Value, changed, combined, full

REDUCING = ("sum", "mean", "amax", "max", "amin", "min", "argmax", "topk", "nansum")
"""What makes one number of all logits of a place."""
KEEPING = ("clamp", "clamp_", "clip", "clamp_max", "clamp_min", "to", "long", "int", "view", "reshape", "squeeze")
"""Methods after which a place in a table is the same one, but at its ends."""
IN_PLACE = ("mul_", "div_", "add_", "sub_", "scatter_add_", "index_add_", "index_put_")
"""Methods that change a tensor to what depends on what it was."""
SEARCHES = ("searchsorted", "bucketize")


def is_logits(machine: Machine, value: Value) -> bool:
    """Whether a model computed it, and it is no distribution and no loss yet."""
    return bool(value.scores) and "logs" not in value.marks and not machine.holds_loss(value)


def bent(machine: Machine, logits: Value, other: Value, result: Value) -> Value:
    """The result of logits and of something else that may have been computed from their targets.

    Not a distribution that they are mixed with, and not a mask, which says what is kept at all.
    """
    if not is_logits(machine, logits) or other.scores or is_spread(other) or "mask" in other.marks:
        return result
    other = changed(other, marks=other.marks - logits.marks)
    if not (other.tokens or "ahead" in other.marks):
        return result
    number, _ = machine.divisions.setdefault((-6, (machine.place.line, id(other))), (machine.new_id(), other))
    return result.with_marks(f"bent:{number}:{machine.place.line}")


def of_two(machine: Machine, left: Value, right: Value, result: Value) -> Value:
    """The result of an operation on two values, of which one may be logits."""
    return bent(machine, right, full(left), bent(machine, left, full(right), result))


def changed_there(machine: Machine, name: str, logits: Value, arguments: Sequence[Value]) -> Value:
    """What logits are after a method that changes them in place."""
    return logits if logits.refs or name not in IN_PLACE else of_places(machine, logits, combined(arguments))


def of_places(machine: Machine, logits: Value, places: Value) -> Value:
    """Logits that are changed at some places, as `logits[rows, targets] += 1`."""
    return bent(machine, logits, full(places).without_marks("mask"), logits)


def chosen(machine: Machine, test: Value, either: Sequence[Value], result: Value) -> Value:
    """The result of `where(test, a, b)`, with logits on both sides."""
    if len(either) != 2 or not all(is_logits(machine, full(value)) for value in either):
        return result
    return bent(machine, full(either[0]), full(test).without_marks("mask"), result)


def reduced(name: str, result: Value) -> Value:
    """The result of a method; what makes one number of many is bent no more."""
    return result.without_marks("bent") if name in REDUCING else result


def scored(machine: Machine, given: Value, targets: Value) -> Value:
    """What losses of these targets are computed from: `shaped` where the targets bent it."""
    numbers = [mark.split(":")[1:] for mark in given.marks if mark.startswith("bent:")]
    if not numbers:
        return given
    values = {str(number): value for key, (number, value) in machine.divisions.items() if key[0] == -6}
    asked = full(targets)
    lines = [line for number, line in numbers if _is_theirs(machine, values[number], asked)]
    return given.without_marks("bent").with_marks(*(f"shaped:{line}" for line in lines))


def _is_theirs(machine: Machine, other: Value, targets: Value) -> bool:
    """Whether a value was computed from these targets themselves, or from what comes after them."""
    own = {part for part in targets.tokens if part.via == "tokens"}
    if "ahead" in other.marks or (own & other.tokens and _sides(other) & _sides(targets)):
        return True
    texts = {target.source for target in own}
    later = [part for part in other.tokens if texts == {part.source} and all(one.is_before(part) for one in own)]
    earlier = [one for one in machine.trace.evaluations.values() if one.is_loss and later]
    return any(not any(part.overlaps(seen) for one in earlier for seen in one.targets) for part in later)


def _sides(value: Value) -> set[str]:
    """The targets that it was computed from, of a window, or a slice of the text that is no window's inputs."""
    targets = {mark for mark in value.marks if mark.startswith("target:")}
    of_a_window = any(mark.startswith(("input:", "early:")) for mark in value.marks)
    return targets if targets or of_a_window else {mark for mark in value.marks if mark.startswith("from:")}


def searched(machine: Machine, name: str, base: Value, result: Value) -> Value:
    """The result of a method; of a search among the borders of documents it is the place of the next one."""
    if name in SEARCHES and "border" in full(base).marks:
        number, _ = machine.divisions.setdefault((-7, id(base)), (machine.new_id(), base))
        return result.with_marks(f"following:{number}")
    kept = [mark for mark in base.marks if mark.startswith("following:")] if name in KEEPING else []
    return result.with_marks(*kept)


def found_at(machine: Machine, base: Value, index: Value, result: Value) -> Value:
    """`base[index]`: the next border, where the place of that one was searched in the same table."""
    if not any(mark.startswith("following:") for mark in index.marks):
        return result
    number = machine.divisions.get((-7, id(base)), (0, base))[0]
    return result.with_marks("ahead") if f"following:{number}" in index.marks else result
