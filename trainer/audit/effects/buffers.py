"""Arrays and buffers that are filled with what a file or another array holds, as a whole or in parts."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.effects.files import reading
from trainer.audit.facts.machine import Frame, Keywords, Machine
from trainer.audit.facts.values import UNKNOWN, Cell, Value, changed, combined, full

INTO = frozenset(["readinto", "readinto1", "fromfile", "frombytes"])
"""Methods that read a file into a buffer, or bytes into an array of the standard library."""
FILLING = frozenset(["readinto", "readinto1", "copyto"])
"""Functions that fill their first argument, which may be a part of an array."""


def contents(machine: Machine, base: Value, name: str, every: list[Value]) -> Value:
    """What a file or buffer holds."""
    if any(isinstance(ref, Cell) for ref in base.refs):
        return changed(full(base), refs=())
    if base.tokens or base.objects:  # an opened file
        return base
    read = reading(machine, name, every)
    return read or machine.elsewhere(changed(machine.stored(base.text), at=base.at))


def read_into(machine: Machine, base: Value, name: str, arguments: list[Value]) -> Value:
    """`file.readinto(buffer)`, `array.fromfile(file, count)`: the buffer holds what the file does."""
    file, buffer = (base, arguments[0]) if name.startswith("readinto") else (arguments[0], base)
    held = full(file) if name == "frombytes" else contents(machine, file, name, [file])
    for ref in buffer.refs:
        if isinstance(ref, Cell):
            ref.content = combined([ref.content, changed(held, refs=())])
    return UNKNOWN


def copied_to(machine: Machine, arguments: Sequence[Value], keywords: Keywords) -> Value:
    """`np.copyto(into, array)`."""
    for ref in arguments[0].refs if len(arguments) > 1 else ():
        if isinstance(ref, Cell):
            ref.content = combined([ref.content, changed(full(arguments[1]), refs=())])
    return UNKNOWN


def whole_of(machine: Machine, node: ast.expr, frame: Frame) -> Value | None:
    """The array that `array[a:b]` or `memoryview(array)[a:b]` is a part of, which is filled with its part."""
    while isinstance(node, ast.Subscript | ast.Call | ast.Attribute):
        node = (node.args or [node.func])[0] if isinstance(node, ast.Call) else node.value
    whole = machine.evaluate(node, frame) if isinstance(node, ast.Name) else UNKNOWN
    return whole if any(isinstance(ref, Cell) for ref in whole.refs) else None
