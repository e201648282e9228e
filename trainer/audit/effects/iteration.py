"""What a loop over a value goes through: two of its iterations, the first and another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trainer.audit.effects.chunk_borders import counted_by, edges, filed_under, kept_under
from trainer.audit.effects.cut_short import remember
from trainer.audit.effects.extremes import cut_again, cut_to, is_share, last_of
from trainer.audit.effects.generators import Generator, generator_of
from trainer.audit.effects.portions import partial
from trainer.audit.effects.rows import marked
from trainer.audit.effects.shares_of_ranks import share, shares
from trainer.audit.facts.machine import Instance, Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import (
    Iterations,
    Tokens,
    in_order,
    later,
    windows_of,
)
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Mapping,
    Sequence,
    Steps,
    Value,
    Zipped,
    changed,
    constant,
    decisions,
    full,
    joined,
)

MOST_EXACT = 4
"""A list of at most so many elements is gone through whole."""
PIECES = itertools.count(1)
MOST_NAMES = 8
"""So is a text that was split into at most so many parts, as names of stages are."""


@dataclass(frozen=True)
class Iterated:
    """The elements that are walked, and the settings without which there would be none."""

    elements: tuple[Value, ...]
    off: frozenset[str] = frozenset()


def iterated(machine: Machine, value: Value, loop: int) -> Iterated:
    """The elements of two iterations of a loop over `value`; all of a short list."""
    remember(machine, value, loop)
    found, marks = _iterated(machine, value, loop), (*decisions(value), *shares(value.marks))
    if own := partial(value):
        found = replace(found, elements=tuple(marked(part, own) for part in found.elements))
    return replace(found, elements=tuple(part.with_marks(*marks) for part in found.elements)) if marks else found


def _iterated(machine: Machine, value: Value, loop: int) -> Iterated:
    for ref in value.refs:
        if isinstance(ref, Generator):
            return iterated(machine, machine.run_generator(ref), loop)
        if isinstance(ref, Steps):
            return _of_range(machine, ref, loop)
        if isinstance(ref, Zipped):
            columns = [iterated(machine, column, loop) for column in ref.columns]
            shortest = min((len(column.elements) for column in columns), default=0)
            rows = tuple(
                Value(refs=(Sequence(machine.new_id(), [column.elements[k] for column in columns], fixed=True),))
                for k in range(shortest)
            )
            return Iterated(rows, frozenset().union(*(column.off for column in columns)))
        if isinstance(ref, Instance) and ref.kind is not None:
            if (method := ref.kind.find("__next__")) is not None:
                return _repeated(lambda k: machine.call(bound(method, value), [], {}), value, loop)
            if (method := ref.kind.find("__iter__")) is not None:
                return iterated(machine, machine.call(bound(method, value), [], {}), loop)
            if (method := ref.kind.find("__getitem__")) is not None:
                return _repeated(lambda k: machine.call(bound(method, value), [_counter(loop, k)], {}), value, loop)
    sequences = [ref for ref in value.refs if isinstance(ref, Sequence)]
    if len(sequences) == 1 and sequences[0].rest is None:
        return Iterated(tuple(_exact(sequences[0].elements, placed_loop(loop, value))))
    if sequences:
        if len(sequences) == 1 and sequences[0].counted and not sequences[0].reordered:
            machine.trace.counting[loop] = machine.place.line
        return Iterated(tuple(_element(machine, value, sequences, loop, k) for k in (0, 1)))
    if any(isinstance(ref, Mapping) for ref in value.refs):
        keys = [key for ref in value.refs if isinstance(ref, Mapping) for key in ref.entries]
        if keys and len(keys) <= MOST_EXACT:
            return Iterated(tuple(constant(key) for key in keys))
        return Iterated(tuple(_counter(loop, k) for k in (0, 1)))
    if isinstance(value.const, tuple) and 0 < len(value.const) <= MOST_NAMES:
        return Iterated(tuple(constant(part, value.env, frozenset([(loop, k)])) for k, part in enumerate(value.const)))
    plain = full(value)
    return Iterated(tuple(narrowed(plain, frozenset([(loop, k)])) for k in (0, 1)))


def generated(machine: Machine, value: Value, loop: int) -> tuple[Generator, Callable[[Value, int], Value]] | None:
    """The generator that a loop goes through, and what it hands to the body; None if it goes through something else."""
    only = value.refs[0] if len(value.refs) == 1 else None
    if isinstance(only, Instance) and only.kind is not None and only.kind.find("__next__") is None:
        method = only.kind.find("__iter__")
        return generated(machine, machine.call(bound(method, value), [], {}), loop) if method is not None else None
    if not isinstance(only, Zipped):
        found = generator_of(value)
        return (found, lambda value, k: value) if found else None
    among = [(place, found) for place, column in enumerate(only.columns) if (found := generator_of(column))]
    if len(among) != 1:
        return None
    place, generator = among[0]
    others = [iterated(machine, column, loop).elements if c != place else () for c, column in enumerate(only.columns)]

    def row(value: Value, k: int) -> Value:
        parts = [value if c == place else each[min(k, len(each) - 1)] if each else UNKNOWN
                 for c, each in enumerate(others)]  # fmt: skip
        return Value(refs=(Sequence(machine.new_id(), parts, fixed=True),))

    return generator, row


def bound(method: Value, instance: Value) -> Value:
    """A method of an instance."""
    refs = tuple(
        replace(ref, bound=instance) if hasattr(ref, "bound") and ref.bound is None else ref for ref in method.refs
    )
    return changed(method, refs=refs)


def method_of(value: Value, name: str) -> Value | None:
    """This method of an object of the script's own class; None if it has none."""
    for ref in value.refs:
        if isinstance(ref, Instance) and ref.kind is not None and (found := ref.kind.find(name)) is not None:
            return bound(found, value)
    return None


