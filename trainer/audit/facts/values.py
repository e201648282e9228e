"""What the audit knows about a value of the script: which tokens it was computed from, by which model, in which loops.

A value is never the number or tensor itself. Values are joined where two branches meet and combined where an
expression uses several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from trainer.audit.facts.marks import COUNTED, STAYING
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.tokens import Iterations, Tokens, Via, fewer, later

MOST_SCORES, MOST_TEXTS, MOST_REFS = 300, 8, 6


class _Nothing:
    def __repr__(self) -> str:
        return "unknown"


NOTHING = _Nothing()
"""The constant of a value that is not known."""


@dataclass(slots=True, eq=False)
class Value:
    """What is known of one value; nobody changes it, `changed` makes another one."""

    refs: tuple[Any, ...] = ()
    """Functions, classes, instances, containers it may be."""
    tokens: frozenset[Tokens] = frozenset()
    objects: frozenset[int] = frozenset()
    """Models, parameters, tables it was computed with or lies in."""
    scores: frozenset[int] = frozenset()
    """Evaluations of a model that it was computed from."""
    at: Iterations = frozenset()
    number: Polynomial | None = None
    last: tuple[int, Polynomial] | None = None
    """Of a position that a range counts: that loop, and what it comes to at least in the loop's last iteration."""
    const: Any = NOTHING
    env: frozenset[str] = frozenset()
    """Settings whose default the constant is, as NAME=DEFAULT."""
    text: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    """What `marks` lists."""
    snapshot: int | None = None
    """Time of the copy of a state that it is."""

    @property
    def is_known(self) -> bool:
        """Whether it is a constant."""
        return self.const is not NOTHING

    def with_marks(self, *marks: str) -> Value:
        """The same value, marked."""
        return self if self.marks.issuperset(marks) else changed(self, marks=self.marks | set(marks))

    def without_marks(self, *marks: str) -> Value:
        """The same value without these marks."""
        kept = frozenset(mark for mark in self.marks if mark.partition(":")[0] not in marks)
        return changed(self, marks=kept) if len(kept) < len(self.marks) else self

    def seen_via(self, via: Via, line: int = 0) -> Value:
        """The same value; of its tokens only what such a computation keeps. Statistics of activations stay those."""
        kept = ("activation",) if via == "statistic" else ()
        parts = (part if part.via in kept else replace(part, via=via, line=line or part.line) for part in self.tokens)
        seen = changed(self, tokens=frozenset(parts), refs=())
        return seen.without_marks("mean") if via == "gradient" else seen  # a gradient says itself of which tokens


def is_text(value: Value) -> bool:
    """Whether it is a part of a text, and nothing that was computed from it."""
    return bool(value.tokens) and not value.scores and all(part.via == "tokens" for part in value.tokens)


UNKNOWN = Value()


def changed(value: Value, **changes: Any) -> Value:
    """The value with other fields: `dataclasses.replace`, for the many calls of a walk."""
    made = object.__new__(Value)
    made.refs, made.tokens, made.objects, made.scores = value.refs, value.tokens, value.objects, value.scores
    made.at, made.number, made.last, made.const = value.at, value.number, value.last, value.const
    made.env, made.text, made.marks, made.snapshot = value.env, value.text, value.marks, value.snapshot
    for name, one in changes.items():
        setattr(made, name, one)
    if "number" in changes and "last" not in changes:
        made.last = None
    return made


def constant(value: Any, env: frozenset[str] = frozenset(), at: Iterations = frozenset()) -> Value:
    """The value of a constant of the script, or of a setting's default."""
    number = Polynomial.constant(value) if isinstance(value, int) and not isinstance(value, bool) else None
    text = frozenset([value]) if isinstance(value, str) else frozenset()
    return Value(const=value, number=number, env=env, text=text, at=at)


