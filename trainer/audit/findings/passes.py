"""Whether scores that were chosen among are repeated passes of one evaluation, or finished scores of several."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.audit.facts.trace import Evaluation, Reported, Trace


def takes_the_best(trace: Trace, report: Reported, line: str) -> bool:
    """Whether a choice made at a line takes the best of several scores of the same tokens.

    Among finished scores it does so only where one evaluation was repeated with the same weights. A choice made while
    training goes on is a log.
    """
    if _is_log(trace, report):
        return False
    finished = f"finished:{line}" in report.marks
    return any(not finished or _is_repeated(trace, one, two) for one, two in _pairs(trace, report))


def reports_the_lower(trace: Trace, report: Reported) -> int | None:
    """The line where one of several finished scores is chosen to be reported; None if there is none."""
    for mark in sorted(report.marks):
        name, _, line = mark.partition(":")
        several = name == "finished" and not _is_log(trace, report) and any(_pairs(trace, report))
        if several and not takes_the_best(trace, report, line):
            return int(line)
    return None


def _is_log(trace: Trace, report: Reported) -> bool:
    learned = (one.time for one in trace.updates if any(part.source == "train" for part in one.tokens))
    return min(trace.evaluations[score].time for score in report.scores) < max(learned, default=0)


def _pairs(trace: Trace, report: Reported) -> Iterator[tuple[Evaluation, Evaluation]]:
    """Evaluations of the same tokens at different times."""
    chosen = sorted((trace.evaluations[score] for score in report.scores), key=lambda one: one.time)
    for i, two in enumerate(chosen):
        for one in chosen[:i]:
            if one.time != two.time and any(part.overlaps(other) for part in one.tokens for other in two.tokens):
                yield one, two


def _is_repeated(trace: Trace, one: Evaluation, two: Evaluation) -> bool:
    """Whether one evaluation was repeated by the same weights, in a loop that no token depends on."""
    data = {abs(loop) for part in (*one.tokens, *two.tokens) for loop, _ in part.at}
    earlier, later = dict(one.loops), dict(two.loops)
    passes = [loop for loop in earlier if loop in later and earlier[loop] != later[loop] and loop not in data]
    if not passes or (one.place, one.calls) != (two.place, two.calls):
        return False
    before, after = _sources(trace, one), _sources(trace, two)
    return before == after and bool(before or one.objects & two.objects)


def _sources(trace: Trace, score: Evaluation) -> frozenset[int]:
    """What the weights that scored were loaded from last."""
    loads = [load for load in trace.loads if load.time < score.time and load.objects & score.objects and not load.adds]
    return loads[-1].sources - score.objects if loads else frozenset()