def _repeated(call: Any, value: Value, loop: int) -> Iterated:
    return Iterated(tuple(with_iteration(call(k), frozenset([(loop, k)])) for k in (0, 1)))


def few_of(machine: Machine, value: Value, loop: int) -> tuple[Value, ...]:
    """All numbers of a range of known ends that has few; none of anything else."""
    only = value.refs[0] if len(value.refs) == 1 else None
    ends = [end.const for end in (only.start, only.stop, only.step)] if isinstance(only, Steps) else []
    if not isinstance(only, Steps) or not all(isinstance(end, int) for end in ends) or not ends[2]:
        return ()
    return _of_range(machine, only, loop, MOST_EXACT).elements if 0 < len(range(*ends)) <= MOST_EXACT else ()


def _of_range(machine: Machine, steps: Steps, loop: int, most: int = 2) -> Iterated:
    at = later(later(steps.start.at, steps.stop.at), steps.step.at)
    cut = share(machine.place.line, steps.start, steps.stop, steps.step)
    cut = (*cut, *counted_by(steps.start, steps.step), *edges((steps.start, steps.stop)))
    env = steps.stop.env | steps.start.env
    bounds = (steps.start.const, steps.stop.const, steps.step.const)
    if all(isinstance(bound, int) for bound in bounds) and steps.step.const:
        numbers = range(*bounds)  # type: ignore[arg-type]
        if not numbers:
            return Iterated((_counter(loop, 0, at),), env or frozenset(["an empty range"]))
        chosen = list(numbers) if len(numbers) <= most else [numbers[0], numbers[-1]]
        env = env if len(numbers) == 1 else frozenset()  # which of several iterations it is, no setting switches
        each = (constant(n, env, later(at, frozenset([(loop, k)]))) for k, n in enumerate(chosen))
        return Iterated(tuple(value.with_marks(*cut) for value in each))
    machine.trace.counting[loop] = machine.place.line
    found, start = [], steps.start.number
    if start is None and "rank" in steps.start.marks:  # where a rank's share begins
        start = Polynomial.unknown(f"n{machine.new_id()}")
    for k in (0, 1):
        number = None
        if start is not None and steps.step.number is not None:
            number = start.plus(steps.step.number, k)
        if k and number is not None and _is_over(steps, number):
            break
        last = last_of(steps, loop)
        found.append(Value(at=later(at, frozenset([(loop, k)])), number=number, last=last, marks=frozenset(cut)))
    return Iterated(tuple(found))


def _is_over(steps: Steps, number: Polynomial) -> bool:
    """Whether a range that counts upwards ends before this number."""
    upwards = steps.step.number is not None and steps.step.number.is_at_least(Polynomial.constant(1))
    return upwards and steps.stop.number is not None and number.is_at_least(steps.stop.number)


def _exact(elements: list[Value], loop: int) -> list[Value]:
    chosen = elements if len(elements) <= MOST_EXACT else [elements[0], elements[-1]]
    if len({element.tokens for element in chosen}) < len(chosen):
        return chosen  # the same tokens again are the same tokens
    return [with_iteration(element, frozenset([(loop, k)])) for k, element in enumerate(chosen)]


