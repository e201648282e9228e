"""The values of expressions, except calls."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trainer.audit.effects import factors, strides
from trainer.audit.effects.arithmetic import (
    _binary,
    _boolean,
    _comparison,
    _unary,
    is_new,
    operation,
    truth,
)
from trainer.audit.effects.choices import chosen_before, chosen_branch, gate, is_score, kept_by, only_divides
from trainer.audit.effects.chunk_borders import filed, kept_under
from trainer.audit.effects.document_lengths import filtered, kept, told_apart
from trainer.audit.effects.extremes import is_loose
from trainer.audit.effects.file_names import named_by, names_asked
from trainer.audit.effects.files import remember_pattern
from trainer.audit.effects.generators import forced, generator_of
from trainer.audit.effects.indexing import (
    _attribute,
    _subscript,
    attribute,
    element,
    item,
)
from trainer.audit.effects.iteration import any_of, chosen_by, few_of, iterated
from trainer.audit.effects.parts_yielded import told_from_others
from trainer.audit.effects.positions import some_by_one
from trainer.audit.effects.settings import switched
from trainer.audit.effects.shares_of_ranks import turns
from trainer.audit.facts.machine import Frame, Function, Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Iterations
from trainer.audit.facts.trace import Place
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Cell,
    External,
    Mapping,
    Sequence,
    Value,
    changed,
    combined,
    constant,
    decisions,
    full,
    joined,
    parts_of,
)

LN2 = (math.log(2.0), 1 / math.log(2.0))


def value_of(machine: Machine, node: ast.expr | None, frame: Frame) -> Value:
    """The value of an expression that is no call."""
    if node is None:
        return UNKNOWN
    handler = HANDLERS.get(type(node))
    return handler(machine, node, frame) if handler else UNKNOWN


def _constant(machine: Machine, node: ast.Constant, frame: Frame) -> Value:
    value = constant(node.value)
    if isinstance(node.value, float) and any(abs(node.value - ln2) < 1e-4 for ln2 in LN2):
        return value.with_marks("ln2")
    if isinstance(node.value, str):
        remember_pattern(machine, node.value, Place(frame.file, node.lineno))
    return value


def _name(machine: Machine, node: ast.Name, frame: Frame) -> Value:
    found = frame.find(node.id)
    return found if found is not None else Value(refs=(External(node.id),))


def _either(machine: Machine, node: ast.IfExp, frame: Frame) -> Value:
    test = machine.evaluate(node.test, frame)
    known = truth(test)
    if known is not None and not test.env:
        taken = machine.evaluate(node.body if known else node.orelse, frame)
        return taken.with_marks(*chosen_branch(test))
    values = machine.evaluate(node.body, frame), machine.evaluate(node.orelse, frame)
    if known is not None:
        switched(machine, test)
        chosen = values[0] if known else values[1]
        return changed(chosen, env=chosen.env | test.env)
    result = factors.either(joined(values))
    if result.number is None and (behind := _is_behind_the_first(machine, node.test, frame)) is not None:
        result = changed(result, number=values[0 if behind else 1].number)
    return result if only_divides(node.test, [node.body]) else _chosen(machine, test, result)


def _is_behind_the_first(machine: Machine, test: ast.expr, frame: Frame) -> bool | None:
    """Whether a condition holds of windows that begin behind the text's start, as those of a rank's share.

    None where it asks something else, or where the share is not known to begin at a number of its own.
    """
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.left, ast.Name)):
        return None
    place, other = machine.evaluate(test.left, frame), machine.evaluate(test.comparators[0], frame)
    if other.const != 0 or not place.at or place.tokens or place.number is None or place.number.value is not None:
        return None
    if is_loose(place) or not place.number.is_at_least(Polynomial.constant(1)):
        return None
    return {ast.Eq: False, ast.LtE: False, ast.Gt: True, ast.NotEq: True}.get(type(test.ops[0]))


def _chosen(machine: Machine, test: Value, result: Value) -> Value:
    if "mask" in test.marks and is_score(machine, test):
        return result.with_marks(*chosen_before(machine, gate(machine, test, machine.place.line), result))
    return result.with_marks(*chosen_before(machine, chosen_branch(test), result))


def _lambda(machine: Machine, node: ast.Lambda, frame: Frame) -> Value:
    return Value(refs=(Function(node, frame, [machine.evaluate(value, frame) for value in node.args.defaults]),))


def _list(machine: Machine, node: ast.List | ast.Tuple | ast.Set, frame: Frame) -> Value:
    elements: list[Value] = []
    rest = None
    for part in node.elts:
        if isinstance(part, ast.Starred):
            held = forced(machine, machine.evaluate(part.value, frame))
            listed = [ref for ref in held.refs if isinstance(ref, Sequence)]
            if listed and rest is None:
                elements += listed[0].elements
            if not listed or listed[0].rest is not None:
                more = [part for ref in listed for part in parts_of(ref)] or [full(held)]
                rest = any_of(more if rest is None else [rest, *more])
        elif rest is None:
            elements.append(machine.evaluate(part, frame))
        else:  # behind elements of unknown number
            rest = joined([rest, machine.evaluate(part, frame)])
    known = rest is None and all(value.is_known for value in elements)
    const = tuple(value.const for value in elements) if known and isinstance(node, ast.Tuple) else NOTHING
    env = frozenset().union(*(value.env for value in elements))
    made = Sequence(machine.new_id(), elements, rest, fixed=isinstance(node, ast.Tuple))
    return Value(refs=(made,), const=const, env=env)


def _dict(machine: Machine, node: ast.Dict, frame: Frame) -> Value:
    made = Mapping(machine.new_id())
    marks: list[str] = []
    for key, part in zip(node.keys, node.values, strict=True):
        value = machine.evaluate(part, frame)
        if key is None:
            marks += decisions(value)
            for ref in value.refs:
                if isinstance(ref, Mapping):
                    made.entries |= ref.entries
                    made.rest = joined([held for held in (made.rest, ref.rest) if held is not None]) or None
        else:
            store(made, machine.evaluate(key, frame), value)
    return Value(refs=(made,)).with_marks(*marks)


def store(mapping: Mapping, key: Value, value: Value) -> None:
    """`mapping[key] = value`."""
    mapping.blank = False
    with suppress(TypeError):
        if key.is_known:
            mapping.entries[key.const] = value
            return
    mapping.rest = value if mapping.rest is None else joined([mapping.rest, value])


def _comprehension(machine: Machine, node: Any, frame: Frame) -> Value:
    inner = Frame(outer=frame, module=frame.module, file=frame.file, function=frame.function)
    is_dict = isinstance(node, ast.DictComp)
    found: list[tuple[Value, Value]] = []
    exact, reordered, counts = True, False, False
    conditions: list[Iterations] = []
    asked: list[Value] = []

    def walk(generators: list[ast.comprehension]) -> None:
        nonlocal exact, reordered, counts
        if not generators:
            if is_dict:
                found.append((machine.evaluate(node.key, inner), machine.evaluate(node.value, inner)))
            else:
                value = some_by_one(machine, machine.evaluate(node.elt, inner), asked)
                found.append((UNKNOWN, chosen_by(value, conditions)))
                found[-1] = (UNKNOWN, filtered(machine, asked, node, found[-1][1]))
                found[-1] = (
                    UNKNOWN,
                    found[-1][1].with_marks(
                        *kept_by(machine, asked, node.lineno),
                        *turns(asked, node.lineno),
                        *(mark for test in asked for mark in kept_under(test)),
                    ),
                )
            return
        first, *others = generators
        over = machine.evaluate(first.iter, inner)
        reordered = reordered or any(isinstance(ref, Sequence) and ref.reordered for ref in over.refs)
        loop = machine.new_id()
        whole = few_of(machine, over, loop)
        listed = any(isinstance(ref, Sequence) and ref.rest is None for ref in over.refs)
        exact = exact and (bool(whole) or listed) and not first.ifs
        elements = whole or iterated(machine, over, loop).elements
        for k, value in enumerate(elements):
            machine.loops.append((loop, k))
            machine.assign(first.target, value, inner)
            tests = [machine.evaluate(test, inner) for test in first.ifs]
            strides.left_out(machine.trace, loop, tests)
            named = named_by((mark for test in tests for mark in names_asked(test)), value)
            if named is not value:
                machine.assign(first.target, named, inner)
            conditions.extend(test.at for test in tests)
            asked.extend(tests)
            for test in tests:
                filed(machine, test, value)
                told_apart(inner.names, test, True)
            if False not in map(truth, tests):
                walk(others)
            del conditions[len(conditions) - len(tests) :]
            del asked[len(asked) - len(tests) :]
            machine.loops.pop()
        counts = loop in machine.trace.counting

    walk(node.generators)
    if is_dict:
        made = Mapping(machine.new_id())
        for key, value in found:
            store(made, key, value)
        return Value(refs=(made,))
    values = [value for _, value in found]
    rest = None if exact else joined(values)
    counted = len(node.generators) == 1 and counts
    return Value(refs=(Sequence(machine.new_id(), values, rest, reordered=reordered, counted=counted),))


def _text(machine: Machine, node: ast.JoinedStr, frame: Frame) -> Value:
    values = [machine.evaluate(part, frame) for part in node.values]
    for value in values:
        if value.scores:
            machine.report(value, 1)
    if all(value.is_known for value in values):
        env = frozenset().union(*(value.env for value in values))
        return constant("".join(str(value.const) for value in values), env)
    return changed(combined(values), scores=frozenset(), tokens=frozenset(), const=NOTHING).without_marks("rank")


def _formatted(machine: Machine, node: ast.FormattedValue, frame: Frame) -> Value:
    return machine.evaluate(node.value, frame)


def _named(machine: Machine, node: ast.NamedExpr, frame: Frame) -> Value:
    value = machine.evaluate(node.value, frame)
    machine.assign(node.target, value, frame)
    return value


def _yield(machine: Machine, node: ast.Yield, frame: Frame) -> Value:
    value = machine.evaluate(node.value, frame)
    if frame.at_yield is not None:
        resume, frame.at_yield = frame.at_yield, None
        resume(value)
    elif frame.consumer is not None:
        frame.consumer(told_from_others(machine, kept(machine, value), node, frame))
    else:
        frame.yielded.append(told_from_others(machine, kept(machine, value), node, frame))
    return UNKNOWN


def _yield_from(machine: Machine, node: ast.YieldFrom, frame: Frame) -> Value:
    value = machine.evaluate(node.value, frame)
    if frame.consumer is not None and (inner := generator_of(value)):
        return machine.run_generator(inner, frame.consumer)
    for element_ in iterated(machine, value, machine.new_id()).elements:
        if frame.consumer is not None:
            frame.consumer(element_)
        else:
            frame.yielded.append(element_)
    return UNKNOWN


def _inner(machine: Machine, node: Any, frame: Frame) -> Value:
    return machine.evaluate(node.value, frame)


HANDLERS: dict[type[ast.expr], Callable[[Machine, Any, Frame], Value]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _comparison,
    ast.IfExp: _either,
    ast.Lambda: _lambda,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Set: _list,
    ast.Dict: _dict,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _comprehension,
    ast.JoinedStr: _text,
    ast.FormattedValue: _formatted,
    ast.NamedExpr: _named,
    ast.Yield: _yield,
    ast.YieldFrom: _yield_from,
    ast.Await: _inner,
    ast.Starred: _inner,
}

__all__ = ["Cell", "attribute", "element", "is_new", "item", "operation", "store", "truth", "value_of"]
