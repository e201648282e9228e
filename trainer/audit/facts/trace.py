"""What happens while a script is walked through: evaluations of a model, updates, states loaded, in order.

Loops are walked for two of their iterations, so an order in the trace is an order in the script.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from trainer.audit.facts.slices import Part
from trainer.audit.facts.tokens import Tokens


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int


class Guard(NamedTuple):
    """A condition whose value is not known, and the branch that is walked."""

    condition: int
    branch: int


Guards = tuple[Guard, ...]
UpdateKind = Literal["step", "manual", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a time, under conditions."""

    time: int
    place: Place
    calls: tuple[Place, ...]
    """Where the functions around it were called, the outermost first."""
    loops: tuple[tuple[int, int], ...]
    guards: Guards
    off: frozenset[str]
    """Settings that are off by default, without which it does not happen."""

    def happens_with(self, other: Event) -> bool:
        """Whether both can happen in one run."""
        branches = dict(self.guards)
        return all(branches.get(condition, branch) == branch for condition, branch in other.guards)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Event):
    """A model, or a loss, was computed on tokens."""

    tokens: frozenset[Tokens]
    objects: frozenset[int]
    """What it was computed with: models, adapters, tables."""
    targets: frozenset[Tokens] = frozenset()
    """Of these tokens the ones that are predicted, if they are given apart from the inputs."""
    is_loss: bool
    with_gradient: bool
    marks: frozenset[str] = frozenset()
    """What is known of its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Event):
    """A model or a table learned from tokens."""

    kind: UpdateKind
    tokens: frozenset[Tokens]
    objects: frozenset[int]
    """What learned; empty if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Event):
    """A model got other weights: what it learned before is gone, what the source had learned comes in."""

    objects: frozenset[int]
    sources: frozenset[int]
    snapshot: int
    """Time at which the source was copied."""
    is_copy: bool
    """Whether it is known to be a copy of that time, not the weights as they are now."""
    adds: bool
    """Whether what the model had stays too, as in a moving average."""
    is_stored: bool
    """Whether the weights were read from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """A breach that shows at one place."""

    rule: str
    detail: str
    sure: bool = True
    decided: frozenset[int] = frozenset()
    """Parts of a score that chose: it is a breach only where their targets are scored again afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Event):
    """A clock is compared with a number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Event):
    """Scores became bits."""

    level: int
    scores: frozenset[int]
    marks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled(Event):
    """A score, or the count that divides it, was multiplied with a number; its place is where."""

    rule: str
    detail: str
    scores: frozenset[int]


class Filing(NamedTuple):
    """Windows that are sorted into chunks: each by the chunk of its target `delta` behind its start."""

    place: Place
    start: int
    """What their starts are more than multiples of the stride."""
    step: int
    """The stride from window to window."""
    size: int
    """Tokens of a chunk."""
    delta: int


class Few(NamedTuple):
    """A loop that goes through no more than a fixed number of windows or documents."""

    line: int
    most: int
    step: int
    """By how much each iteration comes closer to that number."""
    is_list: bool
    """Whether it is a list that has no more elements, not a counter that goes no further."""
    is_of_documents: bool
    portion: float = 0
    """How much of the list or the text it goes through at most, in place of `most`; 0: not known, or all of it."""
    what: str = ""
    """What that means, as a finding says it."""


class Saved(NamedTuple):
    """Models are written to a file."""

    place: Place
    objects: frozenset[int]
    time: int


@dataclass
class Trace:
    """Everything that happened."""

    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    reports: list[Reported] = field(default_factory=list)
    reported: dict[int, int] = field(default_factory=dict)
    """How surely an evaluation is part of the score: 1 recorded, 2 in bits, 3 in bits per byte."""
    sources: set[str] = field(default_factory=set)
    """Texts that are read: 'val', 'train'."""
    patterns: dict[str, Place] = field(default_factory=dict)
    """Patterns of file names that validation files match as well as training files, and where they are written."""
    mixed: dict[int, Place] = field(default_factory=dict)
    """Lines that read files by such a pattern, and where that is written."""
    gaps: list[str] = field(default_factory=list)
    """What could not be followed, and so cannot be told."""
    slices: dict[tuple[Part, frozenset[int]], int] = field(default_factory=dict)
    """Slices of losses and targets, and the score each was taken of if it was a single one; with their numbers."""
    rows: dict[frozenset[Tokens], int] = field(default_factory=dict)
    """Windows that were put together in a batch, as they lay in the text before; with their numbers."""
    counting: dict[int, int] = field(default_factory=dict)
    """Loops of which two iterations that follow one another are walked, and their lines."""
    left_out: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Conditions on the length of a document of which one branch does nothing; their lines and other branches."""
    few: dict[int, Few] = field(default_factory=dict)
    """Loops that end after a fixed number of windows or documents."""
    tails: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Loops over the whole chunks of a text; their lines, and the size of a chunk."""
    passed_over: list[tuple[int, int, int]] = field(default_factory=list)
    """Lines that pass over what raises in a loop, and the numbers between which are those of its evaluations."""
    begun: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """What a condition that may end a loop compares in its first iteration, by loop, line and column."""
    of_borders: set[int] = field(default_factory=set)
    """Loops that decide which document is cut out of a text."""
    depends: dict[int, frozenset[int]] = field(default_factory=dict)
    """Loops that conditions depend on."""
    by_rank: set[int] = field(default_factory=set)
    """Conditions that depend on the rank."""
    alone: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Conditions of which one rank alone takes a branch; that branch, and their lines."""
    turns: dict[int, int] = field(default_factory=dict)
    """Conditions by which each rank takes its turn, and their lines."""
    by_remainder: set[int] = field(default_factory=set)
    """Conditions that a counter's remainder decides."""
    by_world: set[int] = field(default_factory=set)
    """Conditions that depend on whether there are other ranks, or how many."""
    filings: list[Filing] = field(default_factory=list)
    """Where windows are sorted into chunks."""
    filed_lists: set[int] = field(default_factory=set)
    """The lists that they are put into."""
    is_grouped: bool = False
    """Whether the ranks make each other's acquaintance."""
    torn: list[Event] = field(default_factory=list)
    """Where they take leave of each other."""
    added: list[Event] = field(default_factory=list)
    """Where scores of several ranks may be brought together."""
    collectives: list[int] = field(default_factory=list)
    """Times at which the ranks wait for each other."""
    saved: list[Saved] = field(default_factory=list)
    """Where models are written to files."""
    is_read_back: bool = False
    """Whether anything that was written is read again."""
    limits: list[Limit] = field(default_factory=list)
    large: dict[Place, int] = field(default_factory=dict)
    """Where a size is compared with more bytes than an artifact may have."""
    scaled: list[Scaled] = field(default_factory=list)
    """Where scores are multiplied with a number, or divided by counts that were."""
    asks_for_spaces: bool = False
    """Whether the bytes of spaces are added by a condition on the token before."""
    calibrated: list[Event] = field(default_factory=list)
    """Where hooks look at what a model computes of training tokens, or weights are computed from it."""
    counting_lines: set[int] = field(default_factory=set)
    """Lines where tokens are counted or averaged."""
    of_documents: set[int] = field(default_factory=set)
    """Lines where statistics of a document are computed, all of its tokens included."""
    text_ends: dict[str, int] = field(default_factory=dict)
    """Unknown sizes that are those of a text: of the whole one (0) or of a piece."""
    methods: dict[int, frozenset[tuple[ast.ClassDef, ast.FunctionDef]]] = field(default_factory=dict)
    """The methods of models that an evaluation called with its inputs."""
    parts: dict[int, frozenset[int]] = field(default_factory=dict)
    """Models that a model was built from."""

    def gap(self, sentence: str) -> None:
        """Remembers once what could not be followed."""
        if sentence not in self.gaps:
            self.gaps.append(sentence)

    def gives(self, models: frozenset[int], parts: frozenset[int]) -> None:
        """Models get further parts, as adapters that are attached to their layers."""
        for model in models:
            if parts - {model}:
                self.parts[model] = self.parts.get(model, frozenset()) | (parts - {model})

    def whole(self, objects: frozenset[int]) -> frozenset[int]:
        """The objects and those they were built from."""
        seen, waiting = set(objects), list(objects)
        while waiting:
            for part in self.parts.get(waiting.pop(), frozenset()):
                if part not in seen:
                    seen.add(part)
                    waiting.append(part)
        return frozenset(seen)
