"""Parts of a text that a value was computed from, told apart by loops and positions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from trainer.audit.facts.polynomial import Polynomial

Source = Literal["val", "train", "unknown"]
Via = Literal["tokens", "activation", "statistic", "gradient", "table"]
Iterations = frozenset[tuple[int, int]]
"""Pairs (loop, iteration) whose variables decided which part it is."""

OWN: tuple[Via, ...] = ("tokens", "activation")
"""How the tokens that are scored get into an evaluation; what a table or a gradient brings in is something else."""
DIVIDED = 1 << 40
"""Numbers from here on stand for no loop, but for a place at which windows are divided in two."""
SORTED = 1 << 41
"""Numbers from here on stand for a length that a condition asks for: documents of less (0) or more tokens (1)."""
MOST_TOKENS, MOST_LOOPS = 16, 30
ONE = Polynomial.constant(1)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A part of a text that a value was computed from."""

    source: Source
    at: Iterations = frozenset()
    low: Polynomial | None = None
    high: Polynomial | None = None
    """Positions [low, high), where they are known."""
    counted: Polynomial | None = None
    """Of a window's targets: the position from which they are counted."""
    piece: int = 0
    """The slice that positions are counted in, where its own place in the text is not known; 0: the text."""
    piece_at: Iterations = frozenset()
    """What tells that slice from others that the same line cut."""
    via: Via = "tokens"
    line: int = 0
    """Where the text is read; where an activation was computed; where weights were moved by a gradient."""
    is_whole: bool = True
    """Whether no index was applied yet: the bounds of the first slice are positions in the text."""
    is_text: bool = True
    """Whether it is the text from its start, or to an end that no loop decides."""
    is_bounded: bool = False
    """Whether it may end earlier than `high` or begin later than `low`: they come from `min` and `max`."""
    loose: frozenset[str] = frozenset()
    """What may move its ends, besides the end of the text: 'low', 'high' something else, 'start' that of the text."""
    reach: tuple[int, Polynomial] | None = None
    """Of a part that a range counts: that loop, and where the last of its parts ends at least."""
    is_within: bool = False
    """Whether it is some part of [low, high), not told which."""
    is_rough: bool = False
    """Whether it stands for so many parts that what told them apart is lost."""

    def overlaps(self, other: Tokens) -> bool:
        """Whether both may hold one token: not if loop variables or positions tell them apart."""
        if self.source != other.source:
            return False
        if self._is_other_part(other) or any((k, 1 - side) in other.at for k, side in self.at if k >= SORTED):
            return False
        if self._reaches(other):
            return True
        if self.is_before(other) or other.is_before(self):
            return False
        if self.contains(other) or other.contains(self) or self._begins_with(other):
            return True
        return same_iteration(self.at, other.at) and not (self.is_single or other.is_single)

    def is_before(self, other: Tokens) -> bool:
        """Whether it certainly ends where the other begins, or earlier.

        The first target of a window may be the token behind the place that its losses are counted from; in rows (pieces
        below zero) it is not.
        """
        begins = (
            other.counted.plus(ONE) if other.counted is not None and other.piece >= 0 else other.counted or other.low
        )
        known = self._shares_piece(other) and self.high is not None and begins is not None
        return known and begins.is_at_least(self.high)  # type: ignore[union-attr, arg-type]

    def _shares_piece(self, other: Tokens) -> bool:
        """Whether positions of both are counted from the same token."""
        return self.piece == other.piece and same_iteration(self.piece_at, other.piece_at)

    @property
    def is_placed(self) -> bool:
        """Whether the bounds of its next slice are positions in the text."""
        return self.is_whole or (self.is_text and not self.at)

    @property
    def is_single(self) -> bool:
        """Whether it is a single element of the text, as its first one: it overlaps what is known to hold it."""
        known = self.high is not None and self.low is not None and not self.piece
        length = self.high.plus(self.low, -1) if known else None  # type: ignore[union-attr, arg-type]
        return length is not None and length.value == 1

    def _is_other_part(self, other: Tokens) -> bool:
        """Whether both are parts of one window, before and behind the same place."""
        same = self.piece == other.piece or self.low is None or self.piece > 0
        if not same or self._window != other._window:
            return False
        sides = {pair for pair in self.at if pair[0] >= DIVIDED}
        return any((place, 1 - side) in sides for place, side in other.at if place >= DIVIDED)

    @property
    def _window(self) -> tuple[object, ...]:
        """What tells its window apart: positions in a piece are those of the part, not of the window."""
        return (*((self.low, self.high) if self.piece <= 0 else (None, None)), windows_of(self.at))

    def _begins_with(self, other: Tokens) -> bool:
        """Whether both certainly begin with the same token."""
        known = self._shares_piece(other) and self.low is not None and not (self.is_within or other.is_within)
        return known and self.low == other.low

    def _reaches(self, other: Tokens) -> bool:
        """Whether it certainly goes on to the first target that is counted of a later window, and beyond.

        The end of a range counts only for what comes after its loop. One token more than the windows before it is the
        target of their last position.
        """
        first = other.counted
        if (
            first is None
            or other.loose & {"low", "start"}
            or self.low is None
            or self.is_within
            or other.is_within
            or not self._shares_piece(other)
        ):
            return False
        ranged = self.reach is not None and not any(abs(loop) == self.reach[0] for loop, _ in other.at)
        ends = self.reach[1] if ranged and self.reach is not None else self.high
        if "low" in self.loose or ("high" in self.loose and not ranged) or ends is None:
            return False
        more = ends.plus(first, -1)
        known = more is not None and first.is_at_least(self.low) and ends.is_at_least(first)
        return known and (more.value is None or more.value > 1)  # type: ignore[union-attr]

    def contains(self, other: Tokens) -> bool:
        """Whether every position of the other is certainly one of this."""
        if self.low is None or self.high is None or other.low is None or other.high is None or self.is_bounded:
            return False
        if not self._shares_piece(other):
            return False
        return other.low.is_at_least(self.low) and self.high.is_at_least(other.high)


