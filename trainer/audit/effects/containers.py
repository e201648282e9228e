"""Calls that make lists, sets, queues and dictionaries, and put lists in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainer.audit.effects.choices import is_score, marks_by
from trainer.audit.effects.cut_short import of_slice
from trainer.audit.effects.generators import forced
from trainer.audit.effects.iteration import any_of, forgotten, iterated, placed, with_iteration
from trainer.audit.facts.machine import Class, Function, Keywords, Machine
from trainer.audit.facts.tokens import later
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    External,
    Mapping,
    Steps,
    Value,
    Zipped,
    changed,
    combined,
    constant,
    decisions,
    full,
    joined,
    parts_of,
)
from trainer.audit.facts.values import Sequence as Listed


def container_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`list(...)`, `tuple(...)`, `set(...)`, `deque(...)`."""
    if not arguments:
        return Value(refs=(Listed(machine.new_id()),))
    value = arguments[0]
    if any(isinstance(ref, Listed) for ref in value.refs):
        copies = [
            replace(ref, id=machine.new_id(), elements=[*ref.elements], fixed=False)
            for ref in value.refs
            if isinstance(ref, Listed)
        ]
        return changed(value, refs=tuple(copies))
    if any(isinstance(ref, Steps | Zipped) for ref in value.refs):
        loop = machine.new_id()
        elements = list(iterated(machine, value, loop).elements)
        counted = loop in machine.trace.counting and all(isinstance(ref, Steps) for ref in value.refs)
        return Value(refs=(Listed(machine.new_id(), elements, joined(elements), counted=counted),))
    return value


def arange_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`torch.arange(...)`, `np.arange(...)`: the numbers of a range, in an array."""
    given = [*arguments, *(keywords[name] for name in ("start", "end", "stop", "step") if name in keywords)]
    bounds = [constant(0), given[0], constant(1)] if len(given) == 1 else [*given, constant(1)][:3]
    return changed(combined(given), refs=(Steps(*bounds),), const=NOTHING, number=None) if given else UNKNOWN


def is_exact(value: Value) -> bool:
    """Whether it is a list of known length, of values that are no lists or arrays themselves."""
    only = value.refs[0] if len(value.refs) == 1 else None
    return isinstance(only, Listed) and only.rest is None and not any(part.refs for part in only.elements)


def sorted_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`sorted(...)`: where scores decide the order, what stands first or last in it is chosen by them."""
    made = container_of(machine, arguments, keywords)
    if arguments and (key := keywords.get("key")) is not None:
        marks = marks_by(machine, arguments[:1], key)
        if marks and any(isinstance(ref, Mapping) for ref in made.refs):
            keys = list(iterated(machine, made, machine.new_id()).elements)
            made = Value(refs=(Listed(machine.new_id(), keys, joined(keys)),))
        lists = [ref for ref in made.refs if isinstance(ref, Listed)]
        return changed(made, refs=tuple(replace(ref, reordered=True, ranked=marks) for ref in lists))
    return made.with_marks("ranked") if is_score(machine, full(made)) else made


def chosen_first(ref: Listed) -> Listed:
    """A list in the order of scores of which some are taken: they are chosen by those scores."""
    rest = ref.rest.with_marks(*ref.ranked) if ref.rest is not None else None
    return replace(ref, elements=[part.with_marks(*ref.ranked) for part in ref.elements], rest=rest)


def taken_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`heapq.nsmallest(n, list, key=...)`."""
    made = sorted_of(machine, arguments[1:], keywords)
    return changed(made, refs=tuple(chosen_first(ref) if isinstance(ref, Listed) else ref for ref in made.refs))


def shuffle(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`random.shuffle(list)`."""
    for ref in arguments[0].refs if arguments else ():
        if isinstance(ref, Listed):
            ref.reordered = True
    return UNKNOWN


def drawn_of(machine: Machine, path: str, arguments: Sequence[Value]) -> Value | None:
    """`random.sample(list, n)`, `random.choices(list)`: some elements of a list, not told which."""
    if path not in ("random.sample", "random.choices"):
        return None
    listed = [ref for ref in arguments[0].refs if isinstance(ref, Listed)] if arguments else []
    each = [part for ref in listed for part in parts_of(ref)]
    if not each:
        return None
    drawn = Value(refs=(Listed(machine.new_id(), [], forgotten(machine, any_of(each)), reordered=True),))
    return drawn.with_marks(*of_slice(machine, arguments[0], None, arguments[1])) if len(arguments) > 1 else drawn


def queue_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`Queue()`."""
    return Value(refs=(Listed(machine.new_id()),))


def dictionary_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`dict(...)`, `defaultdict(...)`, `Counter(...)` and namespaces."""
    made = Mapping(machine.new_id(), dict(keywords))
    for value in arguments:
        for ref in value.refs:
            if isinstance(ref, Mapping):
                made.entries |= ref.entries
                made.rest = ref.rest
            elif isinstance(ref, Zipped) and len(ref.columns) == 2:  # dict(model.named_parameters())
                made.rest = ref.columns[1]
            elif isinstance(ref, Function | Class | External):
                made.rest, made.blank = machine.call(value, [], {}), not made.entries
    if arguments and arguments[0].tokens:  # Counter(tokens)
        made.rest, made.keyed = arguments[0].seen_via("statistic"), True
    return Value(refs=(made,)).with_marks(*(mark for value in arguments for mark in decisions(value)))


def pairwise(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`itertools.pairwise(list)`."""
    value = forced(machine, arguments[0]) if arguments else UNKNOWN
    shifted = tuple(replace(ref, shift=ref.shift + 1) if isinstance(ref, Listed) else ref for ref in value.refs)
    return Value(refs=(Zipped((value, changed(value, refs=shifted))),))


def from_keys(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`dict.fromkeys(keys, value)`."""
    if len(arguments) < 2:  # each key once
        return combined(arguments)
    keys = arguments[0].const if isinstance(arguments[0].const, tuple) else ()
    listed = [part.const for ref in arguments[0].refs if isinstance(ref, Listed) for part in ref.elements]
    known = [key for key in (*keys, *listed) if isinstance(key, str)]
    return Value(refs=(Mapping(machine.new_id(), dict.fromkeys(known, arguments[1]), arguments[1]),))


def elements_of(value: Value) -> Value:
    """One of the elements of a list, which is not known; what else is gone through, with all that it holds."""
    each = [part for ref in value.refs if isinstance(ref, Listed) for part in parts_of(ref)]
    if not each or not all(isinstance(ref, Listed) for ref in value.refs):
        return full(value)
    return with_iteration(any_of(each), value.at)


def taken(machine: Machine, base: Value, ref: Listed) -> Value:
    """The next element of a queue; past those that were put in, any of them."""
    ref.taken += 1
    at = later(base.at, frozenset([(ref.id, ref.taken)]))
    if ref.taken <= len(ref.elements):
        return with_iteration(ref.elements[ref.taken - 1], at)
    at = later(at, placed(frozenset(machine.loops[-1:]), base))
    return with_iteration(forgotten(machine, any_of(parts_of(ref))), at)
