"""What a generator yields outside of its loops and has not yielded within them: the last group, the rest, a first part.

Told by syntax: a name that the loop empties or moves on where it yields, or a slice that begins where those of the loop
end, or ends where they begin. Anything else that comes twice may be the same tokens again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from trainer.audit.effects.iteration import with_iteration
from trainer.audit.facts.frames import Frame
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Iterations
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.facts.values import Value, changed

LOOPS = (ast.For, ast.AsyncFor, ast.While)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FIRST, REST = 0, 3
"""Numbers of what comes before the two iterations of a loop that are walked, and of what comes behind them."""
ONE = Polynomial.constant(1)
Sizes = dict[str, Polynomial | None]


@dataclass(frozen=True, eq=False)
class _Yield:
    """A yield, the statements that it stands among, and the outermost loop around it."""

    node: ast.Yield
    block: Sequence[ast.stmt]
    loop: ast.stmt | None

    @property
    def parts(self) -> list[ast.expr]:
        """What it yields, one by one."""
        value = self.node.value
        return value.elts if isinstance(value, ast.Tuple) else [value] if value is not None else []


@dataclass(eq=False)
class Yields:
    """The yields of one run of a generator that are parts of one thing, by what is known of their loops."""

    loops: dict[ast.Yield, ast.stmt] = field(default_factory=dict)
    outside: dict[ast.Yield, list[tuple[ast.stmt, int, tuple[int, ...]]]] = field(default_factory=dict)
    """For yields outside of a loop: that loop, before or behind it, and which elements of a tuple are others there."""
    numbers: dict[ast.stmt, int] = field(default_factory=dict)


def told_from_others(machine: Machine, value: Value, node: ast.Yield, frame: Frame) -> Value:
    """What is yielded; where it is a part of one thing, told from the parts that other statements yield."""
    if frame.yields is None:
        frame.yields = _yields_of(machine.active[-1]) if machine.active else Yields()  # no function: Python refuses it
    yields: Yields = frame.yields
    inner = machine.loops[frame.depth :]
    if inner and node in yields.loops:
        run = yields.numbers.setdefault(yields.loops[node], machine.new_id())
        return with_iteration(value, frozenset([*inner, (run, inner[0][1] + 1)]))
    for loop, number, places in yields.outside.get(node, ()):
        at: Iterations = frozenset([(yields.numbers.setdefault(loop, machine.new_id()), number)])
        whole = not isinstance(node.value, ast.Tuple)
        value = with_iteration(value, at) if whole else _with_some(value, places, at)
    return value


def _with_some(value: Value, places: Sequence[int], at: Iterations) -> Value:
    """A tuple, some of whose elements these iterations decide."""
    refs = []
    for ref in value.refs:
        if isinstance(ref, Listed) and ref.fixed:
            elements = [with_iteration(part, at) if k in places else part for k, part in enumerate(ref.elements)]
            ref = replace(ref, elements=elements)
        refs.append(ref)
    return changed(value, refs=tuple(refs))


def _yields_of(function: ast.AST) -> Yields:
    """Which yields of a generator are parts of one thing."""
    found, each, sizes = Yields(), list(_each(getattr(function, "body", []), None)), _sizes_in(function)
    for one in each:
        for other in each:
            if one.loop is not None or other.loop is None:
                continue
            before = one.node.lineno < other.loop.lineno
            places = tuple(k for k, part in enumerate(one.parts) if _is_other(part, k, other, before, sizes))
            if places:
                found.outside.setdefault(one.node, []).append((other.loop, FIRST if before else REST, places))
                found.loops[other.node] = other.loop
    return found


def _each(body: Sequence[ast.stmt], loop: ast.stmt | None) -> Iterator[_Yield]:
    for statement in body:
        if isinstance(statement, SCOPES):
            continue
        around = loop or (statement if isinstance(statement, LOOPS) else None)
        for name in ("body", "orelse", "finalbody"):
            yield from _each(getattr(statement, name, []), around)
        for inner in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            yield from _each(inner.body, around)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield):
            yield _Yield(statement.value, body, loop)


def _is_other(part: ast.expr, place: int, looped: _Yield, before: bool, sizes: Sizes) -> bool:
    """Whether a part of what is yielded before or behind a loop is none that the loop yields."""
    if not before and _begins(part) & _moved(looped):
        return True
    within = looped.parts[place : place + 1]
    return any(
        _meet(own, other, looped.loop, before, sizes)
        for own in _slices(part)
        for each in within
        for other in _slices(each)
    )


def _begins(node: ast.AST) -> set[str]:
    """The names that an expression depends on; of a slice or range those of where it begins."""
    if (name := _name(node)) is not None:
        return {name}
    if isinstance(node, ast.Slice):
        return _begins(node.lower) if node.lower is not None else set()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return _begins(node.args[0]) if len(node.args) > 1 else set()
    return set().union(*(_begins(inner) for inner in ast.iter_child_nodes(node)))


def _name(node: ast.AST) -> str | None:
    """A name, or one of an object's, as `self.group`; None for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else None
    return node.id if isinstance(node, ast.Name) else None


