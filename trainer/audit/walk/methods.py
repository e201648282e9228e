"""Calls of methods of tensors, models, optimisers and containers."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

from trainer.audit.effects.arithmetic import fills
from trainer.audit.effects.buffers import INTO, contents, read_into
from trainer.audit.effects.choices import choice, finally_chosen, is_score, lasting, marks_by
from trainer.audit.effects.chunk_borders import cells, filed
from trainer.audit.effects.containers import container_of, elements_of, taken
from trainer.audit.effects.document_lengths import kept, measured
from trainer.audit.effects.extremes import length_of
from trainer.audit.effects.generators import Generator, forced
from trainer.audit.effects.iteration import chosen_by, without_numbers
from trainer.audit.effects.known_builtins import mapped, next_of
from trainer.audit.effects.known_calls import external_call
from trainer.audit.effects.positions import some_by_one
from trainer.audit.effects.records import replaced
from trainer.audit.effects.settings import option
from trainer.audit.effects.shares_of_ranks import handed_on
from trainer.audit.effects.spread_over_bytes import of_call
from trainer.audit.effects.strides import appended
from trainer.audit.effects.tables_of_tokens import fill
from trainer.audit.effects.tensor_calls import method_like
from trainer.audit.facts.known_names import COUNTS
from trainer.audit.facts.machine import Class, Function, Instance, Keywords, Machine, Namespace
from trainer.audit.facts.tokens import in_number
from trainer.audit.facts.trace import Event
from trainer.audit.facts.values import (
    UNKNOWN,
    Cell,
    External,
    Mapping,
    Optimizer,
    Steps,
    Value,
    Zipped,
    changed,
    combined,
    constant,
    decisions,
    full,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.walk.expressions import attribute, item, store

CHAINED = frozenset(
    [
        "to",
        "cuda",
        "cpu",
        "eval",
        "train",
        "bfloat16",
        "half",
        "float",
        "double",
        "requires_grad_",
        "contiguous",
        "type",
        "compile",
        "share_memory",
        "pin_memory",
        "apply",
        "detach_",
        "share_memory_",
        "module",
        "unwrap",
    ]
)
"""Methods whose result is their object."""


PARAMETERS = frozenset(["parameters", "buffers", "modules", "children", "state_dict"])


NAMED = frozenset(["named_parameters", "named_buffers", "named_modules", "named_children"])


KEYED_IN_PLACE = {"scatter_add_": 1, "index_add_": 1, "scatter_": 1, "index_copy_": 1, "scatter_reduce_": 1,
                  "index_put_": 0, "put_": 0, "index_fill_": 1}  # fmt: skip
"""In-place methods that fill at places; which argument names them."""


VIEWS = frozenset(
    ["view", "reshape", "flatten", "ravel", "squeeze", "unsqueeze", "transpose", "permute", "t", "numpy", "cast"]
)
"""Methods whose result shares its elements with their object: what is filled there is filled here."""


OUTSIDE = frozenset(["read", "readline", "recv", "get", "pop", "popleft", "acquire", "next", "unpack", "from_bytes"])
"""Methods of what is unknown whose result may be another each time."""
CONVERTED = frozenset(["long", "int", "astype", "clone", "copy", "pin_memory"])
"""Methods whose result has the same elements in the same order."""
CLEARING = frozenset(["zero_", "normal_", "uniform_", "fill_", "clear", "trunc_normal_", "orthogonal_"])


def method(
    machine: Machine, base: Value, name: str, arguments: list[Value], keywords: Keywords, node: ast.Call | None
) -> Value:
    """The value of `base.name(...)`."""
    if name == "_replace" and any(isinstance(ref, Instance) for ref in base.refs):
        return replaced(machine, base, keywords)
    if name == "register_buffer" and len(arguments) > 1 and isinstance(arguments[0].const, str):
        for ref in base.refs:
            if isinstance(ref, Instance) and ref.kind is not None and ref.kind.kind == "plain":
                ref.attributes[arguments[0].const] = arguments[1]
    if name == "bos_id" and not arguments:
        return Value(marks=frozenset(["bos"]))
    results: list[Value] = []
    own = [ref for ref in base.refs if isinstance(ref, Instance) and ref.held and _has(ref, name)]
    for ref in own or base.refs[:3]:
        if isinstance(ref, External) and name.startswith("_foreach_") and name.endswith("_") and arguments:
            _in_each(machine, arguments[0], name.removeprefix("_foreach_"), arguments[1:], keywords)
            results.append(UNKNOWN)
        elif isinstance(ref, External):
            results.append(external_call(machine, External(f"{ref.path}.{name}"), arguments, keywords, node))
        elif isinstance(ref, Namespace | Class) or (isinstance(ref, Instance) and _has(ref, name)):
            target = attribute(machine, changed(base, refs=(ref,)), name)
            results.append(machine.call(target, arguments, keywords, node))
        elif isinstance(ref, Instance) and name == "start" and _is_thread(ref.kind):
            results.append(machine.call(attribute(machine, changed(base, refs=(ref,)), "run"), [], {}))
        elif isinstance(ref, Optimizer):
            results.append(_of_optimizer(machine, ref, name, arguments))
        elif isinstance(ref, Generator):
            results.append(next_of(machine, [changed(base, refs=(ref,))], {}))
        elif isinstance(ref, Listed):
            arguments = [forced(machine, value) for value in arguments]
            results.append(_of_list(machine, base, ref, name, arguments, keywords))
        elif isinstance(ref, Mapping):
            results.append(_of_mapping(machine, base, ref, name, arguments, keywords).with_marks(*decisions(base)))
    if results:
        return joined(results)
    arguments = [forced(machine, value) for value in arguments]
    return _of_tensor(machine, base, name, arguments, keywords).with_marks(*of_call(machine, name, [base, *arguments]))


def _is_thread(kind: Class | None) -> bool:
    """Whether a class of the script is a thread or process of its own: `start()` runs its `run()`."""
    bases = [ref for value in (kind.bases if kind is not None else ()) for ref in value.refs]
    return any(
        ref.name in ("Thread", "Process") if isinstance(ref, External) else isinstance(ref, Class) and _is_thread(ref)
        for ref in bases
    )


def _has(instance: Instance, name: str) -> bool:
    return name in instance.attributes or (instance.kind is not None and instance.kind.find(name) is not None)


def _of_optimizer(machine: Machine, ref: Optimizer, name: str, arguments: list[Value]) -> Value:
    if name == "step":
        for closure in arguments:
            machine.call(closure, [], {})
        machine.step(ref.objects)
    elif name == "zero_grad":
        machine.zero_gradients(ref.objects)
    elif name == "add_param_group":
        ref.objects |= full(combined(arguments)).objects
    return UNKNOWN


def _of_list(
    machine: Machine, base: Value, ref: Listed, name: str, arguments: list[Value], keywords: Keywords
) -> Value:
    first = arguments[0] if arguments else UNKNOWN
    if name in ("append", "add", "appendleft", "insert", "put", "put_nowait"):
        added = arguments[-1] if arguments else UNKNOWN
        handed_on(machine, name, full(added))
        filed(machine, base, added)
        added = without_numbers(added) if base.at else added
        if name == "add" and added.tokens and not added.scores:
            fill(machine, Value(refs=(ref,)), UNKNOWN, key=added, adds=True)
        added = some_by_one(machine, added)
        added = appended(machine.trace, machine.guards, kept(machine, chosen_by(added, machine.conditions)))
        added = added.with_marks(*finally_chosen(machine))
        ref.elements.append(added)
        if machine.loops:
            ref.rest = added if ref.rest is None else joined([ref.rest, added])
        return UNKNOWN
    if name in ("extend", "update"):
        held = elements_of(first) if name == "extend" else full(first)
        ref.rest = held if ref.rest is None else joined([ref.rest, held])
        return UNKNOWN
    if name in ("pop", "popleft", "get", "get_nowait"):
        return taken(machine, base, ref)
    if name == "clear":
        ref.elements, ref.rest, ref.taken, ref.cleared = [], None, 0, True
        return UNKNOWN
    if name == "copy":
        return changed(base, refs=(replace(ref, id=machine.new_id(), elements=[*ref.elements]),))
    if name == "sort":
        held = Value(refs=(ref,))
        if "key" in keywords:
            ref.reordered, ref.ranked = True, marks_by(machine, [held], keywords["key"])
        elif is_score(machine, full(held)):
            ref.ranked = lasting(choice(machine, [full(held)]))
        return UNKNOWN
    if name in ("step", "zero_grad") and not ref.elements:
        return _of_tensor(machine, changed(base, refs=()), name, arguments, {})
    return combined([base, *arguments]) if name in ("index", "count") else UNKNOWN


def _of_mapping(
    machine: Machine, base: Value, ref: Mapping, name: str, arguments: list[Value], keywords: Keywords
) -> Value:
    if name == "add_argument":
        return option(machine, ref, arguments, keywords)
    if name in ("parse_args", "add_argument_group", "add_mutually_exclusive_group"):
        return base
    every = [*ref.entries.values(), *([ref.rest] if ref.rest is not None else [])]
    if name in ("get", "pop", "setdefault") and arguments:
        if name == "setdefault" and len(arguments) > 1:
            if arguments[0].tokens:
                fill(machine, Value(refs=(ref,)), arguments[1], key=arguments[0], adds=True)
                ref.rest = joined([ref.rest, arguments[1]]) if ref.rest is not None else arguments[1]
            else:
                store(ref, arguments[0], arguments[1])
        found = item(machine, changed(base, refs=(ref,)), arguments[0])
        found = joined([found, arguments[1]]) if len(arguments) > 1 and found is not arguments[1] else found
        return found.with_marks(*cells(arguments[0]))
    if name == "items":
        if ref.entries and ref.rest is None and len(ref.entries) <= 4:
            pairs = [_pair(machine, key, value) for key, value in ref.entries.items()]
            return Value(refs=(Listed(machine.new_id(), pairs),))
        return Value(refs=(Zipped((UNKNOWN, Value(refs=(Listed(machine.new_id(), [], joined(every)),)))),))
    if name == "values":
        return Value(refs=(Listed(machine.new_id(), [*every], joined(every)),)) if every else UNKNOWN
    if name == "update":
        for value in arguments:
            if value.tokens:
                fill(machine, Value(refs=(ref,)), UNKNOWN, key=value, adds=True)
            for part in value.refs:
                if isinstance(part, Mapping):
                    added = {**part.entries, **({None: part.rest} if part.rest is not None else {})}
                    for key, held in added.items():
                        store(ref, UNKNOWN if key is None else constant(key), held.with_marks(*finally_chosen(machine)))
        ref.entries |= keywords
        return UNKNOWN
    if name in ref.entries:
        return machine.call(ref.entries[name], arguments, keywords)
    if name == "copy":
        return changed(base, refs=(Mapping(machine.new_id(), dict(ref.entries), ref.rest),))
    if name == "clear":
        ref.entries, ref.rest = {}, None
    return combined([base, *arguments]) if name not in ("keys", "clear") else UNKNOWN


def _pair(machine: Machine, key: Any, value: Value) -> Value:
    return Value(refs=(Listed(machine.new_id(), [Value(const=key), value], fixed=True),))


def _of_tensor(machine: Machine, base: Value, name: str, arguments: list[Value], keywords: Keywords) -> Value:
    """A method of a tensor, a model of torch, a path, or of something unknown."""
    every = [base, *arguments, *keywords.values()]
    handed_on(machine, name, base)
    if name == "backward":
        machine.backward(full(base))
        return UNKNOWN
    if name == "step":
        return _step(machine, base, arguments)
    if name == "zero_grad":
        machine.zero_gradients(full(base).objects)
        return UNKNOWN
    if name in ("register_forward_hook", "register_forward_pre_hook") and arguments:
        machine.hooks.append(arguments[0])
        return Value(marks=frozenset(["hook"]))
    if name == "remove" and not base.tokens:
        machine.hooks.clear()
        return UNKNOWN
    if name == "load_state_dict":
        load(machine, base, full(combined(arguments)))
        return UNKNOWN
    if name in NAMED or (name == "items" and not base.refs):
        return Value(refs=(Zipped((UNKNOWN, combined([base]))),), objects=base.objects)
    if name in PARAMETERS:
        return combined([base])
    if name in CHAINED:
        copies = name in ("cpu", "half") and base.objects and not base.refs and base.snapshot is None
        return changed(base, snapshot=machine.time) if copies else base
    if name in VIEWS and _is_table(base):
        return base
    if name == "tolist" and (listed := [ref for ref in base.refs if isinstance(ref, Cell) and ref.listed]):
        return Value(refs=tuple(Listed(machine.new_id(), [*ref.listed]) for ref in listed))
    if name == "tolist" and any(isinstance(ref, Steps) for ref in base.refs):
        return container_of(machine, [base], {})
    if name in COUNTS:
        number = length_of(machine, base)
        return Value(at=in_number(base.at), number=number, marks=measured(base))
    if base.is_known and isinstance(base.const, str):
        return _of_text(base, name, arguments, every)
    if name in ("startswith", "endswith", "match") and arguments and isinstance(arguments[0].const, str):
        return combined([base]).with_marks(f"{'ends' if name == 'endswith' else 'is'}:{arguments[0].const}")
    if name in ("write", "write_bytes", "tofile") and every:
        named_last = name == "tofile" and arguments
        value, file = (base, arguments[0]) if named_last else (combined(arguments or [base]), base)
        machine.written(full(value), file.text)
        return UNKNOWN
    if name in ("read_bytes", "read_text", "read"):
        return contents(machine, base, name, every)
    if name in ("map", "imap", "submit", "apply_async") and any(isinstance(ref, Function) for ref in arguments[0].refs):
        return mapped(machine, arguments, keywords) if "map" in name else _submitted(machine, arguments)
    if name in INTO and arguments:
        return read_into(machine, base, name, arguments)
    if name.endswith("_") and not name.endswith("__"):
        return _in_place(machine, base, name, arguments, keywords)
    if f"{name}_" in KEYED_IN_PLACE:  # the same of a copy
        copy = Value(refs=(Cell(machine.new_id(), changed(full(base), refs=())),))
        return _in_place(machine, copy, f"{name}_", arguments, keywords)
    result = combined(every)
    if result.tokens and is_module(base):  # one of its layers is called
        return machine.evaluated(result, is_loss=False)
    if not result.tokens and not result.objects and name in OUTSIDE:
        result = machine.elsewhere(result)
    made = method_like(machine, name, base, arguments, keywords, result)
    return made.with_marks("flat") if name in CONVERTED and "flat" in base.marks else made


def _is_table(value: Value) -> bool:
    """Whether it is an array that holds no text and no scores: a blank one, or what was counted."""
    held = full(value)
    counted = all(part.via in ("table", "statistic") for part in held.tokens)
    return any(isinstance(ref, Cell) for ref in value.refs) and counted and not held.scores


def is_module(value: Value) -> bool:
    """Whether it is an object of one of the script's classes of models."""
    return any(isinstance(ref, Instance) and ref.kind is not None and ref.kind.kind == "module" for ref in value.refs)


