"""Walks through a script: statements in order, both branches of unknown conditions, two iterations of each loop.

Nothing of the script is run: every statement is looked at as syntax, and changes what is known of its names.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from trainer.audit.effects import factors, strides
from trainer.audit.effects.choices import chosen_branch, compares, finally_chosen, gate, only_divides, steered
from trainer.audit.effects.cut_short import ended_by
from trainer.audit.effects.document_lengths import back_together, remember, told_apart
from trainer.audit.effects.file_names import files_told_apart
from trainer.audit.effects.generators import Finished, Generator, is_lazy, is_manager
from trainer.audit.effects.iteration import any_of, with_iteration
from trainer.audit.effects.patterns import fits
from trainer.audit.effects.settings import ON_OR_OFF, switched
from trainer.audit.effects.shares_of_ranks import asked
from trainer.audit.effects.skipped import may_raise
from trainer.audit.facts.machine import (
    MOST_CALLS,
    Frame,
    Function,
    TooLong,
    joined_frames,
)
from trainer.audit.facts.trace import Guard
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Mapping,
    Value,
    changed,
    constant,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.walk.assignments import Assignments
from trainer.audit.walk.calls import call, call_of
from trainer.audit.walk.contexts import Contexts
from trainer.audit.walk.counters import changed_by_recursion
from trainer.audit.walk.definitions import Definitions, Helpers
from trainer.audit.walk.expressions import is_new, truth, value_of
from trainer.audit.walk.loops import Loops
from trainer.audit.walk.other_forms import as_branches


class Interpreter(Assignments, Definitions, Contexts, Loops):
    """One walk through one script."""

    def __init__(self, helpers: Helpers = lambda name: None) -> None:
        super().__init__(helpers)
        self._conditions: dict[tuple[int, int], int] = {}
        self._switches: dict[str, int] = {}
        self._changed_within: dict[ast.AST, frozenset[str]] = {}
        self._recursions: dict[ast.AST, int] = {}
        self._lazy: dict[ast.AST, bool] = {}
        self._judged: dict[int, tuple[str, ...]] = {}
        """Conditions of which one branch ends, and the marks of what their scores decide."""
        self.entered: set[str] = set()

    def walk(self, tree: ast.Module, file: str, name: str = "__main__") -> Frame:
        """Walks a module; returns its names."""
        frame = Frame(file=file)
        frame.module = frame
        frame.names |= {"__name__": constant(name), "__file__": Value(text=frozenset(["__file__"]))}
        self._within_limits(lambda: self.run_body(tree.body, frame))
        return frame

    def walk_call(self, called: Value) -> None:
        """Walks a function that the module itself does not call."""
        self._within_limits(lambda: self.call(called, [], {}))

    def _within_limits(self, walk: Callable[[], object]) -> None:
        try:
            walk()
        except TooLong:
            line = self.place.line
            self.trace.gap(f"the script is too branched to be walked to its end; the walk stopped at line {line}")
        except RecursionError:
            self.trace.gap(f"line {self.place.line} is nested too deeply to be followed")

    # What the other parts of the walk use.

    def evaluate(self, node: ast.expr | None, frame: Frame) -> Value:
        if node is None:
            return UNKNOWN
        self.count(node, frame)
        return call_of(self, node, frame) if isinstance(node, ast.Call) else value_of(self, node, frame)

    def call(
        self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value], node: ast.Call | None = None
    ) -> Value:
        return call(self, called, arguments, keywords, node)

    def may_enter(self, node: ast.AST) -> bool:
        return self.active.count(node) < 2 and len(self.calls) < MOST_CALLS

    def enter(self, function: Function, arguments: Sequence[Value], keywords: dict[str, Value]) -> Value:
        if function.node not in self._lazy:
            self._lazy[function.node] = is_lazy(function.node)
        if self._lazy[function.node]:
            return Value(refs=(Generator(function, arguments, keywords),))
        return self._enter(function, arguments, keywords)

    def run_generator(self, generator: Generator, consumer: Callable[[Value], None] | None = None) -> Value:
        if generator.made is None:
            generator.made = UNKNOWN  # while it runs
            if self.may_enter(generator.function.node):
                generator.made = self._enter(generator.function, generator.arguments, generator.keywords, consumer)
        return generator.made

    def _enter(
        self,
        function: Function,
        arguments: Sequence[Value],
        keywords: dict[str, Value],
        consumer: Callable[[Value], None] | None = None,
    ) -> Value:
        outer = function.frame
        frame = Frame(outer=outer, module=outer.module, file=outer.file, function=function.name, consumer=consumer)
        frame.choosing = len(self.choosing)
        self._bind(function, frame, arguments, keywords)
        if self.managed and is_manager(function.node):
            frame.at_yield = self.managed.pop()
        recursion = self._recursion(function, frame)
        self.loops += recursion
        frame.depth = len(self.loops)
        place = self.place
        self.calls.append(place)
        self.active.append(function.node)
        self.frames.append(frame)
        self.entered.add(function.name)
        self.without_gradient += function.without_gradient
        try:
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, frame)
            self.run_body(function.node.body, frame)
        finally:
            self.without_gradient -= function.without_gradient
            del self.loops[len(self.loops) - len(recursion) :]
            self.active.pop()
            self.frames.pop()
            self.calls.pop()
            self.place = place
        if frame.yielded:
            return Value(refs=(Listed(self.new_id(), frame.yielded, any_of(frame.yielded)),))
        return joined(frame.returned)

    def _recursion(self, function: Function, frame: Frame) -> list[tuple[int, int]]:
        """A call of a function that calls itself, as an iteration of a loop; what each call changes depends on it."""
        if function.node not in self._changed_within:
            self._changed_within[function.node] = changed_by_recursion(function.node)
        names = self._changed_within[function.node]
        if not names:
            return []
        depth = self.active.count(function.node)
        if depth == 0:
            self._recursions[function.node] = self.new_id()
        here = (self._recursions[function.node], depth)
        for name in names & frame.names.keys():
            value = with_iteration(frame.names[name], frozenset([here]))
            frame.names[name] = changed(value, const=NOTHING)
        return [here]

    def _bind(self, function: Function, frame: Frame, arguments: Sequence[Value], keywords: dict[str, Value]) -> None:
        signature = function.node.args
        names = [parameter.arg for parameter in (*signature.posonlyargs, *signature.args)]
        keywords = dict(keywords)
        for name, default in zip(names[len(names) - len(function.defaults) :], function.defaults, strict=False):
            frame.names[name] = default
        frame.names |= function.keyword_defaults
        for name, value in zip(names, arguments, strict=False):
            frame.names[name] = value
        for name in (*names, *(parameter.arg for parameter in signature.kwonlyargs)):
            if name in keywords:
                frame.names[name] = keywords.pop(name)
            frame.names.setdefault(name, UNKNOWN)
        if signature.vararg:
            frame.names[signature.vararg.arg] = Value(refs=(Listed(self.new_id(), [*arguments[len(names) :]]),))
        if signature.kwarg:
            frame.names[signature.kwarg.arg] = Value(refs=(Mapping(self.new_id(), dict(keywords)),))

    # Statements.

    def run_body(self, body: Sequence[ast.stmt], frame: Frame) -> str | None:
        """Walks statements; how they certainly end: 'return', 'break', 'continue', or None."""
        pushed, choosing = 0, len(self.choosing)
        ended = None
        for statement in body:
            self.count(statement, frame)
            outcome = self._walked(statement, frame)
            if isinstance(outcome, Guard):
                self.guards.append(outcome)
                pushed += 1
                behind = self._judged.get(outcome.condition, ())
                self.choosing += [behind] if any(mark.startswith("finished:") for mark in behind) else []
            elif outcome:
                ended = outcome
                break
        del self.guards[len(self.guards) - pushed :]
        del self.choosing[choosing:]
        return ended

    def _walked(self, statement: ast.stmt, frame: Frame) -> str | Guard | None:
        """Walks one statement. One that the audit trips over is left out, and said."""
        handler = getattr(self, f"_{type(statement).__name__}", None)
        try:
            return handler(statement, frame) if handler else None
        except (TooLong, RecursionError, Finished):
            raise
        except Exception as error:
            self.trace.gap(f"line {statement.lineno} is not followed, a gap of the audit: {type(error).__name__}")
            return None

    def _Expr(self, node: ast.Expr, frame: Frame) -> str | Guard | None:
        if (branches := as_branches(node)) is not None:
            return self._If(branches, frame)
        value = self.evaluate(node.value, frame)
        if isinstance(node.value, ast.Call) and value.scores:
            self.report(value, 1)
        return "return" if _refuses(node) else None

    def _Return(self, node: ast.Return, frame: Frame) -> str:
        value = self.evaluate(node.value, frame)
        if value.scores:
            self.report(value, 1)
        factors.returned(self, value)
        frame.returned.append(value.with_marks(*finally_chosen(self, frame.choosing)))
        return "return"

    def _Raise(self, node: ast.Raise, frame: Frame) -> str:
        self.evaluate(node.exc, frame)  # as in `raise SystemExit(main())`
        return "return"

    def _Break(self, node: ast.Break, frame: Frame) -> str:
        return "break"

    def _Continue(self, node: ast.Continue, frame: Frame) -> str:
        return "continue"

    def _Assert(self, node: ast.Assert, frame: Frame) -> None:
        self.evaluate(node.test, frame)

    def _Global(self, node: ast.Global, frame: Frame) -> None:
        if frame.module is not None:
            frame.elsewhere |= dict.fromkeys(node.names, frame.module)

    def _Nonlocal(self, node: ast.Nonlocal, frame: Frame) -> None:
        for name in node.names:
            outer = frame.outer
            while outer is not None and name not in outer.names:
                outer = outer.outer
            if outer is not None:
                frame.elsewhere[name] = outer.elsewhere.get(name, outer)

    def _If(self, node: ast.If, frame: Frame) -> str | Guard | None:
        test = self.evaluate(node.test, frame)
        if isinstance(node.body[-1], ast.Break):
            ended_by(self, node.test, frame, goes_on=False)
        judges = "mask" in test.marks and self._judges(test) and not only_divides(node.test, node.body)
        marks = gate(self, test, node.lineno) if judges else (*chosen_branch(test), *finally_chosen(self))
        asks = compares(node.test, test)
        self.choosing += [marks] if marks else []
        self.measuring += [asks] if asks else []
        outcome = self._branches(node, frame, test, marks if judges else ())
        del self.choosing[len(self.choosing) - bool(marks) :], self.measuring[len(self.measuring) - bool(asks) :]
        if isinstance(outcome, Guard) and _goes_on((node.orelse if outcome.branch else node.body)[-1]):
            self._judged[outcome.condition] = marks
        return outcome

    def _branches(self, node: ast.If, frame: Frame, test: Value, judged: tuple[str, ...]) -> str | Guard | None:
        """Walks the branches of a condition, of which scores decide what is marked so."""
        known = False if is_new(test) else truth(test)
        if known is not None:
            taken, other = (node.body, node.orelse) if known else (node.orelse, node.body)
            if test.env and taken and _refuses(taken[-1]):  # it does not run at the default: the setting is given
                taken, other = other, []
            on = switched(self, test)
            if not (test.env and other):
                with self.guarded(self._of_iteration(test, known), off=on):
                    return self.run_body(taken, frame)
            switch = self._switch(node, test.env)
            with self._decided(Guard(switch, 0)):
                self._run_off(other, frame, test.env)
            with self._decided(Guard(switch, 1)), self.guarded(off=on):
                return self.run_body(taken, frame)
        condition = self._condition(node, frame, test)
        remember(self, condition, node, test)
        asked(self, condition, node, test)
        strides.remember(self.trace, condition, test)
        self.trace.depends[condition] = frozenset(loop for loop, _ in test.at)
        before = dict(frame.names)
        self.conditions.append(test.at)
        told = told_apart(frame.names, test, True) | files_told_apart(frame.names, test, True)
        with self.guarded(Guard(condition, 1)):
            ended_then = self.run_body(node.body, frame)
        self.conditions.pop()
        if ended_then == "break" and self.left:
            self.left[-1].append({name: one for name, one in frame.names.items() if before.get(name) is not one})
        names_then, frame.names = frame.names, before
        told_else = told_apart(frame.names, test, False) | files_told_apart(frame.names, test, False)
        with self.guarded(Guard(condition, 0)):
            ended_else = self.run_body(node.orelse, frame)
        if "break" in (ended_then, ended_else):
            steered(self, test.with_marks(*judged))
        if ended_then and ended_else:
            return ended_then if ended_then == ended_else else "return"
        if ended_then:
            return Guard(condition, 0)
        if ended_else:
            frame.names = names_then
            return Guard(condition, 1)
        back_together(frame.names, told_else)
        back_together(names_then, told)
        joined_frames(frame.names, names_then)
        return None

    def _of_iteration(self, test: Value, known: bool) -> Guard | None:
        """A condition that this iteration passes, and another of the same loop perhaps not."""
        if not test.at:
            return None
        guard = Guard(self.new_id(), int(known))
        self.trace.depends[guard.condition] = frozenset(loop for loop, _ in test.at)
        return guard

    def _switch(self, node: ast.If, env: frozenset[str]) -> int:
        """A number for a condition on settings; of one setting that is on or off always the same."""
        name, _, default = min(env).partition("=")
        if len(env) == 1 and default.lower() in ON_OR_OFF:
            return self._switches.setdefault(name, self.new_id())
        return self.new_id()

    @contextmanager
    def _decided(self, guard: Guard) -> Iterator[None]:
        self.decided.append(guard)
        try:
            yield
        finally:
            self.decided.pop()

    def _judges(self, test: Value) -> bool:
        """Whether a condition compares scores of validation tokens."""
        is_loss = any(self.trace.evaluations[score].is_loss for score in test.scores)
        return is_loss and any(part.source == "val" for part in test.tokens)

    def _condition(self, node: ast.stmt, frame: Frame, test: Value) -> int:
        """A number for a condition; the same again while it cannot have changed."""
        if test.at or test.tokens or test.number is not None:
            return self.new_id()
        return self._conditions.setdefault((id(frame), id(node)), self.new_id())

    def _run_off(self, body: Sequence[ast.stmt], frame: Frame, env: frozenset[str]) -> None:
        """Walks what is off by default; its names do not count afterwards."""
        before = dict(frame.names)
        returned = len(frame.returned)
        with self.guarded(off=env):
            self.run_body(body, frame)
        frame.names = before
        del frame.returned[returned:]

    def _Try(self, node: ast.Try, frame: Frame) -> str | None:
        with may_raise(self, node):
            ended = self.run_body(node.body, frame)
        ended = ended or self.run_body(node.orelse, frame)
        for handler in node.handlers:
            before = dict(frame.names)
            with self.guarded(Guard(self.new_id(), 1)):
                stopped = self.run_body(handler.body, frame)
            if stopped:
                frame.names = before
            else:
                joined_frames(frame.names, before)
                ended = None
        return self.run_body(node.finalbody, frame) or ended

    _TryStar = _Try

    def _Match(self, node: ast.Match, frame: Frame) -> str | None:
        subject = self.evaluate(node.subject, frame)
        condition = self.new_id()
        for k, case in enumerate(node.cases):
            before = dict(frame.names)
            fitting = fits(self, case.pattern, subject, frame)
            holds = truth(self.evaluate(case.guard, frame)) if case.guard else True
            if fitting is False or holds is False:
                frame.names = before
            elif fitting and holds:
                with self.guarded(Guard(condition, k)):
                    return self.run_body(case.body, frame)
            else:
                with self.guarded(Guard(condition, k)):
                    self.run_body(case.body, frame)
                joined_frames(frame.names, before)
        return None


def _goes_on(statement: ast.stmt) -> bool:
    """Whether a branch ends with the next iteration or a result, so that its condition chooses; not with an abort."""
    if isinstance(statement, ast.Return):
        return getattr(statement.value, "value", statement.value) is not None
    return isinstance(statement, ast.Continue)


def _refuses(statement: ast.stmt) -> bool:
    """Whether a statement ends the script."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        return getattr(called, "attr", getattr(called, "id", "")) in ("exit", "_exit", "quit")
    return isinstance(statement, ast.Raise)
