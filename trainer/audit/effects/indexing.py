"""Attributes and elements of values: `x.name` and `x[index]`."""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trainer.audit.effects import portions, rows
from trainer.audit.effects.bent_logits import found_at, scored
from trainer.audit.effects.choices import activations, choice, depending
from trainer.audit.effects.chunk_borders import cells, filed_under, kept_under
from trainer.audit.effects.containers import chosen_first
from trainer.audit.effects.cut_short import of_slice, of_text
from trainer.audit.effects.document_begins import kept_where
from trainer.audit.effects.document_lengths import is_whole, measured, of_ends
from trainer.audit.effects.extremes import is_share, length_of
from trainer.audit.effects.iteration import any_of, are_distinct, bound, placed, selected, with_iteration
from trainer.audit.effects.mixtures import at_targets, same_spread
from trainer.audit.effects.positions import masked, partly, sorts_out
from trainer.audit.effects.shares_of_ranks import RANKS, WORLDS, cut_out, setting_of
from trainer.audit.effects.side_cars import another, cut
from trainer.audit.effects.sides import cut_in_two, paid_for
from trainer.audit.effects.spread_over_bytes import piece_of
from trainer.audit.effects.strides import stepped
from trainer.audit.facts.machine import Class, Frame, Function, Instance, Machine, Namespace
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import (
    Iterations,
    Tokens,
    later,
)
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Cell,
    External,
    Mapping,
    Optimizer,
    Sequence,
    Value,
    changed,
    combined,
    constant,
    decisions,
    full,
    joined,
)

SIZES = ("shape", "ndim", "size", "device", "dtype", "itemsize", "nbytes", "training", "requires_grad", "is_leaf")


SAME = ("data", "T", "mT", "module", "_orig_mod", "values", "real")
"""Attributes that are the same tensor or model in another form."""


def _attribute(machine: Machine, node: ast.Attribute, frame: Frame) -> Value:
    return attribute(machine, machine.evaluate(node.value, frame), node.attr)


def attribute(machine: Machine, value: Value, name: str) -> Value:
    """`value.name`."""
    found: list[Value] = []
    for ref in value.refs:
        if isinstance(ref, Namespace):
            found.append(ref.frame.names.get(name, UNKNOWN))
        elif isinstance(ref, Instance):
            found.append(_of_instance(machine, ref, value, name))
        elif isinstance(ref, Class):
            found.append(ref.find(name) or UNKNOWN)
        elif isinstance(ref, External):
            found.append(_ln2(Value(refs=(External(f"{ref.path}.{name}"),))))
        elif isinstance(ref, Mapping) and name in ref.entries:
            found.append(ref.entries[name])
    if found:
        return joined(found).with_marks(*decisions(value))
    if name == "grad":
        return machine.gradient_of(value)
    if name == "shape" and value.tokens and not value.scores:
        return Value(at=value.at, number=length_of(machine, value), marks=measured(value) | {"shape"})
    if name in SIZES:
        return Value(at=value.at, marks=measured(value))
    if name in SAME:
        return value
    return combined([value])


def _ln2(value: Value) -> Value:
    paths = [ref.path for ref in value.refs if isinstance(ref, External)]
    return value.with_marks("ln2") if paths and paths[0].lower().endswith((".ln2", ".log2e", "log2_e")) else value


def _of_instance(machine: Machine, instance: Instance, value: Value, name: str) -> Value:
    if name in instance.attributes:
        held = instance.attributes[name]
        if value.at and instance.kind is not None and instance.kind.kind == "plain":  # a record out of a list
            return with_iteration(held, value.at).with_marks(*portions.of_ends([value]))
        if instance.kind is not None and instance.kind.kind == "module":
            return changed(held, objects=held.objects | {instance.id})
        return held
    if instance.kind is None:
        return UNKNOWN
    found = instance.kind.find(name)
    if found is not None:
        for ref in found.refs:
            if isinstance(ref, Function) and any(_last(item) == "property" for item in _decorators(ref)):
                return machine.call(bound(found, value), [], {})
            if isinstance(ref, Function) and any(_last(item) == "classmethod" for item in _decorators(ref)):
                return bound(found, Value(refs=(instance.kind,)))
            if isinstance(ref, Function) and any(_last(item) == "staticmethod" for item in _decorators(ref)):
                return found
        return bound(found, changed(value, refs=(instance, *instance.held)))
    return Value(objects=value.objects, at=value.at, marks=frozenset([f"named:{name}"]))