def _submitted(machine: Machine, arguments: list[Value]) -> Value:
    """`pool.submit(function, ...)`, `pool.apply_async(function, (...))`: what the function returns."""
    packed = [ref for value in arguments[1:2] for ref in value.refs if isinstance(ref, Listed) and ref.fixed]
    return machine.call(arguments[0], packed[0].elements if packed else arguments[1:], {})


def _step(machine: Machine, base: Value, arguments: list[Value]) -> Value:
    stepped = [ref for value in arguments for ref in value.refs if isinstance(ref, Optimizer)]
    for ref in stepped:  # a gradient scaler
        machine.step(ref.objects)
    if not stepped and "schedule" not in base.marks and machine.pending and not base.tokens:
        machine.step(full(base).objects)
    return UNKNOWN


def _of_text(base: Value, name: str, arguments: list[Value], every: list[Value]) -> Value:
    known = all(value.is_known for value in arguments)
    plain = ("lower", "upper", "strip", "split", "rstrip", "lstrip", "startswith", "endswith", "format", "replace")
    short = all(len(value.const) < 2000 for value in (base, *arguments) if isinstance(value.const, str | bytes))
    if known and name in plain and short and not (name == "format" and fills(base.const)):
        try:
            made = getattr(base.const, name)(*(value.const for value in arguments))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # the script's mistake
            return combined(every)
        const = tuple(made) if isinstance(made, list) else made
        return Value(const=const, env=base.env, text=base.text)
    return combined(every)


