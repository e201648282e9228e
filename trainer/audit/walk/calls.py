"""Calls: of the script's own functions and classes, of methods of tensors, models, optimisers and containers."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from trainer.audit.effects import bent_logits, gates, ignored
from trainer.audit.effects.arithmetic import truth
from trainer.audit.effects.buffers import FILLING, whole_of
from trainer.audit.effects.generators import forced
from trainer.audit.effects.iteration import bound
from trainer.audit.effects.known_calls import (
    external_call,
    optimizer,
)
from trainer.audit.effects.positions import masked
from trainer.audit.effects.records import made_defaults
from trainer.audit.facts.machine import Class, Frame, Function, Instance, Keywords, Machine
from trainer.audit.facts.model_losses import computes_loss, loss_of
from trainer.audit.facts.trace import Event
from trainer.audit.facts.values import (
    UNKNOWN,
    Cell,
    External,
    Mapping,
    Value,
    changed,
    combined,
    full,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.walk.methods import method
from trainer.audit.walk.other_forms import as_comprehension
from trainer.audit.walk.ownership import kept_parameters

MAPPINGS = ("dict", "defaultdict", "OrderedDict", "Counter", "UserDict")
ACTING = frozenset(["backward", "step", "grad", "load_state_dict", "copy_", "scatter_add_", "index_add_", "index_put_"])


def call_of(machine: Machine, node: ast.Call, frame: Frame) -> Value:
    """The value of a call expression."""
    if (plainer := as_comprehension(node)) is not None and frame.find("filter") is None:
        return machine.evaluate(plainer, frame)
    arguments, keywords = _arguments(machine, node, frame)
    if arguments and getattr(node.func, "attr", "") in FILLING:
        arguments[0] = whole_of(machine, node.args[0], frame) or arguments[0]
    machine.count(node, frame)
    if isinstance(node.func, ast.Attribute):
        if _is_super(node.func.value):
            return _of_base_class(machine, node.func.attr, arguments, keywords, frame)
        base = machine.evaluate(node.func.value, frame)
        if node.func.attr.endswith("_") and isinstance(node.func.value, ast.Subscript):
            whole = machine.evaluate(node.func.value.value, frame)
            base = whole if any(isinstance(ref, Cell) for ref in whole.refs) else base
        machine.count(node, frame)
        ignored.called(machine, node, frame)
        result = method(machine, base, node.func.attr, arguments, keywords, node)
        if (new := bent_logits.changed_there(machine, node.func.attr, base, arguments)) is not base:
            machine.changed_in_place(node.func.value, base, new, frame)
            return new
        return gates.called(machine, node, arguments or [base], result)
    result = machine.call(machine.evaluate(node.func, frame), arguments, keywords, node)
    return gates.called(machine, node, arguments, result)


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _of_base_class(machine: Machine, name: str, arguments: list[Value], keywords: Keywords, frame: Frame) -> Value:
    instance = frame.find("self") or UNKNOWN
    for ref in instance.refs:
        if isinstance(ref, Instance) and ref.kind is not None:
            for base in (part for value in ref.kind.bases for part in value.refs):
                if isinstance(base, Class) and (found := base.find(name)) is not None:
                    return machine.call(bound(found, instance), arguments, keywords)
    return combined([instance, *arguments, *keywords.values()])


def _arguments(machine: Machine, node: ast.Call, frame: Frame) -> tuple[list[Value], Keywords]:
    arguments: list[Value] = []
    for part in node.args:
        if isinstance(part, ast.Starred):
            value = forced(machine, machine.evaluate(part.value, frame))
            exact = [ref.elements for ref in value.refs if isinstance(ref, Listed) and ref.rest is None]
            alike = [elements for elements in exact if len(elements) == len(exact[0])]
            arguments += [joined(column) for column in zip(*alike, strict=True)] if exact else [combined([value])]
        else:
            arguments.append(machine.evaluate(part, frame))
    keywords: Keywords = {}
    for keyword in node.keywords:
        value = machine.evaluate(keyword.value, frame)
        if keyword.arg is not None:
            keywords[keyword.arg] = value
        else:
            for ref in value.refs:
                if isinstance(ref, Mapping):
                    keywords |= {name: held for name, held in ref.entries.items() if isinstance(name, str)}
    return arguments, keywords


def call(
    machine: Machine, called: Value, arguments: Sequence[Value], keywords: Keywords, node: ast.Call | None
) -> Value:
    """The value of calling `called`."""
    results = []
    for ref in called.refs[:3]:
        if isinstance(ref, Function):
            results.append(function_call(machine, ref, arguments, keywords))
        elif isinstance(ref, Class):
            results.append(instance_of(machine, ref, arguments, keywords))
        elif isinstance(ref, Instance):
            results.append(_instance_call(machine, called, ref, arguments, keywords))
        elif isinstance(ref, External):
            results.append(external_call(machine, ref, arguments, keywords, node))
    if results:
        return joined(results)
    value = combined([called, *arguments, *keywords.values()])
    return machine.evaluated(value, is_loss=False) if called.objects and value.tokens else value


def _instance_call(
    machine: Machine, called: Value, instance: Instance, arguments: Sequence[Value], keywords: Keywords
) -> Value:
    if instance.kind is None:
        return combined([called, *arguments])
    if "ddp" in called.marks and not machine.without_gradient:  # whose backward pass averages over the ranks
        machine.trace.collectives.append(machine.tick())
    name = "forward" if instance.kind.kind == "module" else "__call__"
    found = instance.kind.find(name) or instance.kind.find("forward")
    if found is None:
        result = machine.evaluated(combined([called, *arguments, *keywords.values()]), is_loss=False)
        for ref in (instance.kind.find("__call__") or UNKNOWN).refs:
            if isinstance(ref, Function):
                _remember(machine, result, arguments, instance.kind, ref.node)
        return result
    return machine.call(bound(found, changed(called, refs=(instance,))), arguments, keywords)


def function_call(machine: Machine, function: Function, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """The value of a call of a function of the script: its body is walked with these arguments."""
    every = [*function.arguments, *arguments]
    if function.bound is not None:
        instance = next((ref for ref in function.bound.refs if isinstance(ref, Instance)), None)
        kind = instance.kind if instance is not None else None
        if kind is not None and kind.kind == "module" and not _acts(machine, kind, function.name):
            return _model_call(machine, function, every, keywords)
        every = [function.bound, *every]
    if not machine.may_enter(function.node):
        return combined([*every, *keywords.values()])
    return machine.enter(function, every, {**function.keywords, **keywords})


def _acts(machine: Machine, kind: Class, name: str) -> bool:
    """Whether a method of a model, or one that it calls on itself, changes weights or tables."""
    known = machine.acting.get((kind.node, name))
    if known is None:
        known = machine.acting[(kind.node, name)] = _found_acting(kind, name)
    return known


def _found_acting(kind: Class, name: str) -> bool:
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        found = kind.find(current)
        if current in seen or found is None:
            continue
        seen.add(current)
        for node in (ref.node for ref in found.refs if isinstance(ref, Function)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
                    if inner.func.attr in ACTING:
                        return True
                    if isinstance(inner.func.value, ast.Name) and inner.func.value.id == "self":
                        waiting.append(inner.func.attr)
                if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Subscript):
                    return name != "__init__"
    return False


def _model_call(machine: Machine, function: Function, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """A forward pass of a model, or another of its methods."""
    assert function.bound is not None
    names = [parameter.arg for parameter in function.node.args.args][1:]
    read = _read_before_the_loss(function, keywords)
    if read is not None:  # what is returned then is computed of these alone
        arguments = [value for name, value in zip(names, arguments, strict=False) if name in read]
        keywords = {name: value for name, value in keywords.items() if name in read}
    given = [*arguments, *keywords.values()]
    held = [ref.given for ref in function.bound.refs if isinstance(ref, Instance)]
    value = combined([changed(function.bound, refs=()), *held, *given])
    if (machine.hooks or machine.forwards) and value.tokens:
        hooks, machine.hooks = machine.hooks, []
        forwards, machine.forwards = machine.forwards, []
        inputs = combined(given)
        if {part.source for part in inputs.tokens} == {"train"}:
            machine.trace.calibrated.append(Event(**machine.where()))
        seen = changed(inputs.seen_via("activation", machine.place.line), scores=frozenset())
        for hook in hooks:
            machine.call(hook, [UNKNOWN, Value(refs=(Listed(machine.new_id(), [seen]),)), seen], {})
        for replaced in forwards:
            machine.call(replaced, [seen, seen], {})
        machine.hooks, machine.forwards = hooks, forwards
    kind = next((ref.kind for ref in function.bound.refs if isinstance(ref, Instance)), None)
    if function.node not in machine.losses:
        machine.losses[function.node] = loss_of(kind, function.node)
    loss = machine.losses[function.node]
    is_loss = loss.is_loss and read is None and (len(arguments) > 1 or len(keywords) > 0)
    result = machine.evaluated(value, is_loss=is_loss)
    _remember(machine, result, given, kind, function.node)
    by_name = dict(zip(names, arguments, strict=False)) | keywords
    return masked(machine, result, result) if is_loss and loss.leaves_out(by_name) else result


def _remember(machine: Machine, result: Value, given: Sequence[Value], kind: Class | None, method: ast.AST) -> None:
    """Notes which method an evaluation called, beside those that computed its first argument."""
    before = [machine.trace.methods[score] for value in given[:1] for score in full(value).scores]
    if kind is not None and isinstance(method, ast.FunctionDef):
        for number in result.scores:
            machine.trace.methods[number] = frozenset([(kind.node, method)]).union(*before)


def _read_before_the_loss(function: Function, keywords: Keywords) -> set[str] | None:
    """The names that are read before a flag that is set, the model's or an argument, returns without the loss.

    None where no flag does.
    """
    assert function.bound is not None
    instance = next((ref for ref in function.bound.refs if isinstance(ref, Instance)), None)
    read: set[str] = set()
    for node in function.node.body if isinstance(function.node, ast.FunctionDef) else ():
        if computes_loss(node):
            return None
        read |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        if not (isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return)):
            continue
        flag = node.test
        if isinstance(flag, ast.Attribute) and isinstance(flag.value, ast.Name) and flag.value.id == "self":
            given = instance.attributes.get(flag.attr) if instance is not None else None
        else:
            given = keywords.get(flag.id) if isinstance(flag, ast.Name) else None
        if given is not None and truth(given):
            return read
    return None


def _kept(kind: Class, arguments: Sequence[Value], keywords: Keywords) -> Iterator[Value]:
    """What of its constructor's arguments an object keeps; all where they cannot be told apart."""
    made = next((ref.node for ref in (kind.find("__init__") or UNKNOWN).refs if isinstance(ref, Function)), None)
    if isinstance(made, ast.Lambda) or made is None or made.args.vararg or made.args.kwarg:
        yield from (*arguments, *keywords.values())
        return
    kept = kept_parameters(made)
    names = [argument.arg for argument in (*made.args.posonlyargs, *made.args.args)][1:]
    yield from (value for name, value in zip(names, arguments, strict=False) if name in kept)
    yield from (value for name, value in keywords.items() if name in kept)