def _decorators(function: Function) -> list[ast.expr]:
    return getattr(function.node, "decorator_list", [])


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _subscript(machine: Machine, node: ast.Subscript, frame: Frame) -> Value:
    base = machine.evaluate(node.value, frame)
    return element(machine, base, node.slice, frame)


def element(machine: Machine, base: Value, index: ast.expr, frame: Frame) -> Value:
    """`base[index]`."""
    if isinstance(index, ast.Slice):
        low = machine.evaluate(index.lower, frame) if index.lower else None
        high = machine.evaluate(index.upper, frame) if index.upper else None
        step = machine.evaluate(index.step, frame) if index.step else None
        # a step that is computed may be that of windows that overlap
        every = step if isinstance(index.step, ast.Constant) else None
        part = another(base, stepped(sliced(machine, base, low, high, every), step))
        part = part.with_marks("entire") if part.tokens and is_whole(index, low, high) else part
        part = cut(machine, full(base), part, index, frame)
        return cut_out(machine, base, part, low, high, step)
    if isinstance(index, ast.Tuple) and not any(isinstance(ref, Mapping) for ref in base.refs):
        return _many(machine, base, index.elts, frame)
    place = machine.evaluate(index, frame)
    part = another(base, found_at(machine, base, place, item(machine, base, place)))
    return cut_out(machine, base, part, place, *([base] if "rank" in place.marks else []))


def _many(machine: Machine, base: Value, parts: list[ast.expr], frame: Frame) -> Value:
    plain = full(base)
    result, key, last, by_tokens = plain, UNKNOWN, UNKNOWN, 0
    for part in parts:
        if isinstance(part, ast.Constant) and part.value in (None, ...):  # an axis more, or all axes between
            continue
        if isinstance(part, ast.Slice):
            low = machine.evaluate(part.lower, frame) if part.lower else None
            high = machine.evaluate(part.upper, frame) if part.upper else None
            at = (high.at if high is not None else frozenset()) or (low.at if low is not None else frozenset())
            tokens = selected(result, low, high, is_slice=True)
            narrowed = changed(result, tokens=tokens, refs=(), at=later(result.at, at))
            narrowed = partly(machine, result, narrowed, low, high)
            result = cut_in_two(machine, plain, cut_out(machine, base, narrowed, low, high), low, high)
            result = cut(machine, plain, another(plain, result), part, frame)
            continue
        index = last = machine.evaluate(part, frame)
        key, by_tokens = combined([key, index]), by_tokens + bool(index.tokens)
        tokens = selected(result, index, None, is_slice=False)
        result = changed(result, tokens=tokens, refs=(), at=later(result.at, index.at)).without_marks("batch", "rows")
        result = _counted_back(machine, plain, index, result)
    if isinstance(last.const, int) and not machine.holds_loss(plain):  # a single probability, as a gate's
        result = result.without_marks("mass")
    if "hashed" not in last.marks:  # contexts may share a row, the targets have a column each
        key = key.without_marks("hashed")
    found = _looked_up(machine, plain, changed(result, const=NOTHING, number=None), key)
    return found.with_marks("pair") if by_tokens > 1 else found


