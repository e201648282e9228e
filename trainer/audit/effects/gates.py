"""Weights of a mixture that are sigmoids: which belong together, and sums of distributions that they cannot make one.

`gate:N` is a sigmoid of what has the number N, `rest:N` what is left of it to one: `1 - a`, or the sigmoid of the
negative. Whatever else is done to a gate takes the mark off. A distribution times a gate is `by` it. Two distributions
by gates that are not each other's rest sum to one only by chance, unless a third part takes what is left.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.values import Value

GATES = ("gate", "rest", "minus", "named")
SAME = ("squeeze", "unsqueeze", "view", "reshape", "flatten", "detach", "float", "item", "to", "expand", "double")
"""Methods after which a gate is the same one."""


def called(machine: Machine, node: ast.Call, values: Sequence[Value], result: Value) -> Value:
    """The result of a call; of a sigmoid it is a gate, or the rest of one: by its argument, and by how that is written.

    values:  what the argument is, or the object of the method
    """
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("sigmoid", "logsigmoid", "sigmoid_") or not values:
        return result
    asked = node.args[0] if node.args else node.func.value if isinstance(node.func, ast.Attribute) else node
    kinds = {f"gate:{_numbered(machine, values[0])}", f"gate:{ast.unparse(asked)}"}
    kinds |= {f"gate:.{mark[6:]}" for mark in values[0].marks if mark.startswith("named:")}
    kinds |= {f"rest:{mark[6:]}" for mark in values[0].marks if mark.startswith("minus:")}
    if isinstance(asked, ast.UnaryOp) and isinstance(asked.op, ast.USub):
        kinds.add(f"rest:{ast.unparse(asked.operand)}")
    if isinstance(asked, ast.BinOp) and isinstance(asked.op, ast.Sub):
        kinds.add(f"rest:{ast.unparse(asked.right)} - {ast.unparse(asked.left)}")
    return result.with_marks(*kinds)


def _numbered(machine: Machine, value: Value) -> str:
    """The number of what a sigmoid is taken of."""
    number, _ = machine.divisions.setdefault((-5, id(value)), (machine.new_id(), value))
    return str(number)


def negated(machine: Machine, value: Value, result: Value) -> Value:
    """`-value`, of which a sigmoid is the rest of that of the value."""
    if not (value.tokens or value.objects):
        return result
    named = (f"minus:.{mark[6:]}" for mark in value.marks if mark.startswith("named:"))
    return result.with_marks(f"minus:{_numbered(machine, value)}", *named)


def of_numbers(machine: Machine, op: ast.operator, left: Value, right: Value, result: Value) -> Value:
    """`1 - gate`: its rest; `0 - value` and `-1 * value`: its negative."""
    for number, other in ((left, right), (right, left)):
        if (isinstance(op, ast.Mult) and number.const == -1) or (isinstance(op, ast.Sub) and left.const == 0):
            return negated(machine, other, result)
    if not isinstance(op, ast.Sub) or left.const != 1:
        return result
    swapped = {"gate": "rest", "rest": "gate"}
    own = [mark.partition(":") for mark in right.marks if mark.startswith(("gate:", "rest:"))]
    return result.with_marks(*(f"{swapped[kind]}:{number}" for kind, _, number in own))


def same_gate(value: Value, result: Value) -> Value:
    """The result, which is the same gate in another form."""
    return result.with_marks(*(mark for mark in value.marks if mark.partition(":")[0] in GATES))


def by(weight: Value) -> frozenset[str]:
    """The marks of a distribution that a gate weighs; of one that something else weighs, none."""
    return frozenset(f"by:{mark}" for mark in weight.marks if mark.startswith(("gate:", "rest:")))


def independent(left: Value, right: Value) -> bool:
    """Whether two distributions are weighed by gates of which none is another's rest."""
    gates = [{mark[3:] for mark in value.marks if mark.startswith("by:")} for value in (left, right)]
    numbers = [{mark.partition(":")[2] for mark in marks} for marks in gates]
    return all(numbers) and not numbers[0] & numbers[1]
