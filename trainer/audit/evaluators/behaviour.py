"""Behavioural audit: which conditions an evaluator breaks, seen from outside, with the numbers that show it.

The evaluator is a black box: it is given texts and returns the nats of each token, and full distributions where it can.
Changed copies of a text show what its scores depend on; scores are compared bit for bit. Nothing here decides that an
evaluator is legal: what no case touched is not seen, and a check that could not be made says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from trainer.audit.evaluators.behaviour_cases import Answer, Case, Claims, Subject, Text, made_text
from trainer.audit.evaluators.behaviour_checks import CHECKS
from trainer.audit.evaluators.behaviour_observed import Finding, Observed

Verdict = Literal["illegal", "no breach found", "cannot tell"]
MOST_SUBSTITUTED = 64
"""Largest vocabulary whose every token is tried in a place, where an evaluator gives no distributions."""


CountsBytes = Callable[[Sequence[int], Sequence[int]], int]
"""(targets, predecessors) → bytes of text that they stand for."""


@dataclass(frozen=True)
class AuditReport:
    """What an audit found."""

    evaluator: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    num_evaluations: int
    num_tokens: int

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per check; `verdict` is that of the whole."""
        common = {
            "evaluator": self.evaluator,
            "verdict": self.verdict,
            "num_evaluations": self.num_evaluations,
            "num_tokens": self.num_tokens,
        }
        return [
            common
            | {
                "check": finding.check,
                "outcome": finding.verdict,
                "conditions": list(finding.conditions),
                "sentence": finding.sentence,
                "evidence": dict(finding.evidence),
            }
            for finding in self.findings
        ]


def audit_evaluator(subject: Subject, count_bytes: CountsBytes | None = None, text: Text | None = None) -> AuditReport:
    """The report on an evaluator.

    count_bytes:  None leaves bytes unchecked
    text:         the text to audit with; None makes one by the evaluator's claims
    """
    claims = subject.claims()
    text = text or made_text(claims)
    first = first_case(claims, text)
    cases = {"base": first, "distributions": replace(first, positions=sampled(claims, text))}
    named = dict(zip(cases, subject.answers(list(cases.values())), strict=True))
    queue = queue_of(named["base"], text.num_positions)
    if not named["base"].error:
        more = plan(claims, text, first, queue, bool(named["distributions"].distributions))
        named |= dict(zip(more, subject.answers(list(more.values())), strict=True))
        cases |= more
    num_bytes = None if count_bytes is None else count_bytes(text.tokens[1:].tolist(), text.tokens[:-1].tolist())
    observed = Observed(claims, text, queue, cases, named, num_bytes)
    findings = tuple(finding for check in CHECKS for finding in check(observed))
    return AuditReport(subject.name, verdict_of(findings), findings, len(named), len(text.tokens))


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    if any(finding.verdict == "violated" for finding in findings):
        return "illegal"
    asked = [finding for finding in findings if finding.check in ("deterministic", "future")]
    return "no breach found" if all(finding.verdict == "kept" for finding in asked) else "cannot tell"


def first_case(claims: Claims, text: Text) -> Case:
    base = tuple(text.tokens.tolist())
    if not claims.trains:
        return Case(base)
    return Case(base, train_tokens=tuple(made_text(claims, seed=1).tokens.tolist()), val_tokens=base)


def queue_of(base: Answer, num_positions: int) -> np.ndarray:
    """Positions in the order in which they are scored; that of the text unless the evaluator has a sound other one."""
    if base.order and sum(max(end - start, 0) for start, end in base.order) == num_positions:
        queue = np.concatenate([np.arange(start, end) for start, end in base.order])
        if np.array_equal(np.sort(queue), np.arange(num_positions)):
            return queue
    return np.arange(num_positions)


def plan(claims: Claims, text: Text, first: Case, queue: np.ndarray, gives_distributions: bool) -> dict[str, Case]:
    """All evaluations after the first two that the checks need, by name."""
    positions = sampled(claims, text)
    case = partial(replace, first)
    cases = {"again": first}
    for cut in cuts(claims, text):
        cases[f"tail {cut}"] = case(tokens=text.changed(queue[cut:] + 1))
    if gives_distributions:  # of the same positions always, since other shapes round otherwise
        for position in positions[1::2]:
            changed = text.changed(np.array([position + 1]))
            cases[f"target {position}"] = case(tokens=changed, positions=positions)
        for cut in cuts(claims, text)[-3::2]:
            cases[f"shown {cut}"] = case(tokens=text.changed(queue[cut:] + 1), positions=positions)
    if not gives_distributions and claims.vocab_size <= MOST_SUBSTITUTED:
        for position in positions[len(positions) // 2 :: 4][:2]:
            for token in range(claims.vocab_size):
                cases[f"substitute {position} {token}"] = case(tokens=text.with_token(position + 1, token))
    if claims.documents_apart:
        spans = list(zip(text.starts, [*text.starts[1:], len(text.tokens)], strict=True))
        for start, end in spans[: 1 + len(spans) // 2]:
            cases[f"document {start} {end}"] = case(tokens=text.changed(np.arange(start, end)))
    for size in claims.ranks:
        if size != 1:
            cases[f"ranks {size}"] = case(ranks=size)
    if claims.trains:
        other = tuple(made_text(claims, seed=2).tokens.tolist())
        cases["other validation"] = case(val_tokens=other)
    return cases


def cuts(claims: Claims, text: Text) -> list[int]:
    """Places of the queue from which on targets are changed: at chunk borders and document starts, and spread out."""
    length = text.num_positions
    wanted = {length // 5, length // 2, length - 2, length - max(length // 16, 3)}
    if claims.chunk_tokens:
        borders = range(claims.chunk_tokens, length - 2, claims.chunk_tokens)
        wanted |= {border + off for border in borders[:2] for off in (-1, 0, 1)}
    wanted |= set(text.starts[1:3])
    return sorted(cut for cut in wanted if 1 <= cut < length)


def sampled(claims: Claims, text: Text) -> tuple[int, ...]:
    """Positions whose distributions are asked for: both ends, chunk borders, and spread; their targets are no BOS."""
    last = text.num_positions - 1
    wanted = {0, 1, last, *np.linspace(2, last - 1, 7).astype(int).tolist()}
    if claims.chunk_tokens and claims.chunk_tokens < last:
        wanted |= {claims.chunk_tokens - 1, claims.chunk_tokens}
    return tuple(sorted(position for position in wanted if text.tokens[position + 1] != text.bos))