def sliced(machine: Machine, base: Value, low: Value | None, high: Value | None, step: Value | None = None) -> Value:
    """`base[low:high:step]`; the step tells here how large a portion of a list it is, and nothing else."""
    sequences = [ref for ref in base.refs if isinstance(ref, Sequence)]
    ends = [bound_value.const if bound_value else None for bound_value in (low, high)]
    if sequences:
        return _slice_of_list(machine, base, sequences, low, high).with_marks(*of_slice(machine, base, low, high, step))
    if base.is_known and isinstance(base.const, str | tuple) and all(isinstance(end, int | None) for end in ends):
        return constant(base.const[ends[0] : ends[1]], base.env, base.at)
    plain = full(base)
    marks = plain.marks
    marks = marks.union(of_text(machine, plain, low, high), of_slice(machine, base, None, high), of_ends((low, high)))
    marks = marks.union(portions.of_text(plain, low, high))
    tokens = selected(plain, low, high, is_slice=True, is_flat="flat" in marks)
    marks = marks - {"flat"} | ({"flat"} if is_share_of(plain, tokens) else frozenset())
    at = (high.at if high is not None else frozenset()) or (low.at if low is not None else frozenset())
    around = {loop for loop, _ in machine.loops}
    outer = any(part.source == "val" and not any(abs(k) in around for k, _ in part.at) for part in plain.tokens)
    if outer and any("random" in end.marks for end in (low, high) if end is not None):
        marks = marks | {f"drawn:{machine.place.line}"}
    if plain.tokens and any("border" in end.marks for end in (low, high) if end is not None):
        marks = marks | {"document"}
        machine.trace.of_borders |= {abs(loop) for end in (low, high) if end is not None for loop, _ in end.at}
    at = later(plain.at, at)
    result = changed(plain, refs=(), tokens=tokens, marks=marks, const=NOTHING, number=None, at=at)
    if "batch" in marks:
        return rows.some_of(machine, base, result, low, high)
    return cut_in_two(machine, plain, partly(machine, plain, result, low, high), low, high)


def is_share_of(base: Value, tokens: frozenset[Tokens]) -> bool:
    """Whether a slice is a share of the text that positions are counted in."""
    return all(part.is_placed for part in base.tokens) and bool(tokens) and all(map(is_share, tokens))


def _slice_of_list(
    machine: Machine, base: Value, sequences: list[Sequence], low: Value | None, high: Value | None
) -> Value:
    ends = [end.const if end else None for end in (low, high)]
    half = _half(machine, sequences, low, high)
    sequences = [chosen_first(ref) if ref.ranked and (low or high) else ref for ref in sequences]
    if all(isinstance(end, int | None) for end in ends):
        copies = [_piece(ref, *ends) for ref in sequences]
        return changed(base, refs=tuple(copies), at=later(base.at, half), const=NOTHING)
    at = (high.at if high is not None else frozenset()) or (low.at if low is not None else frozenset())
    each = [joined([*ref.elements, *([ref.rest] if ref.rest else [])]) for ref in sequences]
    copies = [
        replace(ref, elements=_moved(machine, ref, low), rest=rest, is_piece=ref.reordered)
        for ref, rest in zip(sequences, each, strict=True)
    ]
    at = later(later(base.at, placed(at, base)), half)
    return rows.some_of(machine, base, changed(base, refs=tuple(copies), at=at, const=NOTHING), low, high)


def _moved(machine: Machine, ref: Sequence, low: Value | None) -> list[Value]:
    """The first elements of `list[low:...]`, where those of the list are numbers that follow one another."""
    if not ref.counted or ref.reordered or any(part.number is None or part.tokens for part in ref.elements):
        return []
    if low is None or (low.number is not None and low.number.value == 0):
        return [*ref.elements]
    start = Polynomial.unknown(f"n{machine.new_id()}")
    numbers = [part.number.plus(start) for part in ref.elements if part.number is not None]
    return [changed(part, number=n, const=NOTHING) for part, n in zip(ref.elements, numbers, strict=True)]


def _piece(ref: Sequence, low: int | None, high: int | None) -> Sequence:
    """`list[low:high]` for known ends."""
    if ref.rest is None:
        return replace(ref, elements=ref.elements[low:high])
    return replace(ref, elements=[*ref.elements], shift=ref.shift + low if low is not None and low > 0 else ref.shift)


def _half(machine: Machine, sequences: list[Sequence], low: Value | None, high: Value | None) -> Iterations:
    """What tells the elements of `a[:n]` from those of `a[n:]`."""
    end = high if low is None else low
    if (low is None) == (high is None) or end is None or end.at or len(sequences) != 1 or sequences[0].rest is None:
        return frozenset()
    key = (sequences[0].id, end.const if end.is_known else end.number or id(end))
    number, _ = machine.divisions.setdefault(key, (machine.new_id(), end))
    machine.divided.add(number)
    return frozenset([(number, 0 if low is None else 1)])