def combined(values: Iterable[Value]) -> Value:
    """A value computed from all of these."""
    parts = [full(value) for value in values]
    interesting = [part for part in parts if part is not UNKNOWN]
    if not interesting:
        return UNKNOWN
    if len(interesting) == 1:
        only = interesting[0]
        return changed(only, refs=(), const=NOTHING, number=None, marks=sticky(only.marks))
    at: Iterations = frozenset()
    for part in interesting:
        at = later(at, part.at)
    return Value(
        tokens=fewer(united([part.tokens for part in interesting])),
        objects=united([part.objects for part in interesting]),
        scores=latest(united([part.scores for part in interesting])),
        at=at,
        env=united([part.env for part in interesting]),
        text=shorter(united([part.text for part in interesting])),
        marks=sticky(united([part.marks for part in interesting])),
        snapshot=max((part.snapshot for part in interesting if part.snapshot is not None), default=None),
    )


def united(sets: list[frozenset[Any]]) -> frozenset[Any]:
    """The union of the sets; the set itself where only one holds anything."""
    filled = [one for one in sets if one]
    if len(filled) < 2:
        return filled[0] if filled else frozenset()
    return filled[0].union(*filled[1:])


def decisions(value: Value) -> Iterator[str]:
    """The marks that say which scores decided what a value is; parts of it were decided with it."""
    return (mark for mark in value.marks if mark.startswith(("chosen:", "finished:")))


@lru_cache(maxsize=4096)
def sticky(marks: frozenset[str]) -> frozenset[str]:
    """The marks that a computed value bears too."""
    return frozenset(mark for mark in marks if mark.partition(":")[0] in STAYING) if marks else marks


def joined(values: Iterable[Value]) -> Value:
    """A value that is one of these."""
    each = [value for value in values if value is not None]
    if not each:
        return UNKNOWN
    first = each[0]
    if all(value is first for value in each):
        return first
    refs: list[Any] = []
    for value in each:
        refs += [ref for ref in value.refs if all(ref is not known for known in refs)]
    alike = all(type(value.const) is type(first.const) and value.const == first.const for value in each)
    at = first.at
    for value in each[1:]:
        at = later(at, value.at)
    numbers = [value.number for value in each]
    return Value(
        refs=tuple(refs[:MOST_REFS]),
        tokens=fewer(united([value.tokens for value in each])),
        objects=united([value.objects for value in each]),
        scores=latest(united([value.scores for value in each])),
        at=at,
        number=numbers[0] if all(number == numbers[0] for number in numbers) else None,
        const=first.const if alike else NOTHING,
        env=united([value.env for value in each]),
        text=shorter(united([value.text for value in each])),
        marks=_joined_marks(each),
        snapshot=first.snapshot if all(value.snapshot == first.snapshot for value in each) else None,
    )


def is_scalar(value: Value) -> bool:
    """Whether it is a number of the script, no array: a constant, a size, or computed from such."""
    return isinstance(value.const, int | float) or value.number is not None or "scalar" in value.marks


def _joined_marks(each: list[Value]) -> frozenset[str]:
    """The marks of any; `either` says the largest of several integers that it may be."""
    marks = united([value.marks for value in each])
    if unsure := [mark for mark in marks if mark[:5] in COUNTED and not all(mark in value.marks for value in each)]:
        marks = marks.difference(unsure)
    if not all(map(is_scalar, each)):
        return marks - {"scalar"}
    integers = {value.const for value in each if isinstance(value.const, int)}
    return marks | {"scalar", *([f"either:{max(integers)}"] if len(integers) > 1 else [])}


def latest(scores: frozenset[int]) -> frozenset[int]:
    """At most so many evaluations, the latest."""
    return scores if len(scores) <= MOST_SCORES else frozenset(sorted(scores)[-MOST_SCORES:])


def shorter(texts: frozenset[str]) -> frozenset[str]:
    """At most so many texts."""
    if len(texts) <= MOST_TEXTS:
        return texts
    return frozenset(sorted(texts, key=lambda text: (len(text), text))[:MOST_TEXTS])


