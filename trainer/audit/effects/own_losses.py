"""Weights that learned from the losses of the targets that they weigh: a mean was taken before the mixture is scored.

A mean, or the sum over all, of the losses of targets is `mean:N`. Where it comes back into a score of the same targets,
in the same iteration of the loops around, the score bears `own:L` with the line of the mean. A mean of earlier targets,
or one that is taken once the score is committed, does not.
"""

from __future__ import annotations

from trainer.audit.facts.machine import Keywords, Machine
from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.values import Value, full

ALONG = (1, -1)
"""Dimensions along which a mean is one over targets, where losses of several models stand in rows."""


def pooled(machine: Machine, name: str, held: Value, others: list[Value], keywords: Keywords, result: Value) -> Value:
    """The result of `mean`, `sum` and their like of losses: marked where it is one over targets."""
    given = others[1:] if name == "quantile" else others
    along = keywords.get("dim", keywords.get("axis", given[0] if given else None))
    over_targets = along is None or (name == "mean" and along.const in ALONG)
    targets = _now(machine, held) if over_targets and machine.holds_loss(held) else None
    if not targets:
        return result
    number = machine.new_id()
    machine.pools[number] = (machine.place.line, targets, tuple(machine.loops))
    return result.with_marks(f"mean:{number}")


def come_back(machine: Machine, score: Value, other: Value, result: Value) -> Value:
    """The result of scores of single targets and of what may have learned from them."""
    means, score = _means(other), full(score)
    targets = _now(machine, score) if means - _means(score) and machine.holds_loss(score) else None
    if not targets or any(machine.pools[number][1] & targets for number in _means(score)):
        return result
    return result.with_marks(*_own(machine, means - _means(score), targets))


def asked_again(machine: Machine, given: Value, targets: Value) -> Value:
    """What a loss is computed from, with these targets."""
    means = _means(given)
    return given.with_marks(*_own(machine, means, targets.tokens)) if means else given


def _own(machine: Machine, means: set[int], targets: frozenset[Tokens]) -> set[str]:
    around = tuple(machine.loops)
    pools = [machine.pools[number] for number in means]
    return {f"own:{line}" for line, seen, loops in pools if seen & targets and loops == around[: len(loops)]}


def _means(value: Value) -> set[int]:
    return {int(mark[5:]) for mark in value.marks if mark.startswith("mean:")}


def _now(machine: Machine, value: Value) -> frozenset[Tokens]:
    """The targets of its losses that were taken in the present iteration of the loops around."""
    around = tuple(machine.loops)
    each = (machine.trace.evaluations[number] for number in value.scores)
    return frozenset(
        part for one in each if one.is_loss and one.loops == around[: len(one.loops)] for part in one.targets
    )
