"""A finding: a breach of a rule at a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from trainer.audit.facts.trace import Event, Place
from trainer.audit.findings.audit_rules import RULES, Rule

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Finding:
    """A breach of a rule at a line."""

    rule: Rule
    place: Place
    detail: str
    confidence: Confidence
    only_when: tuple[str, ...] = ()
    """Settings that are off by default, without which it does not happen; as NAME=DEFAULT."""
    calls: tuple[Place, ...] = ()
    evidence: tuple[Place, ...] = field(default=())


def finding_of(name: str, event: Event, detail: str, others: Iterable[Event] = (), *, sure: bool = True) -> Finding:
    """The finding that an event is a breach of the rule of this name."""
    off = event.off.union(*(other.off for other in others))
    return Finding(
        RULES[name],
        event.place,
        detail,
        "high" if sure else "medium",
        tuple(sorted(off)),
        event.calls,
        tuple(other.place for other in others),
    )
