"""Generators of the script. One runs when it is gone through, so that its statements come between those of the loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from trainer.audit.facts.machine import Function, Keywords, Machine
from trainer.audit.facts.values import Value, changed, joined


class Finished(Exception):
    """The loop that goes through a generator ended before the generator did."""


@dataclass(eq=False)
class Generator:
    """A call of a generator function, which has not run yet, or all that it yielded."""

    function: Function
    arguments: Sequence[Value] = ()
    keywords: Keywords = field(default_factory=dict)
    made: Value | None = None


def is_lazy(node: ast.AST) -> bool:
    """Whether a call of this function returns a generator."""
    return not isinstance(node, ast.Lambda) and not is_manager(node) and any(_own_yields(node))


def is_manager(node: ast.AST) -> bool:
    """Whether it is a generator that serves as a context manager."""
    named = (getattr(part, "attr", getattr(part, "id", "")) for part in getattr(node, "decorator_list", []))
    return any(name in ("contextmanager", "asynccontextmanager") for name in named)


def _own_yields(node: ast.AST) -> Iterator[ast.AST]:
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.Yield | ast.YieldFrom):
            yield part
        elif not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _own_yields(part)


def generator_of(value: Value) -> Generator | None:
    """The generator that a value is and that has not run; None if it may be something else."""
    only = value.refs[0] if len(value.refs) == 1 else None
    return only if isinstance(only, Generator) and only.made is None else None


def forced(machine: Machine, value: Value) -> Value:
    """The value, with all that it yields where it is a generator."""
    if not any(isinstance(ref, Generator) for ref in value.refs):
        return value
    return joined([machine.run_generator(ref) if isinstance(ref, Generator) else changed(value, refs=(ref,))
                   for ref in value.refs])  # fmt: skip


@contextmanager
def put_back(machine: Machine) -> Iterator[None]:
    """Afterwards the machine stands where it stood, also where a loop ended within what it goes through."""
    stacks: tuple[list[Any], ...] = (
        machine.guards,
        machine.decided,
        machine.off,
        machine.loops,
        machine.conditions,
        machine.choosing,
        machine.measuring,
    )
    depths, without, place = [len(stack) for stack in stacks], machine.without_gradient, machine.place
    try:
        yield
    finally:
        for stack, depth in zip(stacks, depths, strict=True):
            del stack[depth:]
        machine.without_gradient, machine.place = without, place