def same_iteration(a: Iterations, b: Iterations) -> bool:
    """Whether no loop that both depend on is in different iterations."""
    iterations = dict(a)
    return all(loop >= DIVIDED or iterations.get(loop, iteration) == iteration for loop, iteration in b)


def windows_of(at: Iterations) -> Iterations:
    """What tells windows apart, without what tells the parts of a window apart."""
    return frozenset(pair for pair in at if pair[0] < DIVIDED)


def still_whole(targets: frozenset[Tokens], own: frozenset[Tokens]) -> frozenset[Tokens]:
    """The targets of a window's losses; none where a loop goes through them, so that the tokens say which it is."""
    loops = {loop for part in targets for loop, _ in windows_of(part.at)}
    narrower = (loop for part in own if part.via == "tokens" for loop, _ in windows_of(part.at) if loop not in loops)
    return targets if next(narrower, None) is None else frozenset()


def in_number(at: Iterations) -> Iterations:
    """What a size depends on: that of a list in another order says nothing about the order."""
    return frozenset((abs(loop), k) for loop, k in at)


def later(a: Iterations, b: Iterations) -> Iterations:
    """Both together; of one loop the later iteration counts."""
    if not b or a == b:
        return a
    if not a:
        return b
    iterations = dict(a)
    for loop, iteration in b:
        iterations[loop] = max(iterations.get(loop, 0), iteration)
    if len(iterations) > MOST_LOOPS:  # the outermost and the latest; those between ended long ago
        pairs = sorted(iterations.items())
        return frozenset(pairs[: MOST_LOOPS // 3] + pairs[-MOST_LOOPS // 3 :])
    return frozenset(iterations.items())


def in_order(tokens: frozenset[Tokens]) -> list[Tokens]:
    """The parts in an order that is the same in every process, as that of a set is not."""
    return sorted(tokens, key=_key) if len(tokens) > 1 else [*tokens]


def _key(part: Tokens) -> tuple[Any, ...]:
    sets = sorted(part.at), sorted(part.loose), sorted(part.piece_at)
    return part.source, part.via, *sets, part.piece, part.line, repr((part.low, part.high, part.counted, part.reach))


def fewer(tokens: frozenset[Tokens]) -> frozenset[Tokens]:
    """The same tokens in at most so many parts: beyond that, told apart by the loops that most depend on."""
    if len(tokens) <= MOST_TOKENS:
        return tokens
    groups: dict[tuple[Source, Via], list[Tokens]] = {}
    for part in tokens:
        groups.setdefault((part.source, part.via), []).append(part)
    most = MOST_TOKENS // len(groups)
    return frozenset(part for parts in groups.values() for part in _merged(parts, most))


def _merged(parts: list[Tokens], most: int) -> list[Tokens]:
    """Parts of one text as at most so many, which hold more than they did."""
    if len(parts) <= most:
        return parts
    depending = Counter(loop for part in parts for loop, _ in part.at)
    loops = sorted(depending, key=lambda loop: (-depending[loop], loop))
    line = min(part.line for part in parts)
    while len(loops) > 1:
        loops = loops[: len(loops) // 2]
        kept = {frozenset(pair for pair in part.at if pair[0] in loops) for part in parts}
        if len(kept) <= most:
            return [Tokens(parts[0].source, at, via=parts[0].via, line=line, is_rough=True) for at in kept]
    at = frozenset.intersection(*(part.at for part in parts))
    return [Tokens(parts[0].source, at, via=parts[0].via, line=line, is_rough=True)]
