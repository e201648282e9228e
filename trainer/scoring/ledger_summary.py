"""What a ledger did, as plain values: coverage, order of score and train events, tokens, bytes, and a digest of it all.

Kept as `ledger.json` beside a score. Imports no torch: whoever has the file can check order, coverage and digest.

    {"positions": P, "tokens": scored targets, "bytes": their bytes, "text_sha256": of the tokens as int32,
     "nats_sha256": of each position's float32 nats, "ranks": [{"chain": hash chain, "events": [[kind, start, end]]}]}

Training rows are granted to all ranks at once: the k-th train event of one rank is that of every other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

LEDGER_FILE = "ledger.json"
Kind = Literal["score", "train"]
Event = tuple[Kind, int, int]
"""Positions [start, end) whose targets were scored, or whose rows were given out to learn from."""
ONE_MORE = bytes([1, 2, 2]).ljust(256, b"\2")
"""A count of scores plus one, up to two, as a table for `bytes.translate`."""


class Events:
    """One rank's events in order; scored ranges that continue each other are one."""

    def __init__(self) -> None:
        self.list: list[Event] = []

    def add(self, kind: Kind, start: int, end: int) -> None:
        if kind == "score" and self.list and self.list[-1][0] == "score" and self.list[-1][2] == start:
            self.list[-1] = ("score", self.list[-1][1], end)
        else:
            self.list.append((kind, start, end))


def digest_of(summary: Mapping[str, Any]) -> str:
    """SHA-256 of the summary as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(summary, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def order_complaints(summary: Mapping[str, Any]) -> list[str]:
    """What is wrong with the order of events: positions scored twice, never, or learned from before their score.

    Raises KeyError, TypeError or ValueError for a summary of another form.
    """
    return list(_complaints([_phases(rank["events"]) for rank in summary["ranks"]], int(summary["positions"])))


def _complaints(phases_of_ranks: list[list[Phase]], positions: int) -> Iterator[str]:
    counts = bytearray(positions)
    if len({len(phases) for phases in phases_of_ranks}) != 1:
        yield "ranks do not have equally many train events"
        return
    for phases in zip(*phases_of_ranks, strict=True):
        for start, end in (span for phase in phases for span in phase.scored):
            counts[start:end] = counts[start:end].translate(ONE_MORE)
        if len({phase.learned for phase in phases}) != 1:
            yield "ranks learned from different positions at once"
        learned = phases[0].learned
        if learned is not None and (early := counts.find(0, *learned)) >= 0:
            yield f"position {early} of [{learned[0]}, {learned[1]}) was learned from before it was scored"
    for what, wrong in (("never scored", 0), ("scored more than once", 2)):
        if (where := counts.find(wrong)) >= 0:
            yield f"{counts.count(wrong)} positions were {what}; the first is {where}"
    if positions and not any(phases[-1].scored for phases in phases_of_ranks):
        yield "nothing was scored after the last train event, which could not matter"


class Phase(NamedTuple):
    """Ranges scored since the last train event, and the range learned then; None at the end."""

    scored: list[tuple[int, int]]
    learned: tuple[int, int] | None


def _phases(events: Sequence[Event]) -> list[Phase]:
    phases: list[Phase] = []
    scored: list[tuple[int, int]] = []
    for kind, start, end in events:
        if kind == "train":
            phases.append(Phase(scored, (start, end)))
            scored = []
        elif kind == "score":
            scored.append((start, end))
        else:
            raise ValueError(f"event kind {kind!r} is neither 'score' nor 'train'")
    return [*phases, Phase(scored, None)]
