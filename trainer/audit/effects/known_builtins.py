"""Calls of Python's own functions and containers, and of what its library adds to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from trainer.audit.effects.choices import largest, smallest
from trainer.audit.effects.chunk_borders import kept as kept_counting
from trainer.audit.effects.chunk_borders import larger_apart
from trainer.audit.effects.containers import (
    arange_of,
    container_of,
    dictionary_of,
    from_keys,
    pairwise,
    queue_of,
    shuffle,
    sorted_of,
    taken,
    taken_of,
)
from trainer.audit.effects.cut_short import of_largest, of_least, of_slice
from trainer.audit.effects.document_lengths import measured
from trainer.audit.effects.extremes import length_of
from trainer.audit.effects.factors import as_position
from trainer.audit.effects.generators import forced, generator_of
from trainer.audit.effects.indexing import attribute
from trainer.audit.effects.iteration import iterated, prefix_length
from trainer.audit.effects.patterns import is_instance
from trainer.audit.effects.portions import is_list, kept
from trainer.audit.effects.records import as_dictionary, as_tuple, named_tuple, replaced
from trainer.audit.effects.spread_over_bytes import size_of
from trainer.audit.effects.strides import kept_back
from trainer.audit.facts.machine import Function, Instance, Keywords, Machine
from trainer.audit.facts.tokens import in_number
from trainer.audit.facts.values import (
    UNKNOWN,
    Mapping,
    Steps,
    Value,
    Zipped,
    changed,
    combined,
    constant,
    full,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed


def _number(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    if not arguments:
        return constant(0)
    limited = (mark for mark in arguments[0].marks if mark.startswith("most:"))
    own = (*(arguments[0].marks & {"itself", "bos"}), *limited, *kept(arguments[0]), *kept_counting(*arguments))
    result = changed(combined(arguments), number=arguments[0].number, last=arguments[0].last)
    return as_position("int", result.with_marks(*own))


def _length(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    refs = arguments[0].refs if arguments else ()
    exact = [ref for ref in refs if isinstance(ref, Listed) and ref.rest is None]
    if len(refs) == 1 and exact:
        return constant(len(exact[0].elements))
    of = arguments[0] if arguments else UNKNOWN
    number = prefix_length(of) or length_of(machine, of)
    limited = [mark for mark in of.marks if mark.startswith("most:")]
    if is_list(of):
        limited += ["size", *kept(of)]
    return Value(at=in_number(of.at), number=number, marks=measured(of).union(size_of(of), limited))


def _range(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    zero, one = constant(0), constant(1)
    bounds = [zero, arguments[0], one] if len(arguments) == 1 else [*arguments, one][:3]
    return Value(refs=(Steps(*bounds),)) if len(bounds) == 3 else UNKNOWN


def _enumerate(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    counter = Value(refs=(Steps(constant(0), UNKNOWN, constant(1)),))
    return Value(refs=(Zipped((counter, arguments[0])),)) if arguments else UNKNOWN


def _first_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`itertools.islice(list, n)`: no more than n of its elements."""
    if len(arguments) != 2 or generator_of(arguments[0]) is not None:
        return arguments[0] if arguments else UNKNOWN
    made = container_of(machine, arguments[:1], {})
    return made.with_marks(*of_slice(machine, made, None, arguments[1]))


