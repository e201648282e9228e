"""Calls of functions that the script imports: torch, NumPy, files, settings. Others compute from their arguments."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from contextlib import suppress

from trainer.audit.effects.arithmetic import mixed_in
from trainer.audit.effects.bent_logits import scored
from trainer.audit.effects.buffers import copied_to
from trainer.audit.effects.clocks import clock
from trainer.audit.effects.containers import (
    drawn_of,
    is_exact,
)
from trainer.audit.effects.document_begins import ignored
from trainer.audit.effects.extremes import length_of
from trainer.audit.effects.files import holds_learned, opens_to_write, reading, written
from trainer.audit.effects.generators import forced
from trainer.audit.effects.iteration import forgotten
from trainer.audit.effects.known_builtins import BUILTINS
from trainer.audit.effects.mixtures import stacked
from trainer.audit.effects.own_losses import asked_again
from trainer.audit.effects.rows import together
from trainer.audit.effects.settings import setting
from trainer.audit.effects.shares_of_ranks import called as called_of_ranks
from trainer.audit.effects.shares_of_ranks import setting_of
from trainer.audit.effects.spread_over_bytes import of_call
from trainer.audit.effects.tables_of_tokens import fill
from trainer.audit.effects.tensor_calls import method_like
from trainer.audit.facts.known_names import (
    BLANK,
    COLLECTIVES,
    COUNTS,
    DATASETS,
    DECODERS,
    DRAWN,
    LAZY,
    LOSSES,
    MAKERS,
    NUMBERED,
    OF_FILES,
    OPTIMIZERS,
    PURE,
    READERS,
    RUNNERS,
    SAME,
    SCHEDULES,
    SETTING,
    TOGETHER,
    WRITERS,
)
from trainer.audit.facts.machine import Frame, Function, Keywords, Machine
from trainer.audit.facts.tokens import in_number
from trainer.audit.facts.values import (
    UNKNOWN,
    Cell,
    External,
    Optimizer,
    Value,
    Zipped,
    changed,
    combined,
    constant,
    full,
    parts_of,
)
from trainer.audit.facts.values import Sequence as Listed


def external_call(
    machine: Machine, called: External, arguments: Sequence[Value], keywords: Keywords, node: ast.Call | None
) -> Value:
    """The value of a call of something imported or built in."""
    result = _external_call(machine, called, arguments, keywords, node)
    return result.with_marks(*of_call(machine, called.name, arguments))


def _external_call(
    machine: Machine, called: External, arguments: Sequence[Value], keywords: Keywords, node: ast.Call | None
) -> Value:
    name, path = called.name, called.path
    if name not in LAZY and name not in SAME and name not in DATASETS:
        arguments = [forced(machine, value) for value in arguments]
    every = [*arguments, *keywords.values()]
    first = arguments[0] if arguments else UNKNOWN
    if (known := _constant(path, name, arguments, keywords)) is not None:
        return known
    if (of_ranks := called_of_ranks(machine, name, path, arguments)) is not None:
        return of_ranks
    if (drawn := drawn_of(machine, path, arguments)) is not None:
        return drawn
    if handler := HANDLERS.get(path) or HANDLERS.get(name):
        return handler(machine, arguments, keywords)
    if path in ("exec", "eval", "__import__", "importlib.import_module", "runpy.run_path") and arguments:
        machine.trace.gap(f"line {machine.place.line}: {path} runs code that cannot be read here")
    if (root := path.partition(".")[0]) in machine.absent and _shows_validation(every):
        where = f"line {machine.place.line}: {path} is given validation tokens"
        machine.trace.gap(f"{where}; what it does is not known, the module {root} is not beside the script")
    if path.startswith("subprocess.") and any(".py" in text for value in every for text in full(value).text):
        machine.trace.gap(f"line {machine.place.line}: {path} runs another script")
    if name in RUNNERS and (run := _run(machine, arguments, keywords)) is not None:
        return run
    if SCHEDULES.search(path):
        return Value(marks=frozenset(["schedule"]))
    if OPTIMIZERS.search(path) and name[:1].isupper():
        return optimizer(machine, combined(every))
    if name in SAME and arguments:
        return first.with_marks("ddp") if name in ("DistributedDataParallel", "DDP") else first
    if name in DRAWN and ("rand" in path):
        return combined(every).with_marks("random")
    if name in DATASETS and arguments:
        return Value(refs=(Zipped(tuple(arguments)),)) if len(arguments) > 1 and name == "TensorDataset" else first
    if SETTING.search(path):
        return setting(machine, arguments)
    if name in COLLECTIVES:
        machine.trace.collectives.append(machine.tick())
    if name in COUNTS:
        if name in ("get_rank", "get_world_size"):
            return setting_of("RANK" if name == "get_rank" else "WORLD_SIZE")
        return Value(at=in_number(first.at), number=length_of(machine, first))
    if (name in READERS or (OF_FILES.search(name) and not path.startswith(("torch.", "np.", "numpy.", "os.")))) and (
        read := reading(machine, path, every)
    ):
        return read
    if name in LOSSES:
        if not arguments and not keywords:
            return Value(refs=(External(f"{path}.cross_entropy"),))
        targets = keywords.get("target", arguments[1] if len(arguments) > 1 else UNKNOWN)
        given = combined(every).without_marks(*(["unnormalised"] if "cross_entropy" in name.lower() else []))
        given = scored(machine, asked_again(machine, given, full(targets)), targets).with_marks(
            *ignored(machine, keywords)
        )
        return machine.evaluated(given, is_loss=True, targets=targets)
    if name == "open" and opens_to_write(every):
        return changed(combined([first]), tokens=frozenset(), objects=frozenset())
    if (
        name in READERS
        and not full(first).objects
        and holds_learned(machine, held := machine.stored(first.text), first.text)
    ):
        return machine.elsewhere(changed(held, at=first.at))
    if name in DECODERS or (name in READERS and not full(first).objects):
        return machine.elsewhere(combined(every)).with_marks("stored")
    if name in WRITERS:
        return written(machine, arguments, combined(every), path)
    if name in ("BytesIO", "StringIO"):
        return Value(refs=(Cell(machine.new_id(), full(first)),))
    result = combined(every)
    if name in TOGETHER:
        parts = [part for value in arguments for ref in value.refs if isinstance(ref, Listed) for part in parts_of(ref)]
        result = stacked(machine, parts, mixed_in(machine, parts, result))
        return together(machine, name, arguments, forgotten(machine, changed(result, refs=())))
    if name in BLANK:
        return Value(refs=(Cell(machine.new_id(), blank=True),))
    if name in MAKERS:
        listed = tuple(first.refs[0].elements) if is_exact(first) else ()
        return Value(refs=(Cell(machine.new_id(), changed(result, refs=()), listed=listed),), marks=result.marks)
    if path.partition(".")[0] not in PURE and name not in PURE:
        result = machine.elsewhere(result)
    return method_like(machine, name, first, list(arguments[1:]), keywords, result)


def _shows_validation(values: Sequence[Value]) -> bool:
    return any(part.source == "val" and part.via == "tokens" for value in values for part in full(value).tokens)


def _run(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value | None:
    """`spawn(function, args=(...))`, `Thread(target=function, args=(...))`, `submit(function, ...)`."""
    called = keywords.get("target", arguments[0] if arguments else UNKNOWN)
    if not any(isinstance(ref, Function) for ref in called.refs):
        return None
    packed = keywords.get("args", UNKNOWN)
    given = [part for ref in packed.refs if isinstance(ref, Listed) for part in ref.elements]
    first = [] if "target" in keywords else list(arguments[1:])
    rank = [UNKNOWN] if "args" in keywords and "target" not in keywords else []
    return machine.call(called, [*rank, *first, *given], {})


def optimizer(machine: Machine, parameters: Value) -> Value:
    """An optimiser over these parameters."""
    made = Optimizer(machine.new_id(), full(parameters).objects, machine.place.line)
    return Value(refs=(made,))


def _constant(path: str, name: str, arguments: Sequence[Value], keywords: Keywords) -> Value | None:
    if path in ("math.log", "np.log", "numpy.log", "torch.log", "log") and len(arguments) == 1:
        if arguments[0].const == 2:
            return constant(math.log(2.0)).with_marks("ln2")
        if not path.startswith("math."):
            return None
    if path in ("math.log2", "np.log2", "numpy.log2", "torch.log2") and arguments:
        return combined([arguments[0]]).with_marks("ln2")
    if path.endswith("path.join") and arguments and all(isinstance(value.const, str) for value in arguments):
        joined_path = "/".join(value.const.rstrip("/") for value in arguments)
        return constant(joined_path, frozenset().union(*(value.env for value in arguments)))
    function = NUMBERED.get(path)
    if function and arguments and not keywords and all(value.is_known for value in arguments):
        with suppress(Exception):
            env = frozenset().union(*(value.env for value in arguments))
            return changed(constant(function(*(value.const for value in arguments)), env), marks=arguments[0].marks)
    return None


def _gradient(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    return combined(arguments[:1]).seen_via("gradient") if arguments else UNKNOWN


def _of_gradients(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`torch.func.grad(f)`: a function whose result is a gradient."""
    return Value(refs=(External("autograd.of"), *(arguments[0].refs if arguments else ())))


