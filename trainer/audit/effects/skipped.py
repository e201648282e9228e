"""Windows that are left out of a score where scoring them raises: `try: ... except RuntimeError: continue`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.audit.facts.machine import Machine
from trainer.audit.facts.trace import Reported, Trace

ENDS = (ast.Raise, ast.Return, ast.Break)
QUIET = frozenset({"print", "log", "log0", "warning", "error", "empty_cache"})
"""Functions after which nothing was scored again."""


@contextmanager
def may_raise(machine: Machine, node: ast.Try | ast.TryStar) -> Iterator[None]:
    """Remembers which evaluations a `try` in a loop computes, if what raises there is passed over."""
    first = machine.new_id()
    yield
    passed = next((handler for handler in node.handlers if _goes_on(handler)), None)
    if machine.loops and passed is not None:
        machine.trace.passed_over.append((passed.lineno, first, machine.new_id()))


def _goes_on(handler: ast.ExceptHandler) -> bool:
    """Whether a handler goes on with the next iteration, without another try at the same windows."""
    called = {ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(handler) if isinstance(node, ast.Call)}
    ends = any(isinstance(node, ENDS) for node in ast.walk(handler))
    return isinstance(handler.body[-1], ast.Continue | ast.Pass) and called <= QUIET and not ends


def passed_over(trace: Trace, report: Reported) -> int | None:
    """The line of a handler that goes on where a score of the report raises."""
    losses = [number for number in report.scores if trace.evaluations[number].is_loss]
    lines = (line for line, first, last in trace.passed_over if any(first < number < last for number in losses))
    return min(lines, default=None)