def _in_place(machine: Machine, base: Value, name: str, arguments: list[Value], keywords: Keywords) -> Value:
    given = full(combined([*arguments, *keywords.values()]))
    if base.objects:
        machine.selected("a value of the model was chosen by a validation score", given.marks)
    if name in CLEARING:
        for ref in base.refs:
            if isinstance(ref, Cell):
                ref.content = UNKNOWN
        return base
    if any(part.via == "gradient" for part in given.tokens):
        gradients = frozenset(part for part in given.tokens if part.via == "gradient")
        cells = frozenset(ref.id for ref in base.refs if isinstance(ref, Cell))
        machine.updated("manual", gradients, base.objects | cells if cells else full(base).objects)
    elif name == "copy_" and base.objects and given.scores and "stored" not in given.marks:
        val = frozenset(part for part in given.tokens if part.source == "val")
        machine.updated("manual", val, full(base).objects)  # as a step size that follows the losses so far
    elif name == "copy_" and base.objects:
        load(machine, base, given)
    elif base.objects and given.objects - base.objects and not any(isinstance(ref, Cell) for ref in base.refs):
        machine.loaded(base.objects, given, adds=True)
    if any(isinstance(ref, Cell) for ref in base.refs):
        where = KEYED_IN_PLACE.get(name)
        key = full(arguments[where]) if where is not None and len(arguments) > where else UNKNOWN
        adds = name not in ("copy_", "scatter_", "index_copy_")
        fill(machine, base, given, key=key, adds=adds, subtracts=name == "sub_")
    return base