def _element(machine: Machine, value: Value, sequences: list[Sequence], loop: int, k: int) -> Value:
    k += sequences[0].shift if len(sequences) == 1 else 0
    at = later(value.at, placed(frozenset([(loop, k)]), value))
    if len(sequences) == 1 and k < len(sequences[0].elements):
        found = with_iteration(sequences[0].elements[k], at)
        return found.with_marks(*kept_under(value), *filed_under(machine, found, _counter(loop, k)))
    each = [part for ref in sequences for part in (*ref.elements, *([ref.rest] if ref.rest is not None else []))]
    return with_iteration(forgotten(machine, any_of(each)), at).with_marks(*kept_under(value))


def are_distinct(ref: Sequence) -> bool:
    """Whether each element of a list holds other tokens than the others, or is an object of its own."""
    objects = [part.refs[0] for part in ref.elements if len(part.refs) == 1 and isinstance(part.refs[0], Instance)]
    if len(objects) == len(ref.elements) > 1:
        return len({id(one) for one in objects}) == len(objects)
    held = [part.tokens for part in ref.elements]
    return len(held) > 1 and all(held) and len(set(held)) == len(held)


def placed(at: Iterations, base: Value) -> Iterations:
    """What tells places of a list apart: where the list was sorted by a key, not what tells those of the text apart."""
    if any(isinstance(ref, Sequence) and (ref.reordered or _is_of_pieces(ref)) for ref in base.refs):
        return frozenset((-abs(loop), k) for loop, k in at)
    return at


def placed_loop(loop: int, base: Value) -> int:
    """The number that stands for a loop over a list."""
    return next(iter(placed(frozenset([(loop, 0)]), base)))[0]


def chosen_by(value: Value, conditions: list[Iterations]) -> Value:
    """A value that conditions choose which compare it with what other loops decide: it depends on those too."""
    for at in conditions:
        own = {loop for loop, _ in value.at}.union(*({loop for loop, _ in part.at} for part in value.tokens))
        others = frozenset(pair for pair in at if pair[0] not in own)
        if len(others) < len(at) and others:
            value = changed(with_iteration(value, others), number=None)
    return value


def _is_of_pieces(ref: Sequence) -> bool:
    inner = (*ref.elements[:1], *([ref.rest] if ref.rest is not None else []))
    return any(isinstance(part, Sequence) and part.is_piece for value in inner for part in value.refs)


def _forgotten(value: Value, kept: set[int]) -> Value:
    """The value without iterations of loops that ended: which of them it was is not known."""

    def still(at: Iterations) -> Iterations:
        return frozenset(pair for pair in at if abs(pair[0]) in kept)

    tokens = frozenset(replace(part, at=still(part.at), low=None, high=None) for part in value.tokens)
    refs = _each(value.refs, lambda part: _forgotten(part, kept))
    return changed(value, tokens=tokens, at=still(value.at), number=None, refs=refs)


def with_iteration(value: Value, at: Iterations) -> Value:
    """The value, decided by these iterations too, and what a tuple holds; other containers share it by their `at`."""
    tokens = frozenset(replace(part, at=later(part.at, at)) for part in value.tokens)
    return changed(
        value, tokens=tokens, at=later(value.at, at), refs=_each(value.refs, lambda part: with_iteration(part, at))
    )


def without_numbers(value: Value) -> Value:
    """A value in one of several lists, which of them is not known: so is which number it is, of a tuple those in it."""
    refs = _each(value.refs, lambda part: without_numbers(part) if part.at else part)
    return changed(value, number=None, refs=refs) if value.number is not None or refs is not value.refs else value


def _each(refs: tuple[Any, ...], change: Callable[[Value], Value]) -> tuple[Any, ...]:
    """The refs, with tuples among them replaced by tuples of changed elements."""
    if not any(isinstance(ref, Sequence) and ref.fixed for ref in refs):
        return refs
    return tuple(
        replace(ref, elements=[change(part) for part in ref.elements], rest=change(ref.rest) if ref.rest else None)
        if isinstance(ref, Sequence) and ref.fixed
        else ref
        for ref in refs
    )


def forgotten(machine: Machine, value: Value) -> Value:
    """The value without iterations of loops that ended, as when their parts are put together again."""
    return _forgotten(value, {number for number, _ in machine.loops} | machine.divided)


def any_of(values: list[Value]) -> Value:
    """One of these, which is not known: known bounds are those of one of them."""
    found = joined(values)
    if len({part.tokens for part in values}) < 2:
        return found
    tokens = (part if part.low is None else replace(part, is_bounded=True, is_within=True) for part in found.tokens)
    return changed(found, tokens=frozenset(tokens))


