"""Findings that marks of a reported score tell: what was done to it, or what it was computed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainer.audit.facts.trace import Evaluation, Place, Reported, Trace
from trainer.audit.findings.audit_rules import RULES
from trainer.audit.findings.finding import Finding, finding_of
from trainer.audit.findings.passes import takes_the_best


def marked(trace: Trace) -> Iterator[Finding]:
    """What the marks of the reports say."""
    rules = {
        "keyed": ("target-keyed-lookup", "mixed into the score of the target"),
        "blend": (
            "unnormalised-mixture",
            "a target's log-probability, spread over its bytes, is mixed with that of bytes",
        ),
        "unnormalised": ("unnormalised-mixture", "the mixture is made"),
        "greater": ("unnormalised-mixture", "the larger of two probabilities is taken"),
        "powered": ("unnormalised-mixture", "powers of probabilities are multiplied and not divided by their sum"),
        "uneven": ("unnormalised-mixture", "counts are divided by a constant"),
        "filtered": ("tokens-dropped", "scores are left out"),
        "inner": ("tokens-dropped", "targets are left out where they, or the tokens before them, are BOS"),
        "clamped": ("scores-changed", "large scores are cut off"),
        "paid": ("stored-text", "scores are changed where stored text equals the target"),
        "equal": ("stored-text", "stored text is compared with the target, and decides over its score"),
        "fixed": ("bytes-miscounted", "a constant stands for the bytes of a token"),
        "gated": ("target-gate", "the condition on the target's score is asked"),
        "shaped": ("logits-by-target", "the logits are changed"),
        "told": ("target-gate", "the condition asks a table for the target"),
        "own": (
            "chunk-trained-before-score",
            "what weighs the scores learned from losses of the same targets",
        ),
        "chosen": ("best-of-passes", "the choice is made"),
    }
    for report in trace.reports:
        for mark in report.marks:
            name, _, line = mark.partition(":")
            if name == "inner" and any(other.startswith("outer:") for other in report.marks):
                continue
            if name not in rules or (name == "equal" and any(other[:5] == "paid:" for other in report.marks)):
                continue
            if name == "chosen" and not takes_the_best(trace, report, line):
                continue
            rule, what = rules[name]
            place = Place(report.place.file, int(line))
            yield Finding(RULES[rule], place, what, "high", tuple(sorted(report.off)), report.calls, (report.place,))
    val = [report for report in trace.reports if not report.off]
    for name, what in (
        ("cut:", "the text is cut to a fixed number of tokens, or to a share of them"),
        ("behind:", "a number of tokens at the text's beginning is left out"),
        ("drawn:", "windows are drawn at random"),
    ):
        found = [_of_all_scores(trace, report, name) for report in val]
        if val and all(found):
            place = Place(val[-1].place.file, int(found[-1][0].partition(":")[2]))
            yield Finding(RULES["tokens-dropped"], place, what, "medium", (), val[-1].calls, (val[-1].place,))


def chosen(scored: list[Evaluation]) -> Iterator[Finding]:
    """Scores that were computed with what another validation score chose."""
    for score in scored:
        for mark in sorted(score.marks):
            if mark.startswith("chosen:"):
                found = finding_of("selection-by-score", score, f"a validation score chose in line {mark[7:]}")
                yield found
                detail = f"what is chosen here by a validation score is used for the score of line {score.place.line}"
                place = score.place._replace(line=int(mark[7:]))
                yield replace(found, place=place, detail=detail, evidence=(score.place,))


def _of_all_scores(trace: Trace, report: Reported, name: str) -> list[str]:
    """Marks of a report of this kind; none where some of its scores were computed without one, some with."""
    marks = [mark for mark in report.marks if mark.startswith(name)]
    bearing = [
        any(mark.startswith(name) for mark in one.marks)
        for number in report.scores
        if (one := trace.evaluations[number]).is_loss
    ]
    return marks if all(bearing) or not any(bearing) else []
