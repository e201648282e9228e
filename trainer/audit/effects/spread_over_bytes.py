"""A target's log-probability that is spread over its bytes and mixed with a model of bytes, which is no distribution.

How many bytes a share is divided by is known only when the target is, so the shares of all targets do not add up. Marks
of a number say what it is, and only what is listed here keeps them: `spread:L` such a logarithm, `shared:L` its
probability, `larger:L` the larger of it and another, `blend:L` a mixture with another in line L, or a sum of such.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.values import Value, full

KINDS = ("spread", "shared", "larger", "blend")
PREFIXES = tuple(f"{kind}:" for kind in KINDS)
SAME = frozenset(
    ["float", "double", "item", "cpu", "numpy", "tolist", "abs", "fabs", "array", "asarray", "tensor", "as_tensor",
     "from_numpy", "repeat", "repeat_interleave", "concatenate", "cat", "stack", "reshape", "view", "flatten", "to",
     "squeeze", "unsqueeze", "detach", "astype", "negative", "neg"]
)  # fmt: skip
"""Functions and methods whose result is the same numbers in another form."""
ADDED = frozenset(["sum", "fsum", "mean", "cumsum"])
OF_LOGARITHM, TO_LOGARITHM = frozenset(["exp"]), frozenset(["log", "log1p", "log2", "log10"])


def piece_of(base: Value, index: Value) -> tuple[str, ...]:
    """The marks of a piece that a list or dictionary of pieces holds for a token: its length is that in bytes."""
    return ("piece",) if base.refs and index.tokens and not index.scores else ()


def size_of(value: Value) -> tuple[str, ...]:
    """The marks of `len(piece)`."""
    if "piece" not in value.marks:
        return ()
    return ("bytes", *(mark for mark in value.marks if mark.startswith("sized:")))


def _of(value: Value, kind: str) -> bool:
    return bool(value.marks) and any(mark.startswith(f"{kind}:") for mark in value.marks)


def _is_any(value: Value) -> bool:
    return any(mark.startswith(PREFIXES) for mark in value.marks)


def _is_other(value: Value) -> bool:
    """Whether it may be the probability of another model: no number of the script, and no score."""
    return not value.is_known and not value.scores and not _is_any(value)


def of_operation(machine: Machine, op: ast.operator, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of `left op right`."""
    line = machine.place.line
    if isinstance(op, ast.Div) and left.scores and "bytes" in right.marks and not right.scores and not _is_any(left):
        return (f"spread:{line}",) if machine.holds_loss(left) else ()
    if not (_is_any(left) or _is_any(right)):
        return ()
    if isinstance(op, ast.Div):
        return () if _is_any(right) else (*_kept(left, "shared"), *_kept(left, "blend"))
    if isinstance(op, ast.Mult):
        one, other = (left, right) if _is_any(left) else (right, left)
        return () if _is_any(other) else (*_kept(one, "shared"), *_kept(one, "blend"))
    if not isinstance(op, ast.Add | ast.Sub):
        return ()
    for one, other in ((left, right), (right, left)):
        if _of(one, "blend"):
            return _kept(one, "blend")
        mixes = _of(one, "shared") and _is_other(other)
        if isinstance(op, ast.Add) and (mixes or (_of(one, "larger") and not other.is_known)):
            return (f"blend:{line}",)
        if _of(one, "spread") and not other.scores and (isinstance(op, ast.Add) or one is left):
            return _kept(one, "spread")  # a weight, as a logarithm
    return ()


def of_call(machine: Machine, name: str, arguments: Sequence[Value]) -> tuple[str, ...]:
    """The marks of `name(value, ...)` and `value.name(...)`."""
    if name not in HANDLED:
        return ()
    each = [full(value) if value.refs else value for value in arguments]
    if not any(map(_is_any, each)):
        return ()
    line, first = machine.place.line, each[0]
    if name in ("logaddexp", "max", "maximum"):
        mixes = any(_of(one, "spread") for one in each) and any(map(_is_other, each))
        return (f"{'blend' if name == 'logaddexp' else 'larger'}:{line}",) if mixes else ()
    if name in OF_LOGARITHM:
        return tuple(f"shared:{mark.partition(':')[2]}" for mark in _kept(first, "spread"))
    if name in TO_LOGARITHM:
        logs = (f"spread:{mark.partition(':')[2]}" for mark in _kept(first, "shared"))
        return (*logs, *_kept(first, "blend"))
    if name in ADDED:
        return _kept(first, "blend")
    return tuple(mark for kind in KINDS for mark in _kept(first, kind))


HANDLED = SAME | ADDED | OF_LOGARITHM | TO_LOGARITHM | {"logaddexp", "max", "maximum"}


def _kept(value: Value, kind: str) -> tuple[str, ...]:
    return tuple(mark for mark in value.marks if mark.startswith(f"{kind}:"))
