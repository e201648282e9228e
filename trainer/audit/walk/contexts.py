"""`with` statements: the body runs where a context manager of the script yields, or between its enter and exit."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from trainer.audit.effects.iteration import bound
from trainer.audit.facts.machine import Frame, Instance, Machine
from trainer.audit.facts.values import UNKNOWN, Value, changed
from trainer.audit.walk.definitions import NO_GRADIENT


class Contexts(Machine):
    """The part of a walk that enters and leaves contexts."""

    def _With(self, node: ast.With, frame: Frame) -> str | None:
        return self._within(node.items, node.body, frame)

    def _within(self, items: Sequence[ast.withitem], body: Sequence[ast.stmt], frame: Frame) -> str | None:
        """Walks the body of a `with`: where its managers of the script yield, or between their enter and exit."""
        if not items:
            return self.run_body(body, frame)
        (entered, *others), outcomes = items, []

        def resume(value: Value) -> None:
            if entered.optional_vars is not None:
                self.assign(entered.optional_vars, value, frame)
            outcomes.append(self._within(others, body, frame))

        self.managed.append(resume)
        value = self.evaluate(entered.context_expr, frame)
        if resume in self.managed:
            self.managed.remove(resume)
        if outcomes:
            return outcomes[0]
        context = entered.context_expr.func if isinstance(entered.context_expr, ast.Call) else entered.context_expr
        without = getattr(context, "attr", getattr(context, "id", "")) in NO_GRADIENT
        self.without_gradient += without
        try:
            resume(self._of_manager(value, "__enter__") or value)
        finally:
            self.without_gradient -= without
        self._of_manager(value, "__exit__")
        return outcomes[0]

    def _of_manager(self, value: Value, name: str) -> Value | None:
        """The result of a method of a context manager that is a class of the script."""
        for ref in value.refs:
            if isinstance(ref, Instance) and ref.kind is not None and (found := ref.kind.find(name)) is not None:
                arguments = [UNKNOWN] * 3 if name == "__exit__" else []
                return self.call(bound(found, changed(value, refs=(ref,))), arguments, {})
        return None

    _AsyncWith = _With