def _functional(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`functional_call(model, parameters, inputs)`."""
    return machine.evaluated(combined([*arguments, *keywords.values()]), is_loss=False)


def _add_at(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    if len(arguments) > 1:
        fill(machine, arguments[0], combined(arguments[2:]), key=arguments[1], adds=True)
    return UNKNOWN


def _module_of(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`module_from_spec(spec)`: the helper module whose file the specification names, walked."""
    for text in sorted(combined(arguments).text):
        stem, _, ending = text.rpartition("/")[2].rpartition(".")
        if ending == "py" and (
            module := machine.import_module(stem, machine.frames[-1] if machine.frames else Frame())
        ):
            return Value(refs=(module,))
    machine.trace.gap(f"line {machine.place.line}: the module that is loaded here is not beside the script")
    return UNKNOWN


HANDLERS: dict[str, Callable[[Machine, Sequence[Value], Keywords], Value]] = {
    **BUILTINS,
    "autograd.grad": _gradient,
    "torch.autograd.grad": _gradient,
    "torch.func.grad": _of_gradients,
    "torch.func.grad_and_value": _of_gradients,
    "func.grad": _of_gradients,
    "autograd.of": _gradient,
    "functional_call": _functional,
    "module_from_spec": _module_of,
    **dict.fromkeys(("time.perf_counter", "time.monotonic", "time.time"), clock),
    **dict.fromkeys(("np.copyto", "numpy.copyto"), copied_to),
    "np.add.at": _add_at,
    "numpy.add.at": _add_at,
}