def _zip(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    return Value(refs=(Zipped(tuple(arguments)),))


def next_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`next(...)`: in each iteration of the loop around it another element."""
    if not arguments:
        return UNKNOWN
    value = forced(machine, arguments[0])
    if len(value.refs) == 1 and isinstance(value.refs[0], Listed):
        return taken(machine, value, value.refs[0])
    loop = machine.loops[-1] if machine.loops else (machine.new_id(), 0)
    elements = iterated(machine, arguments[0], loop[0]).elements
    return elements[min(loop[1], len(elements) - 1)] if elements else UNKNOWN


def mapped(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`map(function, sequence)`: of each element what the function makes of it."""
    if len(arguments) < 2:
        return UNKNOWN
    loop = machine.new_id()
    made = []
    for k, value in enumerate(iterated(machine, arguments[1], loop).elements):
        machine.loops.append((loop, k))
        made.append(machine.call(arguments[0], [value], {}))
        machine.loops.pop()
    return Value(refs=(Listed(machine.new_id(), made, joined(made)),))


def _reduce(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`functools.reduce(function, sequence, first)`: a loop that hands on what each call returns."""
    if len(arguments) < 3:
        return combined(arguments)
    loop, held = machine.new_id(), arguments[2]
    for k, value in enumerate(iterated(machine, arguments[1], loop).elements):
        machine.loops.append((loop, k))
        held = machine.call(arguments[0], [held, value], {})
        machine.loops.pop()
    return held


def _copied(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    value = arguments[0] if arguments else UNKNOWN
    for ref in value.refs:
        if isinstance(ref, Instance) and ref.kind is not None:
            copy = Instance(machine.new_id(), ref.kind, dict(ref.attributes))
            source = changed(value, refs=(), snapshot=machine.tick())
            machine.loaded(frozenset([copy.id]), source)
            either = {one.id for one in value.refs if isinstance(one, Instance)}  # as of `a if test else b`
            return changed(value, refs=(copy,), objects=(value.objects - either) | {copy.id})
    return changed(full(value), snapshot=machine.tick())


def _partial(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    if not arguments:
        return UNKNOWN
    refs = tuple(
        replace(ref, arguments=(*ref.arguments, *arguments[1:]), keywords={**ref.keywords, **keywords})
        if isinstance(ref, Function)
        else ref
        for ref in arguments[0].refs
    )
    return changed(arguments[0], refs=refs)


def _getattr(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    if len(arguments) < 2:
        return UNKNOWN
    if isinstance(arguments[1].const, str):
        found = attribute(machine, arguments[0], arguments[1].const)
        if found is UNKNOWN and len(arguments) > 2:
            return arguments[2]
        return found
    return combined(arguments[:1])


def _setattr(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    if len(arguments) == 3 and arguments[2].refs:
        machine.trace.gives(arguments[0].objects & machine.models, full(arguments[2]).objects)
    if len(arguments) == 3 and isinstance(arguments[1].const, str):
        for ref in arguments[0].refs:
            if isinstance(ref, Instance):
                ref.attributes[arguments[1].const] = arguments[2]
    return UNKNOWN


BUILTINS: dict[str, Callable[[Machine, Sequence[Value], Keywords], Value]] = {
    "int": _number,
    "float": _number,
    "len": _length,
    "range": _range,
    "trange": _range,
    "enumerate": _enumerate,
    "zip": _zip,
    "islice": _first_of,
    "pairwise": pairwise,
    "next": next_of,
    "map": mapped,
    "functools.reduce": _reduce,
    "reduce": _reduce,
    "namedtuple": named_tuple,
    "astuple": as_tuple,
    "asdict": as_dictionary,
    "dataclasses.replace": lambda machine, arguments, keywords: replaced(machine, arguments[0], keywords),
    **dict.fromkeys(("torch.arange", "np.arange", "numpy.arange"), arange_of),
    "list": container_of,
    "tuple": container_of,
    "set": container_of,
    "deque": container_of,
    "Queue": queue_of,
    "SimpleQueue": queue_of,
    "sorted": sorted_of,
    "nsmallest": taken_of,
    "nlargest": taken_of,
    "random.shuffle": shuffle,
    "reversed": container_of,
    "dict": dictionary_of,
    "defaultdict": dictionary_of,
    "dict.fromkeys": from_keys,
    "OrderedDict": dictionary_of,
    "SimpleNamespace": dictionary_of,
    "Namespace": dictionary_of,
    "Counter": dictionary_of,
    "ArgumentParser": lambda machine, arguments, keywords: Value(refs=(Mapping(machine.new_id()),)),
    "typing.cast": lambda machine, arguments, keywords: arguments[-1] if arguments else UNKNOWN,
    "deepcopy": _copied,
    "partial": _partial,
    "getattr": _getattr,
    "setattr": _setattr,
    "isinstance": is_instance,
    "min": lambda machine, arguments, keywords: smallest(machine, arguments, keywords).with_marks(
        *kept_counting(*arguments), *of_least(machine, arguments)
    ),
    "max": lambda machine, arguments, keywords: largest(machine, arguments, keywords).with_marks(
        *larger_apart(arguments), *of_largest(arguments), *kept_back(arguments)
    ),
}
