"""Assignments: what they change of names, attributes, elements and weights."""

from __future__ import annotations

import ast

from trainer.audit.effects.bent_logits import of_places
from trainer.audit.effects.choices import activations, chosen_before, depending, lasting, steered
from trainer.audit.effects.chunk_borders import kept_under
from trainer.audit.effects.document_begins import overwritten
from trainer.audit.effects.factors import either
from trainer.audit.effects.generators import forced
from trainer.audit.effects.ignored import assigned
from trainer.audit.effects.indexing import sliced
from trainer.audit.effects.iteration import method_of
from trainer.audit.effects.positions import some_by_one
from trainer.audit.effects.tables_of_tokens import fill
from trainer.audit.facts.machine import (
    Class,
    Frame,
    Instance,
    Machine,
)
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Cell,
    Mapping,
    Optimizer,
    Value,
    changed,
    combined,
    constant,
    decisions,
    full,
    joined,
)
from trainer.audit.facts.values import Sequence as Listed
from trainer.audit.walk.expressions import element, item, operation, store
from trainer.audit.walk.methods import load
from trainer.audit.walk.ownership import captured, notes_inputs

STEERING = ("lr", "weight_decay", "momentum")
"""Keys of an optimiser's groups that steer it."""


class Assignments(Machine):
    """The part of a walk that gives things other values."""

    def assign(self, target: ast.expr, value: Value, frame: Frame) -> None:
        if self.choosing:
            value = value.with_marks(*chosen_before(self, self.choosing[-1], value))
        value = depending(value, *self.measuring)
        if isinstance(target, ast.Name):
            frame.assign(target.id, value)
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target.elts, value, frame)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value, frame)
        elif isinstance(target, ast.Attribute):
            self._set_attribute(self.evaluate(target.value, frame), target.attr, value)
        elif isinstance(target, ast.Subscript):
            self._set_item(target, value, frame, adds=False)

    def _unpack(self, targets: list[ast.expr], value: Value, frame: Frame) -> None:
        if (own := method_of(value, "__iter__")) is not None:
            value = self.call(own, [], {})
        value = forced(self, value)
        exact = [ref for ref in value.refs if isinstance(ref, Listed) and ref.rest is None]
        each = [*(ref.elements for ref in exact), *(ref.listed for ref in value.refs if isinstance(ref, Cell))]
        fitting = [elements for elements in each if len(elements) == len(targets)]
        if fitting and not any(isinstance(target, ast.Starred) for target in targets):
            for k, target in enumerate(targets):
                part = joined([elements[k] for elements in fitting])
                self.assign(target, part.with_marks(*decisions(value), *kept_under(value)), frame)
            return
        listed = [ref for ref in value.refs if isinstance(ref, Listed)]
        if listed and isinstance(targets[-1], ast.Starred):  # as `first, *others = chunks`
            for k, target in enumerate(targets[:-1]):
                self.assign(target, item(self, value, constant(k)), frame)
            self.assign(targets[-1], sliced(self, value, constant(len(targets) - 1), None), frame)
            return
        held = joined([part for ref in listed for part in (*ref.elements, *([ref.rest] if ref.rest else []))])
        any_of = held if listed else changed(full(value), refs=(), const=NOTHING, number=None)
        for target in targets:
            self.assign(target, any_of, frame)

    def _set_attribute(self, base: Value, name: str, value: Value) -> None:
        for ref in base.refs:
            if isinstance(ref, Instance):
                old = ref.attributes.get(name)
                ref.attributes[name] = joined([old, value]) if old is not None and self.guards else value
            elif isinstance(ref, Class):
                ref.frame.names[name] = value
            elif isinstance(ref, Mapping):
                ref.entries[name] = value
        if value.refs:  # an object of its own, not a number or a size that a model holds
            self.trace.gives(base.objects & self.models, full(value).objects | captured(value))
        if name == "forward" and base.objects & self.models:
            self.forwards = [*self.forwards, value] if notes_inputs(value) else []
        if name == "grad":
            if value.tokens or not self.guards or value.const is None:  # else only where there are none
                self.zero_gradients(full(base).objects)
            if value.tokens:
                self.backward(changed(full(value), objects=full(base).objects))
        elif name == "data" and not _is_object(base) and (base.objects or value.tokens):
            self._set_weights(base, value)
        elif base.objects:
            self.selected(f"'{name}' of the model was chosen by a validation score", value.marks)

    def _set_weights(self, base: Value, value: Value) -> None:
        held = full(value)
        gradients = frozenset(part for part in held.tokens if part.via == "gradient")
        if gradients:
            self.updated("manual", gradients, full(base).objects)
        elif held.snapshot is not None or held.objects != full(base).objects:  # else in another type, say
            load(self, base, held)

    def _set_item(self, target: ast.Subscript, value: Value, frame: Frame, *, adds: bool) -> None:
        base = self.evaluate(target.value, frame)
        key = self._key(target.slice, frame)
        value = depending(either(value), activations(full(key))) if "mask" in key.marks else value
        learner = any(isinstance(ref, Instance | Optimizer) for ref in value.refs)
        if key.at and key.number is not None and "lookup" in value.marks and not (key.tokens or value.scores):
            value = value.with_marks("apiece")  # what a table says of each position, kept before the text is scored
        if key.const in STEERING:
            steered(self, value)
        for ref in base.refs:
            if isinstance(ref, Mapping) and (learner or not key.tokens):
                store(ref, key, value.with_marks(*lasting(decisions(key))))
            elif isinstance(ref, Listed) and not key.tokens:
                if (
                    ref.rest is None
                    and isinstance(key.const, int)
                    and -len(ref.elements) <= key.const < len(ref.elements)
                ):
                    ref.elements[key.const] = value
                else:
                    ref.rest = value if ref.rest is None else joined([ref.rest, value])
        base = assigned(self, target, base, value, frame)
        if value.scores and not base.refs:
            base = of_places(self, base, key)
        if base.scores and not base.refs and any(mark.startswith("equal:") for mark in full(key).marks):
            self.changed_in_place(target.value, base, base.with_marks(f"paid:{self.place.line}"), frame)
        elif lost := overwritten(self, full(base), full(key), value):
            self.changed_in_place(target.value, base, base.with_marks(*lost), frame)
            for ref in base.refs:
                if isinstance(ref, Cell):
                    ref.content = ref.content.with_marks(*lost)
        elif any(isinstance(ref, Cell) for ref in base.refs) or (base.refs and full(key).tokens and not learner):
            fill(self, base, value, key=key, adds=adds)
        elif base.objects and not base.refs and any(part.via == "gradient" for part in value.tokens):
            self.updated("manual", value.tokens, base.objects)
        elif not base.refs and (value.tokens or value.scores):
            put_back = "mask" in key.marks and self.holds_loss(base)  # where it is false, the scores stay
            mixed = combined([base, value.without_marks("filtered") if put_back else value])
            self.changed_in_place(target.value, base, changed(mixed, marks=mixed.marks | base.marks), frame)

    def _key(self, index: ast.expr, frame: Frame) -> Value:
        """What the places that are given other values depend on, besides slices."""
        if isinstance(index, ast.Slice):
            self.evaluate(index, frame)
            return UNKNOWN
        if isinstance(index, ast.Tuple):
            parts = [part for part in index.elts if not isinstance(part, ast.Slice)]
            return combined([self.evaluate(part, frame) for part in parts])
        return self.evaluate(index, frame)

    def _Assign(self, node: ast.Assign, frame: Frame) -> None:
        value = self.evaluate(node.value, frame)
        for target in node.targets:
            self.assign(target, value, frame)

    def _AnnAssign(self, node: ast.AnnAssign, frame: Frame) -> None:
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value, frame), frame)

    def _Delete(self, node: ast.Delete, frame: Frame) -> None:
        """`del work[:n]`, `del work[0]`: the list is what is left behind them."""
        for target in node.targets:
            if not isinstance(target, ast.Subscript):
                continue
            held = self.evaluate(target.value, frame)
            index = target.slice
            if isinstance(index, ast.Constant) and index.value == 0:
                end: ast.expr | None = ast.Constant(1)
            else:
                from_start = isinstance(index, ast.Slice) and getattr(index.lower, "value", 0) == 0
                end = index.upper if isinstance(index, ast.Slice) and from_start and index.step is None else None
            if end is not None and any(isinstance(ref, Listed) for ref in held.refs):
                self.changed_in_place(target.value, held, element(self, held, ast.Slice(lower=end), frame), frame)

    def _AugAssign(self, node: ast.AugAssign, frame: Frame) -> None:
        value = some_by_one(self, self.evaluate(node.value, frame))
        if value.scores:
            self.report(value, 1)
        old = self._of_this_place(node.target, self._old(node.target, frame), frame)
        gradients = frozenset(part for part in value.tokens if part.via == "gradient")
        if gradients and old.objects:
            self.updated("manual", gradients, old.objects)
        if any(isinstance(ref, Cell) for ref in old.refs):
            key = self._key(node.target.slice, frame) if isinstance(node.target, ast.Subscript) else UNKNOWN
            operation(self, node.op, old, value)
            fill(self, old, value, key=key, adds=True, subtracts=isinstance(node.op, ast.Sub))
        elif isinstance(node.target, ast.Subscript):
            self._set_item(node.target, operation(self, node.op, old, value), frame, adds=True)
        else:
            self.assign(node.target, operation(self, node.op, old, value), frame)

    def _of_this_place(self, target: ast.expr, old: Value, frame: Frame) -> Value:
        """An element at a place that loops count: what their other iterations put in is not in it."""
        if not isinstance(target, ast.Subscript) or isinstance(target.slice, ast.Slice | ast.Tuple) or not old.scores:
            return old
        place = self.evaluate(target.slice, frame)
        counted = dict(place.at) if not place.tokens else {}
        around = {number: self.trace.evaluations[number].loops for number in old.scores}
        others = {number for number, loops in around.items() if any(counted.get(loop, k) != k for loop, k in loops)}
        return changed(old, scores=old.scores - others) if others else old

    def _old(self, target: ast.expr, frame: Frame) -> Value:
        if isinstance(target, ast.Subscript):
            base = self.evaluate(target.value, frame)
            if any(isinstance(ref, Cell) for ref in base.refs):
                return base
            if isinstance(target.slice, ast.Slice | ast.Tuple):
                return element(self, base, target.slice, frame)
            return item(self, base, self.evaluate(target.slice, frame))
        return self.evaluate(target, frame)


def _is_object(value: Value) -> bool:
    """Whether it is an object of a class of the script, whose attributes may have any name."""
    return any(isinstance(ref, Instance) for ref in value.refs)