def is_mapping(kind: Class) -> bool:
    """Whether a class of the script is a kind of `dict`."""
    refs = [ref for base in kind.bases for ref in base.refs]
    return any(is_mapping(ref) if isinstance(ref, Class) else getattr(ref, "name", "") in MAPPINGS for ref in refs)


def instance_of(machine: Machine, kind: Class, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """A new object of a class of the script."""
    every = [*arguments, *keywords.values()]
    if kind.kind == "optimizer":
        return optimizer(machine, combined(every))
    instance = Instance(machine.new_id(), kind, held=(Mapping(machine.new_id()),) if is_mapping(kind) else ())
    value = Value(refs=(instance, *instance.held))
    if kind.kind == "module":
        value = changed(value, objects=frozenset([instance.id]))
        machine.models.add(instance.id)
        instance.given = changed(combined(every), refs=(), objects=frozenset(), scores=frozenset())
        models = [
            part for part in _kept(kind, arguments, keywords) if any(isinstance(ref, Instance) for ref in part.refs)
        ]
        if models:
            machine.trace.parts[instance.id] = frozenset().union(*(part.objects for part in models))
        if not any(_acts(machine, kind, name) for name in kind.frame.names):
            return value
    if (made := kind.find("__init__")) is not None:
        machine.call(bound(made, value), arguments, keywords)
        return value
    fields = [node.target.id for node in kind.node.body if isinstance(node, ast.AnnAssign)
              and isinstance(node.target, ast.Name)]  # fmt: skip
    given = dict(zip(fields, arguments, strict=False)) | keywords
    instance.attributes |= made_defaults(machine, kind, given) | given
    if (after := kind.find("__post_init__")) is not None:
        machine.call(bound(after, value), [], {})
    if any(isinstance(ref, External) and ref.name == "NamedTuple" for base in kind.bases for ref in base.refs):
        elements = [instance.attributes.get(name, UNKNOWN) for name in fields]
        return changed(value, refs=(instance, Listed(machine.new_id(), elements)))
    return value