@dataclass(eq=False, slots=True)
class Cell:
    """An array or tensor that is changed in place."""

    id: int
    content: Value = UNKNOWN
    keyed: bool = False
    """Whether it was filled at places that tokens decide."""
    listed: tuple[Value, ...] = ()
    """The numbers that it was made of one by one, while nothing else was filled in."""
    blank: bool = False
    """Whether it was made of zeros, or of another number, and nothing was filled in: no sizes of pieces."""


@dataclass(eq=False, slots=True)
class Sequence:
    """A list, tuple, set or queue."""

    id: int
    elements: list[Value] = field(default_factory=list)
    rest: Value | None = None
    """What further elements may be; with it the number of elements is unknown."""
    keyed: bool = False
    fixed: bool = False
    """Whether it is a tuple."""
    reordered: bool = False
    """Whether it was sorted by a key: a place in it is no place in the list that it came from."""
    ranked: tuple[str, ...] = ()
    """Marks of the scores that decided the order: who takes the first ones chooses by them."""
    is_piece: bool = False
    """Whether it is a slice of a list that was."""
    shift: int = 0
    """Of a slice of a list of unknown length: how many elements of the list stand before it."""
    counted: bool = False
    """Whether its first elements are of iterations that follow one another, as of a comprehension over a range."""
    taken: int = 0
    """Of a queue: how many elements were taken out."""
    cleared: bool = False
    """Whether all its elements were taken out, perhaps under a condition."""


@dataclass(eq=False, slots=True)
class Mapping:
    """A dictionary, or the attributes of a namespace."""

    id: int
    entries: dict[Any, Value] = field(default_factory=dict)
    rest: Value | None = None
    keyed: bool = False
    blank: bool = False
    """Whether it holds nothing yet but what a missing key is given."""


@dataclass(eq=False, slots=True)
class Optimizer:
    """An optimiser of torch, or of the script's own class."""

    id: int
    objects: frozenset[int]
    """What its parameters belong to; empty if unknown."""
    line: int


@dataclass(frozen=True, slots=True)
class External:
    """Something the script imports, by its dotted name."""

    path: str

    @property
    def name(self) -> str:
        """The last part of its dotted name."""
        return self.path.rpartition(".")[2]


def parts_of(ref: Any) -> list[Value]:
    """What a container holds."""
    if isinstance(ref, Cell):
        return [ref.content]
    if isinstance(ref, Sequence):
        return [*ref.elements, *([ref.rest] if ref.rest is not None else [])]
    if isinstance(ref, Mapping):
        return [*ref.entries.values(), *([ref.rest] if ref.rest is not None else [])]
    return []


def _within(part: Value, at: Iterations) -> Value:
    """What a container holds, of which iterations decided which part of another it is."""
    if not at or not part.tokens:
        return part
    return changed(part, tokens=frozenset(replace(one, at=later(one.at, at)) for one in part.tokens))


def full(value: Value, depth: int = 4) -> Value:
    """The value with all that its containers hold."""
    if not value.refs or not depth:
        return value
    inner = [full(part, depth - 1) for ref in value.refs for part in parts_of(ref)]
    ids = frozenset(ref.id for ref in value.refs if isinstance(ref, Cell | Mapping) or getattr(ref, "keyed", False))
    inner = [_within(part, value.at) for part in inner if part is not UNKNOWN]
    if not inner and not ids:
        return value
    together = joined([changed(value, refs=()), *(changed(part, refs=()) for part in inner)])
    snapshot = max((part.snapshot for part in (value, *inner) if part.snapshot is not None), default=None)
    together = changed(together, snapshot=snapshot)
    return changed(together, refs=value.refs, objects=together.objects | ids, const=NOTHING, number=None)


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A `range`."""

    start: Value
    stop: Value
    step: Value


@dataclass(frozen=True, slots=True, eq=False)
class Zipped:
    """Values that are iterated together, as by `zip` and `enumerate`."""

    columns: tuple[Value, ...]
