"""What an audited evaluator is asked and what it answers: made-up texts, changed copies of them, and per-token nats.

P positions: position p reads tokens up to p and is scored on token p + 1; a text has P + 1 tokens
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from trainer.spec.errors import UserError, did_you_mean

Events = list[tuple[str, int, int]]
"""('score' | 'train', first position, end), in order."""
LEAST_TOKENS = 64
CLAIMED_RANGES = {
    "vocab_size": (4, 2**20),
    "bos": (0, 2**20),
    "chunk_tokens": (1, 2**20),
    "num_tokens": (LEAST_TOKENS, 2**24),
}
"""Least and largest value of each number that an evaluator may claim."""
NUMBERS = ("num_tokens", "num_bytes", "val_loss", "val_bpb", "gradients")


@dataclass(frozen=True)
class Claims:
    """What an evaluator says of itself. Nothing it claims lowers what is asked of it, except the order of documents."""

    vocab_size: int = 256
    bos: int | None = None
    """The token that begins a document; it is never changed, moved or made."""
    chunk_tokens: int | None = None
    """Tokens that are scored before the evaluator learns from them."""
    num_tokens: int | None = None
    """Length of the text to audit with; None chooses one that holds three chunks."""
    documents_apart: bool = False
    """Whether no score depends on another document."""
    ranks: tuple[int, ...] = (1,)
    """Numbers of ranks it can be run on."""
    trains: bool = False
    """Whether it has a `train(train_tokens, val_tokens)` whose model it scores with."""

    @classmethod
    def of(cls, given: Mapping[str, Any], source: str) -> Claims:
        """Raises UserError for an unknown name or a value of another kind."""
        known = cls.__dataclass_fields__
        for name in given:
            if name not in known:
                raise UserError(
                    f"{source}: claim '{name}' is unknown{did_you_mean(name, known)}; known: {', '.join(known)}"
                )
        for name, (least, most) in CLAIMED_RANGES.items():
            value = given.get(name)
            if value is not None and not _is_whole(value, least, most):
                raise UserError(f"{source}: {name} = {value!r}, expected a whole number from {least:,} to {most:,}")
        ranks = given.get("ranks", (1,))
        if not isinstance(ranks, list | tuple) or not all(_is_whole(size, 1, 64) for size in ranks):
            raise UserError(f"{source}: ranks = {ranks!r}, expected a list of whole numbers from 1 to 64")
        return cls(**{**given, "ranks": tuple(ranks)})


@dataclass(frozen=True)
class Case:
    """One evaluation that is asked for."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...] = ()
    """Positions whose full distributions are asked for."""
    ranks: int = 1
    train_tokens: tuple[int, ...] = ()
    val_tokens: tuple[int, ...] = ()
    """For `train`, where the evaluator has one."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a case."""

    nats: np.ndarray
    """float64 (P,)."""
    distributions: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Natural logarithms of the probabilities of all tokens, by position."""
    num_tokens: int | None = None
    num_bytes: int | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    events: Events | None = None
    order: tuple[tuple[int, int], ...] | None = None
    """Ranges of positions in the order in which they are scored, where that is not the order of the text."""
    gradients: int | None = None
    """How often gradients were computed; None where that could not be watched."""
    error: str = ""

    @classmethod
    def of(cls, given: Any, gradients: int | None = None) -> Answer:
        """From what an evaluator returned: nats alone, or a mapping with 'nats' and what else it has.

        Raises UserError for anything else.
        """
        values = dict(given) if isinstance(given, Mapping) else {"nats": given}
        known = set(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                raise UserError(f"the answer has '{name}', which is unknown{did_you_mean(str(name), known)}")
        try:
            values["nats"] = np.asarray(values["nats"], dtype=np.float64).reshape(-1)
            values["distributions"] = {
                int(position): np.asarray(row, dtype=np.float64).reshape(-1)
                for position, row in (values.get("distributions") or {}).items()
            }
            if values.get("events") is not None:
                values["events"] = [(_kind(kind), int(start), int(end)) for kind, start, end in values["events"]]
            if values.get("order") is not None:
                values["order"] = tuple((int(start), int(end)) for start, end in values["order"])
            for name in NUMBERS:
                if not isinstance(values.get(name), int | float | None):
                    values[name] = float(values[name])  # a number of numpy or torch
        except (KeyError, TypeError, ValueError, OverflowError) as fault:
            raise UserError(f"the answer is not of the form expected: {type(fault).__name__}: {fault}") from None
        if not isinstance(values.get("error", ""), str):
            raise UserError(f"the answer's error is {values['error']!r}, expected text")
        return cls(**{"gradients": gradients, **values})

    @classmethod
    def failed(cls, error: str) -> Answer:
        return cls(np.empty(0), error=error)


def _kind(kind: object) -> str:
    if kind not in ("score", "train"):
        raise ValueError(f"an event is {kind!r}, expected 'score' or 'train'")
    return str(kind)


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


class Subject(Protocol):
    """An evaluator that can be audited."""

    @property
    def name(self) -> str:
        """As a report calls it."""

    def claims(self) -> Claims:
        """What it says of itself."""

    def answers(self, cases: Sequence[Case]) -> list[Answer]:
        """What it makes of each case. No case may see anything of another."""


@dataclass(frozen=True)
class Text:
    """A text and the ways in which it may be changed: every token but BOS becomes its successor in the alphabet."""

    tokens: np.ndarray
    alphabet: np.ndarray
    bos: int | None

    @property
    def num_positions(self) -> int:
        return len(self.tokens) - 1

    @property
    def starts(self) -> list[int]:
        """Where documents begin."""
        return [] if self.bos is None else np.flatnonzero(self.tokens == self.bos).tolist()

    def changed(self, where: np.ndarray) -> tuple[int, ...]:
        """The text with these tokens changed, BOS kept."""
        tokens = self.tokens.copy()
        where = where[tokens[where] != self.bos] if self.bos is not None else where
        ranks = np.searchsorted(self.alphabet, tokens[where])
        tokens[where] = self.alphabet[(ranks + 1) % len(self.alphabet)]
        return tuple(tokens.tolist())

    def with_token(self, index: int, token: int) -> tuple[int, ...]:
        tokens = self.tokens.copy()
        tokens[index] = token
        return tuple(tokens.tolist())


def made_text(claims: Claims, seed: int = 0, num_documents: int = 5) -> Text:
    """Text of few habits, so that whoever may learn from it can: after each token mostly one of three follows."""
    default = LEAST_TOKENS * 4 if claims.chunk_tokens is None else math.ceil(claims.chunk_tokens * 3.4)
    num_tokens = max(claims.num_tokens or default, LEAST_TOKENS)
    draw = np.random.default_rng(seed)
    first = min(4, claims.vocab_size // 4)  # ids below are often BOS, padding and the like
    alphabet = np.array([id for id in range(first, min(claims.vocab_size, first + 60)) if id != claims.bos])
    follows = draw.integers(len(alphabet), size=(len(alphabet), 3))
    states = [0]
    for choice in draw.integers(4, size=num_tokens - 1):
        states.append(int(follows[states[-1], choice]) if choice < 3 else int(draw.integers(len(alphabet))))
    tokens = alphabet[np.array(states)]
    if claims.bos is not None:
        cuts = np.sort(draw.choice(np.arange(8, num_tokens - 8), num_documents - 1, replace=False))
        tokens[[0, *cuts]] = claims.bos
    return Text(tokens, alphabet, claims.bos)
