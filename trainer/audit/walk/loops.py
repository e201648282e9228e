"""Loops: two of their iterations, or the body at each yield of a generator."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from trainer.audit.effects.chunk_borders import counted_by
from trainer.audit.effects.cut_short import ended_by
from trainer.audit.effects.generators import Finished, Generator, put_back
from trainer.audit.effects.iteration import generated, iterated, with_iteration
from trainer.audit.facts.machine import Frame, Function, Machine, joined_frames
from trainer.audit.facts.tokens import later
from trainer.audit.facts.trace import Guard
from trainer.audit.facts.values import NOTHING, Value, changed, full, is_scalar
from trainer.audit.walk.carried import carried_attributes, in_iteration
from trainer.audit.walk.counters import restarted_counters, set_for_the_next, steady_counters
from trainer.audit.walk.expressions import truth
from trainer.audit.walk.other_forms import as_loops, leaves


class Loops(Machine):
    """The part of a walk that goes through loops."""

    def __init__(self) -> None:
        super().__init__()
        self._carried: dict[ast.AST, frozenset[str]] = {}
        self.left: list[list[dict[str, Value]]] = []
        """Of each loop: what branches that end it gave to names."""
        self._restarted: dict[ast.AST, frozenset[str]] = {}

    @contextmanager
    def _joining(self, frame: Frame) -> Iterator[None]:
        """Behind a loop, names may hold what a branch gave them that ended it."""
        self.left.append([])
        try:
            yield
        finally:
            for names in self.left.pop():
                joined_frames(frame.names, names)

    def _For(self, node: ast.For, frame: Frame) -> str | None:
        with self._joining(frame):
            return self._for(node, frame)

    def _for(self, node: ast.For, frame: Frame) -> str | None:
        if (loops := as_loops(node)) is not None:
            return self._for(loops, frame)
        over = self.evaluate(node.iter, frame)
        loop = self.new_id()
        if through := generated(self, over, loop):
            return self._through(node, frame, loop, *through)
        found = iterated(self, over, loop)
        if found.off:
            with self.guarded(off=found.off):
                self._iteration(node, frame, loop, 0, found.elements[0])
            return None
        unrolled = all(isinstance(value.const, str) or _is_function(value) for value in found.elements)
        for k, value in enumerate(found.elements):
            if unrolled:  # stages by their names are no iterations of one thing
                self.assign(node.target, value, frame)
                ended = self.run_body(node.body, frame)
            else:
                ended = self._iteration(node, frame, loop, k, value)
            if ended == "break":
                return None
            if ended == "return":
                return "return"
        return self._behind(node, frame)

    _AsyncFor = _For

    def _behind(self, node: ast.For | ast.AsyncFor, frame: Frame) -> str | None:
        """Walks the `else` of a loop, that runs where nothing left the loop: perhaps, if something may."""
        if not (node.orelse and leaves(node.body)):
            return self.run_body(node.orelse, frame)
        before = dict(frame.names)
        with self.guarded(Guard(self.new_id(), 1)):
            ended = self.run_body(node.orelse, frame)
        if ended:
            frame.names = before
        else:
            joined_frames(frame.names, before)
        return None

    def _through(
        self, node: ast.For, frame: Frame, loop: int, generator: Generator, row: Callable[[Value, int], Value]
    ) -> str | None:
        """Walks a loop over a generator: its body at each yield, within the loops and conditions of the generator."""
        depths, outcome, number = (len(self.loops), len(self.guards)), None, 0

        def consume(value: Value) -> None:
            nonlocal outcome, number
            inner = self.loops[depths[0] :]
            here = inner[-1] if inner else (loop, number)
            if not {pair for part in value.tokens for pair in part.at} & {*inner}:
                value = with_iteration(value, frozenset([here]))
            ended = self._iteration(node, frame, *here, row(value, number))
            number += 1
            if ended in ("break", "return") and len(self.guards) == depths[1]:
                outcome = ended
                raise Finished

        with put_back(self), suppress(Finished):
            self.run_generator(generator, consume)
        if outcome:
            return "return" if outcome == "return" else None
        return self._behind(node, frame)

    def _While(self, node: ast.While, frame: Frame) -> str | None:
        with self._joining(frame):
            return self._while(node, frame)

    def _while(self, node: ast.While, frame: Frame) -> str | None:
        loop = self.new_id()
        self.trace.counting[loop] = node.lineno
        counted = self._counted_by(node, frame)
        for k in (0, 1):
            for name, marks in counted.items():
                if (held := frame.find(name)) is not None:
                    frame.assign(name, held.without_marks("grid", "edge", "cell").with_marks(*marks))
            self.loops.append((loop, k))
            known = truth(test := self.evaluate(node.test, frame))
            ended_by(self, node.test, frame, goes_on=True)
            self.loops.pop()
            if known is False and not test.env and k == 0 and not isinstance(node.test, ast.Compare):
                return None
            ended = self._iteration(node, frame, loop, k, None)
            if ended in ("break", "return"):
                return "return" if ended == "return" else None
        return None

    def _iteration(
        self, node: ast.For | ast.While | ast.AsyncFor, frame: Frame, loop: int, k: int, value: Value | None
    ) -> str | None:
        self.loops.append((loop, k))
        try:
            steady = steady_counters(node) if isinstance(node, ast.While) else {}
            for name in self._carried_by(node):
                held = frame.find(name)
                if held is not None and not (held.tokens or held.refs or held.scores):
                    restarted = name in self._restarted_in(node)
                    at = held.at if restarted else later(held.at, frozenset([(loop, k)]))
                    held = held.without_marks(*[] if name in steady else ("grid", "cell")).with_marks(
                        *["restarted"] * restarted, *["scalar"] * is_scalar(held)
                    )
                    frame.assign(name, changed(held, at=at, const=NOTHING))
                elif held is not None and name in set_for_the_next(node) and _is_of_numbers(held):
                    frame.assign(name, with_iteration(held, frozenset([(loop, k)])))
            for instance, name, held in carried_attributes(node.body, frame):
                instance.attributes[name] = in_iteration(held, frozenset([(loop, k)]))
            if value is not None and isinstance(node, ast.For | ast.AsyncFor):
                self.assign(node.target, value, frame)
            return self.run_body(node.body, frame)
        finally:
            self.loops.pop()

    def _counted_by(self, node: ast.While, frame: Frame) -> dict[str, tuple[str, ...]]:
        """The marks of what a loop counts by a known step from a known number."""
        counted = {}
        for name, added in steady_counters(node).items():
            first, step = frame.find(name), self.evaluate(added, frame)
            if first is not None and (marks := counted_by(first, step)):
                counted[name] = marks
        return counted

    def _carried_by(self, node: ast.For | ast.While | ast.AsyncFor) -> frozenset[str]:
        """Names that one iteration may leave to the next."""
        if node not in self._carried:
            names = {
                part.id
                for statement in node.body
                for part in ast.walk(statement)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
            self._carried[node] = frozenset(names)
        return self._carried[node]

    def _restarted_in(self, node: ast.For | ast.While | ast.AsyncFor) -> frozenset[str]:
        """Counters of a `while` that it sets back under a condition: where they stand tells no iterations apart."""
        if node not in self._restarted:
            self._restarted[node] = restarted_counters(node) if isinstance(node, ast.While) else frozenset()
        return self._restarted[node]


def _is_function(value: Value) -> bool:
    return any(isinstance(ref, Function) for ref in value.refs)


def _is_of_numbers(value: Value) -> bool:
    """Whether it holds nothing that was computed from tokens or a model."""
    held = full(value)
    return not (held.tokens or held.scores or held.objects)
