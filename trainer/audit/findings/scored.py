"""Which evaluations of a script make up its score, and which updates reach them: by weights, and by tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trainer.audit.effects.positions import counted
from trainer.audit.facts.tokens import OWN, Tokens
from trainer.audit.facts.trace import Evaluation, Load, Reported, Saved, Trace, Update

MOST_COPIES = 4
"""How often weights that are copied from one model to the next are followed."""
MOST_LEFT = 1 << 17
"""Tokens at the end of a text that a loop may leave out and still have gone through it."""


def scores_of(trace: Trace) -> list[Evaluation]:
    """The evaluations that are part of the score: those turned into bits, else those recorded."""
    levels = trace.reported
    for least in (2, 1):
        chosen = [
            counted(trace, number, one) for number, one in trace.evaluations.items() if levels.get(number, 0) >= least
        ]
        if least == 1 and any(not one.with_gradient for one in chosen):
            chosen = [one for one in chosen if not one.with_gradient]
        if chosen:
            return chosen
    return []


def affects(trace: Trace, update: Update | Load, score: Evaluation) -> bool:
    """Whether what learned, or got other weights, is what scored later, and was not replaced in between."""
    if update.time >= score.time or not update.happens_with(score):
        return False
    if not update.objects:
        return True
    loads = [load for load in trace.loads if load.off <= update.off | score.off]
    return any(_reaches(loads, update, number, score.time, MOST_COPIES) for number in score.objects)


def _reaches(every: list[Load], update: Update | Load, number: int, before: int, depth: int) -> bool:
    loads = [load for load in every if number in load.objects and load.time < before]
    last = max((load.time for load in loads if not load.adds), default=-1)
    if number in update.objects and (last < update.time or update in loads):
        return True
    return depth > 0 and any(
        update.time < load.snapshot and _reaches(every, update, source, load.snapshot, depth - 1)
        for load in loads
        if load.time >= last
        for source in load.sources
        if source != number or load.is_copy  # its own weights, packed and read again
    )


def overlap(trace: Trace, update: Update, score: Evaluation, *, surely: bool = False) -> bool:
    """Whether an update saw tokens that are scored; surely: as told by parts that are followed exactly."""
    around = {loop for loop, _ in score.loops}
    learned = [
        replace(part, reach=None) if part.reach is not None and part.reach[0] in around else part
        for part in update.tokens
        if part.source == "val" and not (surely and part.is_rough)
    ]
    own = [part for part in targets_of(score) if not (surely and part.is_rough)]
    within = {loop for loop, _ in update.loops}
    over = [part for part in learned if part.reach is not None and part.reach[0] in within and not within & around]
    if any(_goes_through(trace, part) for part in over) and any(part.source == "val" for part in own):
        return True
    return any(part.overlaps(other) for part in learned for other in own)


def _goes_through(trace: Trace, part: Tokens) -> bool:
    """Whether a loop has gone through the text from its first tokens to its last ones, without a gap.

    Told by the second of its parts: it begins where the first one ended, which began with the text.
    """
    if part.reach is None or (part.reach[0], 1) not in part.at or part.piece or part.is_within or part.loose:
        return False
    ends = dict(part.reach[1].terms)
    behind = ends.pop((), 0)
    to_the_end = [trace.text_ends.get(name) for (name, *more), factor in ends.items() if not more and factor == 1]
    if part.low is None or part.high is None or to_the_end != [0] or len(ends) > 1 or behind < -MOST_LEFT:
        return False
    twice = part.low.plus(part.low)
    gap = twice.plus(part.high, -1) if twice is not None else None
    return gap is not None and gap.value is not None and gap.value <= 1


def targets_of(score: Evaluation) -> Iterable[Tokens]:
    """The tokens that are scored, or the window in which they are."""
    return score.targets or [part for part in score.tokens if part.via in OWN]


def not_read_back(trace: Trace) -> tuple[Saved, Reported] | None:
    """What is written and not read, where the last score of the script is of the same model as it is in memory.

    Weights that were loaded since then may come from what was written, and are not told apart from it. An earlier score
    may be of what was read back.
    """
    reports = [report for report in trace.reports if not (report.off or report.loops)]
    if not reports:
        return None
    losses = _losses(trace, reports[-1])
    models = frozenset().union(*(one.objects for one in losses))
    saved = [one for one in trace.saved if one.objects & models]
    if not saved or not all(one.time > saved[-1].time for one in losses):
        return None
    read = [load for load in trace.loads if load.is_stored and not load.off]
    is_read = trace.is_read_back and not any(
        affects(trace, load, one) for load in read for report in reports[:-1] for one in _losses(trace, report)
    )
    loaded = any(load.time > saved[0].time and load.objects & models for load in trace.loads)
    return None if is_read or loaded else (saved[-1], reports[-1])


def counted_beside(trace: Trace, scored: Iterable[Evaluation]) -> tuple[Update, Saved, Evaluation] | None:
    """A table of training tokens that scores use, and that no file holds beside the trained weights."""
    trained = {number for one in trace.updates if one.kind == "step" for number in one.objects}
    for score in scored:
        files = [one for one in trace.saved if one.time < score.time and one.objects & trained]
        for update in trace.updates if files else ():
            filled = update.kind == "table" and {part.source for part in update.tokens} == {"train"}
            if filled and not any(_holds(trace, one, update) for one in files) and affects(trace, update, score):
                return update, files[-1], score
    return None


def _holds(trace: Trace, saved: Saved, update: Update) -> bool:
    """Whether a file holds what learned, or a model that it was copied to before."""
    reached = (_reaches(trace.loads, update, number, saved.time, MOST_COPIES) for number in saved.objects)
    return bool(saved.objects & update.objects) or any(reached)


def _losses(trace: Trace, report: Reported) -> list[Evaluation]:
    return [one for number in report.scores if (one := trace.evaluations[number]).is_loss]