def _names(node: ast.AST) -> set[str]:
    if (name := _name(node)) is not None:
        return {name}
    return set().union(*(_names(inner) for inner in ast.iter_child_nodes(node)))


def _moved(looped: _Yield) -> set[str]:
    """Names of what a loop yields that are emptied, or moved on behind their use, where it yields them."""
    k = next(k for k, statement in enumerate(looped.block) if getattr(statement, "value", None) is looped.node)
    used, found = _names(looped.node), set()
    for statement in looped.block[k + 1 :]:
        found |= _changed(statement) & used
    later: set[str] = set()
    for statement in reversed(looped.block[:k]):
        targets = _changed(statement)
        found |= _emptied(statement)
        if targets & used:
            asked = _names(getattr(statement, "value", statement))
            found |= asked & later
            used |= asked
        later |= targets
    return found


def _changed(statement: ast.stmt) -> set[str]:
    """The names that a statement gives other values, empties or takes something out of."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        return _names(called.value) if isinstance(called, ast.Attribute) and called.attr == "clear" else set()
    if isinstance(statement, ast.Assign | ast.Delete):
        return set().union(*(_names(target) for target in statement.targets))
    return _names(statement.target) if isinstance(statement, ast.AugAssign | ast.AnnAssign) else set()


def _emptied(statement: ast.stmt) -> set[str]:
    """The names that a statement makes empty lists, as `group, rest = rest, []`."""
    if not isinstance(statement, ast.Assign):
        return set()
    found: set[str] = set()
    for target in statement.targets:
        both = [(target, statement.value)]
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            both = list(zip(target.elts, statement.value.elts, strict=False))
        found |= {name for one, value in both if (name := _name(one)) is not None and _is_empty(value)}
    return found


def _is_empty(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("list", "deque") and not node.args
    return isinstance(node, ast.List) and not node.elts


def _slices(node: ast.AST) -> Iterator[ast.Subscript]:
    return (part for part in ast.walk(node) if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Slice))


def _meet(own: ast.Subscript, other: ast.Subscript, loop: ast.stmt | None, before: bool, sizes: Sizes) -> bool:
    """Whether a slice ends where those of a loop over a range begin, or begins where they end."""
    counted = _counted(loop, sizes)
    if counted is None or ast.dump(own.value) != ast.dump(other.value):
        return False
    name, first, stop, step = counted
    mine, theirs = own.slice, other.slice
    assert isinstance(mine, ast.Slice) and isinstance(theirs, ast.Slice)  # noqa: PT018
    if before:
        ends, begins = _size(mine.upper, sizes), _size(theirs.lower, sizes | {name: first})
        return ends is not None and ends == begins
    begins = _size(mine.lower, sizes)
    if begins is not None and isinstance(mine.lower, ast.UnaryOp):  # counted from the end
        begins = begins.plus(_length(own.value))
    last = stop.plus(step, -1) if stop is not None and step is not None else None
    ends = _size(theirs.upper, sizes | {name: last})
    at_once = _size(theirs.lower, sizes | {name: last})
    if step != ONE and (last is None or at_once != last):  # each begins where the one before it ends
        return False
    return ends is not None and ends == begins


def _counted(
    loop: ast.stmt | None, sizes: Sizes
) -> tuple[str, Polynomial | None, Polynomial | None, Polynomial | None] | None:
    """The name that a range counts, its first number, where it stops, and its step; that divides what is counted."""
    over = loop.iter if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name) else None
    if not isinstance(over, ast.Call) or getattr(over.func, "id", "") != "range" or not over.args:
        return None
    first = Polynomial.constant(0) if len(over.args) == 1 else _size(over.args[0], sizes)
    step = ONE if len(over.args) < 3 else _size(over.args[2], sizes)
    assert isinstance(loop, ast.For) and isinstance(loop.target, ast.Name)  # noqa: PT018
    return loop.target.id, first, _size(over.args[min(1, len(over.args) - 1)], sizes), step


def _sizes_in(function: ast.AST) -> Sizes:
    """Names of a function that are set once, to a size."""
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    stored = [part.id for part in ast.walk(function) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    found: Sizes = {}
    for node in assigned:
        target = node.targets[0]
        if isinstance(target, ast.Name) and stored.count(target.id) == 1:
            size = _size(node.value, found)
            found |= {target.id: size} if size is not None else {}
    return found


def _length(node: ast.expr) -> Polynomial:
    return Polynomial.unknown(f"len {ast.unparse(node)}")


def _size(node: ast.expr | None, known: Sizes) -> Polynomial | None:
    """A size as a polynomial in names; None if it is not known, or not given."""
    if isinstance(node, ast.Constant):
        return Polynomial.constant(node.value) if isinstance(node.value, int) else None
    if isinstance(node, ast.Name):
        return known[node.id] if node.id in known else Polynomial.unknown(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        size = _size(node.operand, known)
        return size.times(Polynomial.constant(-1)) if size is not None else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len" and node.args:
        return _length(node.args[0])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        left, right = _size(node.left, known), _size(node.right, known)
        if left is None or right is None:
            return None
        return (
            left.times(right)
            if isinstance(node.op, ast.Mult)
            else left.plus(right, 1 if isinstance(node.op, ast.Add) else -1)
        )
    return None