def narrowed(value: Value, at: Iterations) -> Value:
    """One of the elements: known bounds are those of all of them."""
    one = with_iteration(value, at)
    tokens = frozenset(
        part if part.low is None else replace(part, is_bounded=True, is_within=True) for part in one.tokens
    )
    return changed(one, tokens=tokens, refs=(), const=NOTHING, number=None).without_marks("rows", "batch")


def _counter(loop: int, k: int, at: Iterations = frozenset()) -> Value:
    return Value(at=later(at, frozenset([(loop, k)])), number=Polynomial.constant(k))


def selected(
    value: Value, low: Value | None, high: Value | None, *, is_slice: bool, is_flat: bool = False
) -> frozenset[Tokens]:
    """The tokens of `value[index]`: those that the index's loops and positions leave.

    is_flat:  whether the value is a slice of the text itself, in which positions are counted from its start
    """
    if not is_slice:
        at = low.at if low is not None else frozenset()
        bounds = _of_element(low)
    elif high is not None and high.const == 0 and high.is_known:
        return frozenset()
    elif high is None:
        return _all_from(value, low)
    else:
        at = high.at or (low.at if low is not None else frozenset())
        bounds = (low.number if low is not None else Polynomial.constant(0), high.number)
    found = set()
    is_prefix = is_slice and not at and _is_prefix(low, high)
    is_rough = any("restarted" in end.marks for end in (low, high) if end is not None)
    for part in in_order(value.tokens):  # those without a number get one
        if part.via == "statistic" and not at:  # its elements are no positions of the text
            found.add(part)
            continue
        if part.is_placed and _are_positions(*bounds):
            part = cut_to(part, low, high, bounds, is_placed=True)
        elif is_flat and is_share(part) and _are_positions(*bounds):
            part = cut_again(part, low, high, bounds)
        elif part.piece and part.low is None and is_slice and _are_positions(*bounds):  # positions in that piece
            part = replace(cut_to(part, low, high, bounds, is_placed=False), piece_at=windows_of(part.at))
        elif at:  # some of its positions
            piece = part.piece or (next(PIECES) if part.low is None else 0)
            part = replace(part, is_bounded=True, is_within=True, piece=piece)
        is_text = is_prefix and part.is_text
        rough = part.is_rough or is_rough
        found.add(replace(part, at=_narrowed_by(part.at, at), is_whole=False, is_text=is_text, is_rough=rough))
    return frozenset(found)


def prefix_length(value: Value) -> Polynomial | None:
    """How many tokens a slice `piece[:n]` holds; None if it is none, or n is not known."""
    only = next(iter(value.tokens)) if len(value.tokens) == 1 else None
    if only is None or only.low is None or only.low.value != 0 or only.is_bounded or value.scores:
        return None
    return only.high


def _are_positions(low: Polynomial | None, high: Polynomial | None) -> bool:
    """Whether both ends of a slice are known, and counted from the start."""
    ends = ((low, 0), (high, 1))
    return all(end is not None and (end.value is None or end.value >= least) for end, least in ends)


def _narrowed_by(own: Iterations, index: Iterations) -> Iterations:
    """What tells an element apart: what was kept in one iteration is not what another one, which looks it up, reads."""
    loops = {loop for loop, _ in own}
    return later(own, frozenset(pair for pair in index if pair[0] not in loops))


def _of_element(index: Value | None) -> tuple[Polynomial | None, Polynomial | None]:
    """The bounds of the single element at a place that the script names, as in `text[0]`."""
    place = index.const if index is not None and not index.at else None
    if not isinstance(place, int) or isinstance(place, bool) or place < 0:
        return None, None
    return Polynomial.constant(place), Polynomial.constant(place + 1)


def _is_prefix(low: Value | None, high: Value | None) -> bool:
    """Whether positions in `text[low:high]` are those in the text."""
    from_start = low is None or (low.number is not None and low.number.value == 0)
    end = high.number.value if high is not None and high.number is not None else None
    return from_start and high is not None and (end is None or end > 0)


def _all_from(value: Value, low: Value | None) -> frozenset[Tokens]:
    """The tokens of `value[low:]`; the first one is left out where it has no context."""
    start = low.number if low is not None and not low.at else None
    if start is None or (isinstance(start.value, int) and start.value < 2):
        return value.tokens
    return frozenset(replace(part, low=start, is_whole=False) if part.is_whole else part for part in value.tokens)
