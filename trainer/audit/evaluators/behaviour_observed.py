"""Findings of the behavioural audit, and what its checks look at: cases, answers, noise, dependence on later tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from trainer.audit.evaluators.behaviour_cases import Answer, Case, Claims, Text


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: Literal["kept", "violated", "cannot tell", "not claimed"]
    conditions: tuple[str, ...]
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Observed:
    """All that the checks look at."""

    claims: Claims
    text: Text
    queue: np.ndarray
    """Positions in the order in which they are scored."""
    cases: Mapping[str, Case]
    answers: Mapping[str, Answer]
    num_bytes: int | None
    """Bytes of the text's targets by our own count."""

    @property
    def base(self) -> Answer:
        return self.answers["base"]

    def of(self, kind: str) -> Iterator[tuple[list[int], Answer]]:
        """The answers of cases whose names begin with a word, with the numbers behind it."""
        for name, answer in self.answers.items():
            word, *numbers = name.split()
            if word == kind:
                yield [int(number) for number in numbers], answer

    @cached_property
    def complete(self) -> bool:
        """Whether every target has one finite score, without which scores cannot be compared."""
        nats = self.base.nats
        return not self.base.error and len(nats) == self.text.num_positions and bool(np.isfinite(nats).all())

    @cached_property
    def noise(self) -> float:
        """Largest difference of two scores of the same text; 0 where they are the same bits."""
        return largest_difference(self.base.nats, self.answers["again"].nats) if self.complete else math.inf

    @cached_property
    def future(self) -> list[tuple[int, np.ndarray, float]]:
        """Cuts whose changed tokens changed earlier scores: the cut, places in the queue, the largest change."""
        found = []
        for (cut,), answer in self.of("tail"):
            if len(answer.nats) != len(self.base.nats):
                found.append((cut, np.arange(cut), math.inf))
                continue
            before, after = self.base.nats[self.queue[:cut]], answer.nats[self.queue[:cut]]
            if len(differing := np.flatnonzero(before != after)):
                found.append((cut, differing, largest_difference(before, after)))
        return found

    @property
    def learns(self) -> bool:
        events = self.base.events or []
        return bool(self.base.gradients) or any(kind == "train" for kind, *_ in events)


def largest_difference(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.abs(one - two).max()) if len(one) == len(two) and len(one) else math.inf