def _in_each(machine: Machine, base: Value, name: str, arguments: list[Value], keywords: Keywords) -> None:
    """`torch._foreach_name(list, ...)`: the method of each tensor of a list."""
    listed = [ref for ref in base.refs if isinstance(ref, Listed)]
    for value in [part for ref in listed for part in (*ref.elements, *([ref.rest] if ref.rest else []))] or [base]:
        _in_place(machine, value, name, arguments, keywords)


def load(machine: Machine, base: Value, state: Value) -> None:
    """A model gets other weights: notes what of them comes from validation tokens."""
    machine.loaded(base.objects, state)
    machine.trace.is_read_back |= "stored" in state.marks
    if any(part.source == "train" and part.via != "gradient" for part in state.tokens):
        machine.trace.calibrated.append(Event(**machine.where()))
    vias = {part.via for part in state.tokens if part.source == "val"}
    if vias & ({"activation", "statistic"} if "stored" in state.marks else {"tokens", "activation", "statistic"}):
        machine.calibrated(state, "weights that are loaded are computed from validation tokens")
    around = (mark for marks in machine.choosing for mark in lasting(marks))  # as `if ema < raw: load(ema)`
    for mark in sorted({*state.marks, *around}):
        if mark.startswith("chosen:"):
            machine.note("weights-selected-by-score", f"the score decides in line {mark[7:]}")
            detail = f"what is chosen here is loaded in line {machine.place.line}"
            machine.note("weights-selected-by-score", detail, line=int(mark[7:]))