def item(machine: Machine, base: Value, index: Value) -> Value:
    """`base[index]` for a single index."""
    for ref in base.refs:
        if isinstance(ref, External) and ref.path.endswith("environ"):
            known = next(iter(index.text & (RANKS | WORLDS)), None)
            if known is not None:
                return setting_of(known)
            return Value(text=index.text, env=frozenset(f"{name}=" for name in index.text))
        if isinstance(ref, Instance) and ref.kind is not None and (method := ref.kind.find("__getitem__")) is not None:
            return machine.call(bound(method, base), [index], {})
    if isinstance(index.const, str) and base.refs:
        for ref in base.refs:
            if isinstance(ref, Instance) and index.const in ref.attributes:
                return ref.attributes[index.const]
    held: list[Value] = []
    if len(base.refs) == 1 and isinstance(base.refs[0], Sequence) and (found := _at_place(base.refs[0], index)):
        return with_iteration(found, base.at) if base.at else found
    for ref in base.refs:
        if isinstance(ref, Sequence):
            held.append(_of_sequence(ref, index))
        elif isinstance(ref, Mapping):
            held.append(_of_mapping(ref, index))
        elif isinstance(ref, Cell) and isinstance(index.const, int) and -1 <= index.const < len(ref.listed):
            held.append(ref.listed[index.const])
    if held:
        found = joined(held)
        found = rows.marked(found, own) if (own := portions.partial(base)) else found
        at = later(base.at, placed(index.at, base))
        keyed = any(getattr(ref, "keyed", False) for ref in base.refs)
        found = with_iteration(found, at) if at else found
        found = _ranked(machine, base, index, found)
        if "restarted" in index.marks and found.tokens:
            found = changed(found, tokens=frozenset(replace(part, is_rough=True) for part in found.tokens))
        if keyed and index.tokens:
            ids = frozenset(ref.id for ref in base.refs if isinstance(ref, Sequence | Mapping))
            tokens = found.tokens | index.tokens
            found = changed(found, tokens=tokens, objects=found.objects | ids, marks=found.marks | {"lookup"})
        elif index.tokens and not index.scores and not any(map(_is_no_size, (*base.refs, *found.refs))):
            found = found.with_marks("bytes", f"sized:{machine.place.line}", *paid_for(index), *piece_of(base, index))
        found = found.with_marks(*kept_under(base), *filed_under(machine, found, index))
        found = depending(found, activations(index))
        return found.with_marks(*decisions(base), *decisions(index), *cells(index))
    if "shape" in base.marks and index.const == 0:
        return changed(base, marks=base.marks - {"shape"})
    if base.is_known and index.is_known:
        with suppress(Exception):
            return constant(base.const[index.const], base.env | index.env, later(base.at, index.at))
    plain = full(base)
    tokens = _row(machine, base, index) or selected(plain, index, None, is_slice=False)
    result = changed(plain, tokens=tokens, refs=(), const=NOTHING, number=None).without_marks("batch", "rows", "flat")
    result = _counted_back(machine, plain, index, result)
    found = _looked_up(machine, plain, changed(result, at=later(plain.at, index.at)), index)
    return depending(found, activations(index)).with_marks(*decisions(index))


def _is_no_size(ref: Any) -> bool:
    """Whether what tokens look up there is no size of theirs: an object, or what nothing was filled in yet."""
    return isinstance(ref, Instance | Optimizer) or getattr(ref, "blank", False)


def _counted_back(machine: Machine, base: Value, index: Value, result: Value) -> Value:
    """`losses[-1]`: one loss of a window."""
    from_end = isinstance(index.const, int) and index.const < 0
    return masked(machine, base, result) if from_end and machine.holds_loss(base) else result


def _ranked(machine: Machine, base: Value, index: Value, found: Value) -> Value:
    """The first or last of a list that was sorted by scores is chosen by them."""
    if index.const not in (0, -1):
        return found
    marks = [mark for ref in base.refs if isinstance(ref, Sequence) for mark in ref.ranked]
    if "ranked" in base.marks:
        marks += choice(machine, [full(base)])
    return found.with_marks(*marks) if marks else found


