"""The checks of the behavioural audit: each takes what was observed and says kept, violated or cannot tell.

A finding names the conditions of docs/recipe.md 1.4 that it speaks of, the one that it shows first. Which condition a
dependence on later tokens breaks depends on how far it reaches and on what was seen of the evaluator meanwhile: whether
gradients were computed, and whether all distributions changed by one temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from trainer.audit.evaluators.behaviour_cases import Answer
from trainer.audit.evaluators.behaviour_observed import Finding, Observed, largest_difference

NORMALISED_WITHIN = 1e-4
"""Largest difference of a log-sum, and of a recorded score from its entry (condition E2, docs/recipe.md 1.4)."""
RANKS_WITHIN_MEAN, RANKS_WITHIN_EACH = 1e-4, 1e-2
"""Nats by which another number of ranks may change the mean and a single score: other sums round otherwise."""
ONE_TEMPERATURE_WITHIN = 1e-5


def runs(seen: Observed) -> Iterator[Finding]:
    """Whether every case was answered."""
    failed = {name: answer.error for name, answer in seen.answers.items() if answer.error}
    if failed:
        name, error = next(iter(failed.items()))
        sentence = f"{len(failed)} of {len(seen.answers)} evaluations ended in an error; the first, '{name}': {error}"
        yield Finding("runs", "cannot tell", ("E15",), sentence, {"failed": sorted(failed)})


def coverage(seen: Observed) -> Iterator[Finding]:
    """Every target has one finite score, and the numbers that are claimed are those of the scores."""
    if seen.base.error:
        return
    nats, expected = seen.base.nats, seen.text.num_positions
    claimed = seen.base.num_tokens
    numbers = {"targets": expected, "scores": len(nats), "claimed": claimed}
    wrong = np.flatnonzero(~np.isfinite(nats))
    if len(nats) != expected:
        sentence = f"{len(nats)} scores for {expected} targets: tokens were dropped or counted twice"
        yield Finding("coverage", "violated", ("E9", "E4"), sentence, numbers)
    elif len(wrong):
        sentence = f"{len(wrong)} targets have no finite score; the first is at position {wrong[0]}"
        yield Finding("coverage", "violated", ("E9", "E2"), sentence, numbers | {"positions": wrong[:8].tolist()})
    elif (below := np.flatnonzero(nats < 0)).size:
        sentence = f"{len(below)} scores are below zero, a probability above one; the first is at position {below[0]}"
        yield Finding("coverage", "violated", ("E2",), sentence, numbers | {"positions": below[:8].tolist()})
    elif claimed is not None and claimed != expected:
        sentence = f"{claimed} tokens are claimed to be scored, of {expected} targets"
        yield Finding("coverage", "violated", ("E9",), sentence, numbers)
    else:
        yield Finding("coverage", "kept", ("E9", "E4"), f"all {expected} targets have one finite score", numbers)


def totals(seen: Observed) -> Iterator[Finding]:
    """Claimed loss, bytes and bits per byte follow from the scores and from our own count of bytes."""
    base = seen.base
    if base.error:
        return
    mean = float(np.nanmean(base.nats)) if len(base.nats) else math.nan
    if base.val_loss is not None and not math.isclose(base.val_loss, mean, rel_tol=1e-5):
        sentence = f"val_loss = {base.val_loss:.6f} is claimed, and the mean of the scores is {mean:.6f}"
        yield Finding("loss", "violated", ("E9", "E4"), sentence, {"claimed": base.val_loss, "mean": mean})
    if base.num_bytes is None and base.val_bpb is None:
        yield Finding("bytes", "cannot tell", ("E9",), "the evaluator claims no bytes")
    elif seen.num_bytes is None:
        yield Finding("bytes", "cannot tell", ("E9",), "without a tokenizer bytes are not counted again")
    else:
        yield _bytes(base, seen.num_bytes)


def _bytes(base: Answer, counted: int) -> Finding:
    bpb = float(base.nats.sum()) / (math.log(2) * counted)
    numbers = {"claimed": base.num_bytes, "counted": counted, "val_bpb": base.val_bpb, "bpb": bpb}
    if base.num_bytes is not None and base.num_bytes != counted:
        sentence = f"{base.num_bytes} bytes are claimed, and the targets stand for {counted} by the tokenizer's table"
        return Finding("bytes", "violated", ("E9",), sentence, numbers)
    if base.val_bpb is not None and not math.isclose(base.val_bpb, bpb, rel_tol=1e-5):
        sentence = f"val_bpb = {base.val_bpb:.6f} is claimed, and scores and bytes give {bpb:.6f}"
        return Finding("bytes", "violated", ("E9",), sentence, numbers)
    return Finding("bytes", "kept", ("E9",), f"the targets stand for {counted} bytes, as claimed", numbers)


def deterministic(seen: Observed) -> Iterator[Finding]:
    """The same text has the same scores, bit for bit, whether distributions are asked for or not."""
    if not seen.complete:
        yield Finding("deterministic", "cannot tell", ("E1",), "not every target has a score, so none were compared")
        return
    if seen.noise > 0:
        sentence = f"the same text was scored twice with differences up to {seen.noise:g} nats; what depends on which "
        yield Finding("deterministic", "cannot tell", ("E1",), f"{sentence}token cannot be told", {"noise": seen.noise})
        return
    asked = largest_difference(seen.base.nats, seen.answers["distributions"].nats)
    if asked > NORMALISED_WITHIN:  # less is rounding: of another shape, or of a fused loss
        sentence = f"scores differ by up to {asked:g} nats once distributions are asked for: it knows of the audit"
        yield Finding("deterministic", "violated", ("E2",), sentence, {"difference": asked})
    else:
        yield Finding("deterministic", "kept", ("E1",), "the same text has the same scores, bit for bit")


def future(seen: Observed) -> Iterator[Finding]:
    """No score depends on a token that is scored later."""
    if not seen.complete:
        return
    cuts = [cut for (cut,), _ in seen.of("tail")]
    if seen.noise > 0:
        yield Finding("future", "cannot tell", ("E1", "E3"), f"the noise of {seen.noise:g} nats covers what is asked")
        return
    if not seen.future:
        sentence = f"changing every token behind each of {len(cuts)} cuts left all earlier scores the same, bit for bit"
        yield Finding("future", "kept", ("E1", "E3", "E4", "E6"), sentence, {"cuts": cuts})
        return
    cut, differing, difference = max(seen.future, key=lambda found: found[0] - found[1][0])
    first = int(differing[0])
    conditions, why = _kind_of_dependence(seen, cut - first)
    sentence = (
        f"changing the tokens behind place {cut} changed {len(differing)} earlier scores, from place {first} on, by up "
        f"to {difference:g} nats: {why}"
    )
    evidence = {
        "cuts": cuts,
        "cuts_that_change_earlier_scores": [found[0] for found in seen.future],
        "cut": cut,
        "positions": seen.queue[differing[:8]].tolist(),
        "num_positions": len(differing),
        "largest_difference_nats": difference,
        "gradients": seen.base.gradients,
    }
    yield Finding("future", "violated", conditions, sentence, evidence)


def _kind_of_dependence(seen: Observed, reach: int) -> tuple[tuple[str, ...], str]:
    if (temperature := _temperature(seen)) is not None:
        return ("E4", "E1"), f"every distribution changed by one temperature ({temperature:.6f}), fitted after scoring"
    wide = reach > max(seen.text.num_positions // 2, seen.claims.chunk_tokens or 0)
    if wide and seen.learns:
        return ("E6", "E4", "E3", "E1"), (
            "the scores that count were made after later tokens were learned, before the evaluation or in a first pass"
        )
    if wide:
        return ("E1", "E6"), "a statistic of later tokens is in the scores; no gradient was seen"
    if seen.learns:
        return ("E3", "E4", "E1"), "tokens are learned before their own score is final, within a chunk"
    return ("E1",), f"the distribution looks up to {reach} tokens ahead"


def _temperature(seen: Observed) -> float | None:
    """The one factor by which the log-probabilities of all early positions changed, up to normalisation."""
    factors = []
    for (cut,), answer in seen.of("shown"):
        for position, after in answer.distributions.items():
            before = seen.answers["distributions"].distributions.get(position)
            if before is None or len(before) != len(after) or np.array_equal(before, after) or position + 8 > cut:
                continue
            x, y = before - before.mean(), after - after.mean()
            factor = float(x @ y / (x @ x)) if x @ x > 0 else 1.0
            if np.abs(y - factor * x).max() > ONE_TEMPERATURE_WITHIN * max(1.0, float(np.abs(x).max())):
                return None
            factors.append((cut, factor))
    if not factors:
        return None
    for cut in {cut for cut, _ in factors}:
        same = [factor for at, factor in factors if at == cut]
        if len(same) < 2 or max(same) - min(same) > ONE_TEMPERATURE_WITHIN:
            return None
    return factors[-1][1]


def distributions(seen: Observed) -> Iterator[Finding]:
    """At sampled positions a full distribution sums to one, holds the recorded score and does not know its target."""
    given = seen.answers.get("distributions")
    if given is None or not seen.complete:
        return
    if not given.distributions:
        yield from substituted(seen)
        return
    sums: dict[int, float] = {}
    gaps: dict[int, float] = {}
    asked = seen.cases["distributions"].positions
    if missing := sorted(set(asked) - set(given.distributions)):
        sentence = f"{len(missing)} of {len(asked)} distributions that were asked for are missing"
        yield Finding("distributions", "cannot tell", ("E2",), sentence, {"positions": missing})
    for position in set(asked) & set(given.distributions):
        row = given.distributions[position]
        if len(row) != seen.claims.vocab_size or np.isnan(row).any():
            sentence = f"position {position} has {len(row)} log-probabilities, expected {seen.claims.vocab_size}"
            yield Finding("distributions", "violated", ("E2",), sentence, {"positions": [position]})
            return
        with np.errstate(over="ignore"):
            sums[position] = float(np.exp(row).sum())
        gaps[position] = float(given.nats[position] + row[seen.text.tokens[position + 1]])
    yield _normalised(sums)
    yield _recorded(gaps, NORMALISED_WITHIN + 2 * seen.noise)
    yield from own_target(seen)


def _normalised(sums: Mapping[int, float]) -> Finding:
    wrong = {p: total for p, total in sums.items() if abs(math.log(max(total, 1e-300))) > NORMALISED_WITHIN}
    if wrong:
        position, total = max(wrong.items(), key=lambda item: abs(item[1] - 1))
        sentence = f"{len(wrong)} of {len(sums)} distributions do not sum to one; position {position}: {total:.6f}"
        return Finding("normalised", "violated", ("E2",), sentence, {"sums": wrong})
    return Finding("normalised", "kept", ("E2",), f"{len(sums)} distributions sum to one", {"sums": dict(sums)})


def _recorded(gaps: Mapping[int, float], within: float) -> Finding:
    wrong = {position: gap for position, gap in gaps.items() if abs(gap) > within}
    if not wrong:
        return Finding("recorded", "kept", ("E2",), "recorded scores are the targets' entries of these distributions")
    lower = len(wrong) < len(gaps) and all(gap < 0 for gap in wrong.values())
    position, gap = max(wrong.items(), key=lambda item: abs(item[1]))
    sentence = f"{len(wrong)} of {len(gaps)} scores are not in their distributions; position {position}: {gap:+g}"
    if lower:
        sentence += " nats; where they differ they are always lower, as the smaller of two scores is"
    return Finding("recorded", "violated", ("E4", "E2") if lower else ("E2",), sentence, {"differences_nats": wrong})


def own_target(seen: Observed) -> Iterator[Finding]:
    """The distribution over a token does not depend on that token."""
    if seen.noise > 0:
        yield Finding("own target", "cannot tell", ("E14",), f"the noise of {seen.noise:g} nats covers what is asked")
        return
    before = seen.answers["distributions"].distributions
    changed: dict[int, float] = {}
    for (position,), answer in seen.of("target"):
        if position in answer.distributions and position in before:
            one, two = before[position], answer.distributions[position]
            if not np.array_equal(one, two):
                changed[position] = largest_difference(one, two)
    if not changed:
        yield Finding("own target", "kept", ("E14", "E3"), "no sampled distribution depends on its own target")
        return
    position, difference = max(changed.items(), key=lambda item: item[1])
    sentence = f"{len(changed)} distributions change with their own target; position {position} by {difference:g}"
    conditions = ("E3", "E14") if seen.future else ("E14", "E2", "E1")
    yield Finding("own target", "violated", conditions, sentence, {"differences": changed})


def substituted(seen: Observed) -> Iterator[Finding]:
    """Where no distributions are given: the probabilities recorded for every token in one place sum to one."""
    sums: dict[int, float] = {}
    for (position, _), answer in seen.of("substitute"):
        if len(answer.nats) == seen.text.num_positions:
            sums[position] = sums.get(position, 0.0) + math.exp(-float(answer.nats[position]))
    if not sums:
        yield Finding("normalised", "cannot tell", ("E2", "E14"), "the evaluator gives no distributions")
        return
    wrong = {position: total for position, total in sums.items() if abs(total - 1) > 1e-3}
    if not wrong:
        yield Finding(
            "normalised", "kept", ("E2", "E14"), "recorded probabilities of all tokens sum to one", {"sums": dict(sums)}
        )
        return
    position, total = max(wrong.items(), key=lambda item: abs(item[1] - 1))
    sentence = (
        f"with every token of the vocabulary put behind position {position} in turn, the recorded probabilities sum to "
        f"{total:.6f}: the score knows its target, or nothing normalises it"
    )
    yield Finding("normalised", "violated", ("E3", "E2") if seen.future else ("E2", "E14"), sentence, {"sums": wrong})


def documents(seen: Observed) -> Iterator[Finding]:
    """Where it is claimed, no score depends on another document."""
    if not seen.claims.documents_apart:
        yield Finding("documents", "not claimed", ("E11",), "independence of documents is not claimed")
        return
    if not seen.complete or seen.noise > 0:
        return
    for (start, end), answer in seen.of("document"):
        outside = np.r_[0 : max(start - 1, 0), end : seen.text.num_positions]
        if len(answer.nats) != len(seen.base.nats):
            continue
        differing = outside[seen.base.nats[outside] != answer.nats[outside]]
        if len(differing):
            difference = largest_difference(seen.base.nats[outside], answer.nats[outside])
            sentence = (
                f"changing the document of tokens [{start}, {end}) changed {len(differing)} scores of others by up to "
                f"{difference:g} nats, the first at position {differing[0]}"
            )
            numbers = {"document": [start, end], "positions": differing[:8].tolist(), "difference_nats": difference}
            yield Finding("documents", "violated", ("E11",), sentence, numbers)
            return
    yield Finding("documents", "kept", ("E11",), "no changed document changed the scores of another")


def rank_count(seen: Observed) -> Iterator[Finding]:
    """The number of ranks does not change scores beyond rounding."""
    sizes = [size for size in seen.claims.ranks if size != 1]
    if not sizes:
        yield Finding("ranks", "not claimed", ("E12",), "the evaluator takes no number of ranks")
        return
    if not seen.complete:
        return
    for (size,), answer in seen.of("ranks"):
        if len(answer.nats) != len(seen.base.nats):
            yield Finding("ranks", "violated", ("E12", "E9"), f"{size} ranks score {len(answer.nats)} targets")
            return
        mean = abs(float(answer.nats.mean() - seen.base.nats.mean()))
        each = largest_difference(answer.nats, seen.base.nats)
        if mean > RANKS_WITHIN_MEAN + seen.noise or each > RANKS_WITHIN_EACH + seen.noise:
            sentence = f"{size} ranks change the mean by {mean:g} nats and single scores by up to {each:g}"
            where = int(np.abs(answer.nats - seen.base.nats).argmax())
            numbers = {"ranks": size, "mean_nats": mean, "largest_nats": each, "positions": [where]}
            yield Finding("ranks", "violated", ("E12",), sentence, numbers)
            return
    yield Finding("ranks", "kept", ("E12",), f"scores on {', '.join(map(str, sizes))} ranks are those on one")


def training(seen: Observed) -> Iterator[Finding]:
    """Training gives the same scores whatever the validation text is."""
    if not seen.claims.trains:
        yield Finding("training", "not claimed", ("E7",), "the evaluator gives no function that trains")
        return
    if not seen.complete:
        return
    difference = largest_difference(seen.base.nats, seen.answers["other validation"].nats)
    if difference > seen.noise:
        sentence = f"training beside another validation text changed scores by up to {difference:g} nats"
        yield Finding("training", "violated", ("E7", "E8", "E6"), sentence, {"difference_nats": difference})
    elif seen.noise > 0:
        yield Finding("training", "cannot tell", ("E7",), f"the noise of {seen.noise:g} nats covers what is asked")
    else:
        yield Finding("training", "kept", ("E7", "E8"), "training does not depend on the validation text")


def events(seen: Observed) -> Iterator[Finding]:
    """The events that the evaluator reports itself are in a legal order; they clear nothing."""
    given = seen.base.events
    if given is None:
        return
    counts = np.zeros(seen.text.num_positions, dtype=np.int64)
    trained = False
    for number, (kind, start, end) in enumerate(given):
        if kind == "score":
            counts[start:end] += 1
            if (twice := np.flatnonzero(counts > 1)).size:
                sentence = f"by its own events position {twice[0]} is scored again (event {number})"
                yield Finding(
                    "events", "violated", ("E4",), sentence, {"event": number, "positions": twice[:8].tolist()}
                )
                return
        elif (early := start + np.flatnonzero(counts[start:end] == 0)).size:
            sentence = f"by its own events position {early[0]} is learned from before its score (event {number})"
            conditions = ("E3",) if counts.any() else ("E6", "E3")
            yield Finding(
                "events", "violated", conditions, sentence, {"event": number, "positions": early[:8].tolist()}
            )
            return
        trained = trained or kind == "train"
    if trained and given[-1][0] == "train":
        sentence = "by its own events it learns after its last score, which could not matter"
        yield Finding("events", "violated", ("E5",), sentence, {"event": len(given) - 1})
        return
    yield Finding("events", "kept", ("E3", "E4", "E5"), f"its {len(given)} events are in a legal order")


CHECKS: tuple[Callable[[Observed], Iterator[Finding]], ...] = (
    runs, coverage, totals, deterministic, future, distributions, documents, rank_count, training, events,
)  # fmt: skip
