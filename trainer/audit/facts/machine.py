"""The state of a walk through a script: frames, loops, conditions, pending gradients, limits.

Expressions, calls and statements are walked by functions of other modules; they reach each other through the machine.
"""

from __future__ import annotations

import ast
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trainer.audit.facts.frames import Class, Frame, Function, Gradient, Instance, Keywords, Namespace, Resume
from trainer.audit.facts.model_losses import LossOf
from trainer.audit.facts.tokens import OWN, Iterations, Tokens, fewer, later, still_whole
from trainer.audit.facts.trace import (
    Evaluation,
    Event,
    Guard,
    Load,
    Note,
    Place,
    Reported,
    Saved,
    Trace,
    Update,
    UpdateKind,
)
from trainer.audit.facts.values import (
    UNKNOWN,
    Value,
    changed,
    full,
    joined,
    united,
)

MOST_NODES = 80_000
"""Expressions and statements looked at before the walk stops and says so."""
MOST_SECONDS = 1.5
"""Of the processor, after which the walk stops too."""
MOST_CALLS = 14
"""Depth of calls that is followed."""


class TooLong(Exception):
    """The walk reached its limit."""


class Machine(ABC):
    """What all parts of the walk share; the walk itself is `interpreter.Interpreter`."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.given: Mapping[str, Any] = {}
        """Settings that this walk is given other than their defaults, by name."""
        self.is_alone = False
        """Whether the shares of ranks are computed as of a single process, whose share is all."""
        self.left_out: dict[str, Any] = {}
        """Settings whose default leaves something out, and the value that switches it on."""
        self.switches: dict[str, str] = {}
        """Those of them on which a branch depends, as NAME=DEFAULT."""
        self.loops: list[tuple[int, int]] = []
        self.guards: list[Guard] = []
        self.decided: list[Guard] = []
        """Branches around the present statement that a setting's default decides."""
        self.off: list[frozenset[str]] = []
        self.calls: list[Place] = []
        self.active: list[ast.AST] = []
        self.frames: list[Frame] = []
        """Of the functions that are being called, the outermost first."""
        self.place = Place("", 0)
        self.without_gradient = 0
        self.pending: list[Gradient] = []
        self.hooks: list[Value] = []
        self.forwards: list[Value] = []
        """Functions that replace a layer's `forward` and note what it is given."""
        self.files: list[tuple[frozenset[str], Value]] = []
        """What was written to files that hold no tokens, the artifact above all, and the texts of their names."""
        self.absent: set[str] = set()
        """Modules that the script imports, that are not beside it and are no known package."""
        self.models: set[int] = set()
        """Instances of the script's classes of models."""
        self.managed: list[Resume] = []
        """Bodies of `with` that wait for the context manager that is called."""
        self.choosing: list[tuple[str, ...]] = []
        self.measuring: list[frozenset[Tokens]] = []
        """The validation tokens that conditions around compare by size, through activations of a model."""
        self.deciding: dict[int, frozenset[int]] = {}
        """Evaluations that decided last, by the line of the choice."""
        self.slices: dict[int, tuple[int, ast.Slice, Frame]] = {}
        """Slices of texts and losses: their lines, how they are written, and what their names are of."""
        self.pools: dict[int, tuple[int, frozenset[Tokens], tuple[tuple[int, int], ...]]] = {}
        """Means of losses: where they were taken, of which targets, in which loops."""
        """Marks of what conditions on a validation score around the present statement decide."""
        self.acting: dict[tuple[ast.ClassDef, str], bool] = {}
        """Methods of models, and whether they change weights or tables."""
        self.losses: dict[ast.AST, LossOf] = {}
        """Methods of models, and what they compute."""
        self.conditions: list[Iterations] = []
        """What decides the conditions around the present statement that are not known."""
        self.divided: set[int] = set()
        """Numbers of divisions of lists in two, by which the elements of both parts are told apart."""
        self.divisions: dict[tuple[int, Any], tuple[int, Value]] = {}
        """The number of a division, by the list (0: windows of tensors) and the place; values are kept with it."""
        self.nodes = 0
        self._started_s = time.process_time()
        self.seconds = MOST_SECONDS
        """Of the processor, after which the walk stops."""
        self._numbers = itertools.count(1)
        self.time = 0

    # The walk, by `interpreter.Interpreter`.

    @abstractmethod
    def evaluate(self, node: ast.expr | None, frame: Frame) -> Value:
        """The value of an expression."""

    @abstractmethod
    def call(
        self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value], node: ast.Call | None = None
    ) -> Value:
        """The value of a call."""

    @abstractmethod
    def assign(self, target: ast.expr, value: Value, frame: Frame) -> None:
        """Gives a name, attribute or element another value."""

    @abstractmethod
    def import_module(self, name: str, frame: Frame) -> Namespace | None:
        """The helper module of this name beside the file, walked; None if there is none."""

    @abstractmethod
    def may_enter(self, node: ast.AST) -> bool:
        """Whether a call of this function is followed."""

    @abstractmethod
    def enter(self, function: Function, arguments: Sequence[Value], keywords: dict[str, Value]) -> Value:
        """What a function returns for these arguments."""

    @abstractmethod
    def run_generator(self, generator: Any, consumer: Resume | None = None) -> Value:
        """Runs a generator to its end, with what goes on at each yield; without, all that it yields."""

    @abstractmethod
    def run_body(self, body: Sequence[ast.stmt], frame: Frame) -> str | None:
        """Walks statements; how they certainly end: 'return', 'break', 'continue', or None."""

    def changed_in_place(self, target: ast.expr, old: Value, new: Value, frame: Frame) -> None:
        """A tensor is another one now, under each of its names: those of the functions around too."""
        self.assign(target, new, frame)
        for outer in self.frames:
            for name in [name for name, value in outer.names.items() if value is old]:
                outer.names[name] = new

    # Numbers and limits.

    def new_id(self) -> int:
        """A number for an object, a loop, or a symbol."""
        return next(self._numbers)

    def tick(self) -> int:
        """The next time."""
        self.time += 1
        return self.time

    def count(self, node: ast.AST, frame: Frame) -> None:
        """Counts a step of the walk, and says where it is."""
        self.nodes += 1
        if self.nodes > MOST_NODES or (self.nodes % 64 == 0 and time.process_time() - self._started_s > self.seconds):
            raise TooLong
        line = getattr(node, "lineno", 0)
        if line:
            self.place = Place(frame.file, line)

    # Where the walk is.

    @contextmanager
    def guarded(self, guard: Guard | None = None, off: frozenset[str] = frozenset()) -> Iterator[None]:
        """Within a branch that may not be taken, or that is off by default."""
        if guard:
            self.guards.append(guard)
        self.off.append(off)
        try:
            yield
        finally:
            self.off.pop()
            if guard:
                self.guards.pop()

    def event(self) -> Event:
        """Something that happens here, of which only the place matters."""
        return Event(**self.where())

    def where(self) -> dict[str, Any]:
        """The time and place of an event, and what is around it."""
        return {
            "time": self.tick(),
            "place": self.place,
            "calls": tuple(self.calls),
            "loops": tuple(self.loops),
            "guards": (*self.guards, *self.decided),
            "off": frozenset().union(*self.off) if self.off else frozenset(),
        }

    # What happens.

    def evaluated(self, value: Value, *, is_loss: bool, targets: Value = UNKNOWN) -> Value:
        """A model or loss was computed from `value`; the result, which remembers it.

        A loss computed only from an earlier evaluation, with no other model or table, took place when that did. Its
        targets are those that it was given, else those of the losses that it was computed from.
        """
        val = frozenset(part for part in value.tokens if part.source == "val")
        if not val:
            return value
        earlier = [self.trace.evaluations[score] for score in value.scores]
        where = self.where()
        if is_loss and earlier and value.objects <= frozenset().union(*(one.objects for one in earlier)):
            where["time"] = min(one.time for one in earlier)
        asked = frozenset(part for part in full(targets).tokens if part.source == "val" and part.via == "tokens")
        if not asked and earlier and all(one.targets for one in earlier if one.is_loss):
            asked = still_whole(asked.union(*(one.targets for one in earlier)), val)
        goals = [mark.replace("rows", "goals") for mark in targets.marks if mark.startswith("rows:")]
        goals += [mark.replace("apart", "gap") for mark in targets.marks if mark.startswith("apart:")]
        number, marks = self.new_id(), self.still_open(value.marks, asked or val).union(goals)
        self.trace.evaluations[number] = Evaluation(
            tokens=val,
            targets=fewer(asked),
            objects=self.trace.whole(value.objects),
            is_loss=is_loss,
            with_gradient=not self.without_gradient,
            marks=marks,
            **where,
        )
        self.trace.methods[number] = frozenset().union(*(self.trace.methods[score] for score in value.scores))
        return Value(
            tokens=value.tokens,
            objects=value.objects,
            scores=frozenset([number]),
            at=value.at,
            env=value.env,
            marks=marks,
        )

    def decided_by(self, mark: str) -> frozenset[int]:
        """The scores that decided what bears this mark; none of another mark."""
        name, _, line = mark.partition(":")
        return self.deciding.get(int(line), frozenset()) if name in ("chosen", "gated") else frozenset()

    def still_open(self, marks: frozenset[str], targets: frozenset[Tokens]) -> frozenset[str]:
        """The marks without those of a choice by parts of the score that come before these targets, and hold none."""
        gone, own = set(), [part for part in targets if part.via in OWN] or [*targets]
        for mark in marks:
            if f"finished:{mark.partition(':')[2]}" not in marks:
                scores = [self.trace.evaluations[number] for number in self.decided_by(mark)]
                seen = [part for one in scores for part in (one.targets or one.tokens)]
                seen = [part for part in seen if part.via in OWN] or seen
                gone |= {mark} if seen and not any(a.overlaps(b) for a in seen for b in own) else set()
        return marks - gone

    def updated(self, kind: UpdateKind, tokens: frozenset[Tokens], objects: frozenset[int]) -> None:
        """Something learned from tokens."""
        self.trace.updates.append(Update(kind=kind, tokens=tokens, objects=self.trace.whole(objects), **self.where()))

    def loaded(self, objects: frozenset[int], source: Value, *, adds: bool = False) -> None:
        """A model got the weights `source`, or some of them if it `adds`."""
        now = self.where()
        snapshot = source.snapshot if source.snapshot is not None else now["time"]
        is_copy = source.snapshot is not None
        self.trace.loads.append(
            Load(
                objects=objects,
                sources=source.objects,
                snapshot=snapshot,
                is_copy=is_copy,
                adds=adds,
                is_stored="stored" in source.marks,
                **now,
            )
        )

    def selected(self, detail: str, marks: frozenset[str]) -> None:
        """Something of a model was chosen by the scores that these marks name."""
        lines = [mark[7:] for mark in marks if mark.startswith("chosen:")]
        parts = [] if any(f"finished:{line}" in marks for line in lines) else [int(line) for line in lines]
        if lines:
            decided = frozenset().union(*(self.deciding.get(line, frozenset()) for line in parts))
            self.note("selection-by-score", detail, decided=decided)

    def note(
        self, rule: str, detail: str, *, sure: bool = True, line: int = 0, decided: frozenset[int] = frozenset()
    ) -> None:
        """A breach shows here, or at another line of the file."""
        place = self.place._replace(line=line or self.place.line)
        same = [note for note in self.trace.notes if (note.rule, note.place) == (rule, place)]
        if not any(not note.off for note in same):
            where = self.where() | {"place": place}
            self.trace.notes.append(Note(rule=rule, detail=detail, sure=sure, decided=decided, **where))

    def calibrated(self, held: Value, detail: str) -> None:
        """Weights were computed from validation tokens: shown where the model ran on them, if that is known."""
        lines = [part.line for part in held.tokens if part.source == "val" and part.via == "activation"]
        self.note("calibration", f"{detail} in line {self.place.line}", line=min(lines, default=0))

    def report(self, value: Value, level: int) -> None:
        """Evaluations in `value` are part of a score, to this certainty."""
        level = max([level, *(self.trace.reported.get(score, 0) for score in value.scores)])
        for score in value.scores:
            self.trace.reported[score] = level
        if value.scores and level > 1:
            self.trace.reports.append(Reported(level=level, scores=value.scores, marks=value.marks, **self.where()))

    def holds_loss(self, value: Value) -> bool:
        """Whether scores of single targets are in a value, not only what a model computed from its input."""
        return any(self.trace.evaluations[score].is_loss for score in value.scores)

    def written(self, value: Value, names: frozenset[str]) -> None:
        """A value is written to a file: as it is now."""
        if value.objects or value.tokens:
            kept = Value(tokens=value.tokens, objects=value.objects, marks=value.marks, snapshot=self.tick())
            self.files.append((names, kept))
            if value.objects and not value.scores:
                self.trace.saved.append(Saved(self.place, value.objects, self.tick()))

    def stored(self, names: frozenset[str]) -> Value:
        """What a file of this name holds, as far as the names tell files apart; each file, if no name fits."""
        shared = [(len(names & known), names == known) for known, _ in self.files]
        most = max(shared, default=(0, False))
        alike = [kept for (_, kept), fit in zip(self.files, shared, strict=True) if most[0] and fit == most]
        fitting = alike or [kept for known, kept in self.files if not names or not known]
        self.trace.is_read_back |= bool(fitting)
        latest = max((kept.snapshot for kept in fitting if kept.snapshot is not None), default=None)
        return changed(joined(fitting), snapshot=latest).with_marks("stored")

    def elsewhere(self, value: Value) -> Value:
        """A value that comes from outside: in another iteration of the loop around, it may be another."""
        if not self.loops or value.is_known:
            return value
        return changed(value, at=later(value.at, frozenset([self.loops[-1]])))

    def backward(self, loss: Value) -> None:
        """Gradients of a loss wait for a step."""
        self.pending.append(Gradient(loss.tokens, self.trace.whole(loss.objects), loss.scores))

    def waiting(self, objects: frozenset[int]) -> list[Gradient]:
        """Gradients that a step of these parameters uses."""
        whole = self.trace.whole(objects)
        return [gradient for gradient in self.pending if not whole or not gradient.objects or gradient.objects & whole]

    def zero_gradients(self, objects: frozenset[int]) -> None:
        """The gradients of these parameters are gone."""
        gone = self.waiting(objects)
        self.pending = [gradient for gradient in self.pending if gradient not in gone]

    def step(self, objects: frozenset[int]) -> None:
        """An optimiser changes these parameters, or if they are unknown those with gradients, by what waits."""
        waiting = self.waiting(objects)
        self.updated("step", self._asked(waiting), objects or united([gradient.objects for gradient in waiting]))

    def gradient_of(self, value: Value) -> Value:
        """The `.grad` of parameters."""
        tokens = self._asked(self.waiting(value.objects))
        return Value(tokens=tokens, objects=value.objects).seen_via("gradient")

    def _asked(self, waiting: list[Gradient]) -> frozenset[Tokens]:
        """The tokens of gradients, without those that the weights had learned in earlier steps by hand."""
        learned = {part for update in self.trace.updates if update.kind == "manual" for part in update.tokens}
        each = (part for gradient in waiting for part in gradient.tokens)
        return frozenset(part for part in each if part.via != "gradient" or not (part.is_rough or part in learned))


def joined_frames(into: dict[str, Value], other: dict[str, Value]) -> None:
    """Names have either frame's values afterwards."""
    for name, value in other.items():
        mine = into.get(name)
        if mine is not value:
            into[name] = value if mine is None else joined([mine, value])


__all__ = [
    "UNKNOWN", "Class", "Frame", "Function", "Gradient", "Instance", "Keywords", "Machine", "Namespace", "Resume",
    "TooLong",
]  # fmt: skip