def _row(machine: Machine, base: Value, index: Value) -> frozenset[Tokens]:
    """The tokens of a row of a text in rows, at a place that a loop counts; empty if it is none, or not known."""
    place = index.number.value if index.number is not None and index.at and not index.tokens else None
    in_rows = all(part.via == "tokens" for part in base.tokens)
    if place is None or place < 0 or base.refs or base.scores or "restarted" in index.marks or not in_rows:
        return frozenset()
    number, _ = machine.divisions.setdefault((-1, id(base)), (machine.new_id(), base))
    low, high = Polynomial.constant(place), Polynomial.constant(place + 1)
    return frozenset(
        replace(part, low=low, high=high, piece=-number, at=later(part.at, index.at), is_whole=False, is_text=False)
        for part in base.tokens
    )


def _at_place(ref: Sequence, index: Value) -> Value | None:
    """The element of a list of chunks at a place that a loop counts; None if the place or its chunk is not known."""
    if isinstance(index.const, int) and not index.at and ref.rest is not None and not ref.reordered:
        first = index.const + ref.shift
        own = {(part.tokens, part.number, part.at) for part in ref.elements}
        known = ref.shift <= first < len(ref.elements) and (len(own) == len(ref.elements) > 1 or are_distinct(ref))
        return with_iteration(ref.elements[first], frozenset([(ref.id, first)])) if known else None
    place = index.number.value if index.number is not None and not index.is_known else None
    if place is None or ref.reordered or ref.shift or "restarted" in index.marks or not 0 <= place < len(ref.elements):
        return None
    if not are_distinct(ref):
        return None
    loop = max(index.at, default=None)  # told apart by its place, which another iteration may name too
    return with_iteration(ref.elements[place], frozenset([(loop[0], place)] if loop else []))


def _of_sequence(ref: Sequence, index: Value) -> Value:
    if ref.rest is None and isinstance(index.const, int) and -len(ref.elements) <= index.const < len(ref.elements):
        return ref.elements[index.const]
    return any_of([*ref.elements, *([ref.rest] if ref.rest is not None else [])])


def _of_mapping(ref: Mapping, index: Value) -> Value:
    with suppress(TypeError):
        if index.is_known and index.const in ref.entries:
            return ref.entries[index.const]
    if index.is_known and ref.rest is not None:
        return ref.rest
    return joined([*ref.entries.values(), *([ref.rest] if ref.rest is not None else [])])


def _looked_up(machine: Machine, base: Value, result: Value, index: Value) -> Value:
    """An element chosen by tokens: of a table that learned from tokens, of scores, or of a fixed table."""
    if any(isinstance(ref, Cell) for ref in index.refs) and not (base.scores or base.tokens):
        index = full(index)  # what was filled into a batch
    marks = {mark for mark in index.marks if mark.startswith("filtered:")}.union(kept_where(machine, base, index))
    filled = machine.holds_loss(base) and any(isinstance(ref, Cell) and not ref.listed for ref in index.refs)
    if filled or index.marks & {"mask", "places"}:
        result = masked(machine, base, result)
    if "mask" in index.marks and machine.holds_loss(base) and sorts_out(machine, index):
        marks |= {f"filtered:{machine.place.line}"}
    if not index.tokens or index.scores or "places" in index.marks | base.marks:
        return result.with_marks(*marks) if marks else result
    if base.scores:
        if machine.holds_loss(base) or "mask" in index.marks:
            return result.with_marks(*marks) if marks else result
        picked = scored(machine, combined([result, index]).without_marks("lookup"), index)
        return at_targets(base, machine.evaluated(picked, is_loss=True, targets=index))
    learned = [part for part in base.tokens if part.via == "table" or (part.source == "val" and part.via != "tokens")]
    counted = "probability" in base.marks and any(part.via == "statistic" for part in learned)
    if learned and (base.objects or counted):
        if base.marks & {"probability", "logs"} and "hashed" not in index.marks:
            return same_spread(combined([result, index]), base).with_marks("row", *marks)
        exact = () if "hashed" in index.marks else ("picked",)
        return combined([result, index]).with_marks("lookup", *exact, *marks)
    if "mask" in index.marks and not base.tokens:
        return result  # places that a condition leaves
    if not base.tokens and not any(map(_is_no_size, base.refs)):
        marks |= {"bytes", f"sized:{machine.place.line}", *paid_for(index)}
        if len(base.refs) == 1 and isinstance(base.refs[0], Cell):
            marks.add(f"table:{base.refs[0].id}")
        return combined([result, index]).with_marks(*marks)
    return result
