"""What is no breach, but worth a sentence: what no score shows, and what the script leaves open."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.audit.effects import clocks, size_limits
from trainer.audit.facts.trace import Evaluation, Trace, Update
from trainer.audit.findings.passes import reports_the_lower
from trainer.audit.findings.scored import affects, not_read_back, overlap, scores_of


def remarks(trace: Trace) -> Iterator[str]:
    """The sentences, in no order."""
    scored = scores_of(trace)
    yield from clocks.remarks(trace, scored)
    yield from size_limits.remarks(trace)
    for line in sorted({line for report in trace.reports if (line := reports_the_lower(trace, report)) is not None}):
        yield (
            f"line {line}: the lower of several finished scores is reported; each is a score of its own, so say "
            "all of them"
        )
    models = {number for one in scored for number in one.objects}
    saved = [one.place for one in trace.saved if one.objects & models]
    if saved and not trace.is_read_back and not_read_back(trace) is None:
        yield (
            f"line {saved[-1].line}: what is written here is never read back, so whether the score is that of the "
            "artifact is not told (E15)"
        )
    for line in sorted({update.place.line for update in trace.updates if _is_thrown_away(trace, update, scored)}):
        yield (
            f"line {line}: validation tokens are learned from before they are scored, by weights that no score uses "
            "(E6): no score changes; random tokens would do for a warm-up"
        )
    for line in sorted({update.place.line for update in trace.updates if _is_too_late(trace, update, scored)}):
        yield (
            f"line {line}: nothing keeps it from learning the last chunk too, after which nothing is scored (E5): no "
            "score changes, seconds are lost"
        )


def _is_thrown_away(trace: Trace, update: Update, scored: list[Evaluation]) -> bool:
    """Whether weights learned from validation tokens that are scored later, though not with them."""
    if update.kind == "table" or update.off or not update.objects:
        return False
    later = [one for one in scored if one.time > update.time and overlap(trace, update, one)]
    before = any(one.time < update.time and _shared(one, update) and overlap(trace, update, one) for one in scored)
    return bool(later) and not before and not any(affects(trace, update, one) for one in later)


def _is_too_late(trace: Trace, update: Update, scored: list[Evaluation]) -> bool:
    """Whether weights learn from each chunk behind its score, the last one included."""
    if update.kind == "table" or update.off:
        return False
    before = [one for one in scored if one.time < update.time and _shared(one, update) and overlap(trace, update, one)]
    return any(set(update.guards) <= set(one.guards) for one in before)


def _shared(score: Evaluation, update: Update) -> bool:
    """Whether both are in one iteration of a loop."""
    return bool(score.loops and update.loops) and score.loops[0] == update.loops[0]
