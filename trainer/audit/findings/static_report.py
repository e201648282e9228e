"""What a static audit says, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from trainer.audit.findings.finding import Finding
from trainer.spec.printable import printable

Verdict = Literal["illegal", "illegal when switched on", "no breach found", "cannot tell"]


@dataclass(frozen=True)
class StaticReport:
    """The audit of one script."""

    file: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]
    """Why it cannot tell, or not for sure."""
    layers: int
    """Wrappers that were opened; lines are then those of the source inside."""
    lines: int
    code_bytes: int
    scores: tuple[int, ...]
    """Lines whose evaluations are the score."""
    remarks: tuple[str, ...] = ()
    """What is no breach, but worth a sentence."""

    @property
    def is_illegal(self) -> bool:
        """Whether a breach was found that the script's own defaults switch on."""
        return self.verdict == "illegal"


def rows_of(report: StaticReport) -> list[dict[str, Any]]:
    """One row per finding; one without a line if there is none."""
    common = {
        "file": report.file,
        "verdict": report.verdict,
        "reasons": list(report.reasons),
        "unwrapped_layers": report.layers,
        "code_bytes": report.code_bytes,
        "score_lines": list(report.scores),
        "remarks": list(report.remarks),
    }
    return [common | _row(finding) for finding in report.findings] or [common | _row(None)]


def _row(finding: Finding | None) -> dict[str, Any]:
    if finding is None:
        nothing = dict.fromkeys(("rule", "line", "in_file", "condition", "confidence", "finding", "detail", "clears"))
        return nothing | {"conditions": [], "rulings": [], "only_when": [], "called_from": [], "evidence_lines": []}
    return {
        "rule": finding.rule.name,
        "line": finding.place.line,
        "in_file": finding.place.file,
        "condition": finding.rule.conditions[0],
        "confidence": finding.confidence,
        "finding": finding.rule.sentence,
        "detail": finding.detail,
        "clears": finding.rule.clears,
        "conditions": list(finding.rule.conditions),
        "rulings": list(finding.rule.rulings),
        "only_when": list(finding.only_when),
        "called_from": [place.line for place in finding.calls],
        "evidence_lines": [place.line for place in finding.evidence],
    }


def lines_of(report: StaticReport) -> Iterator[str]:
    """The report as text."""
    where = (
        f" (lines of the source inside {report.layers} wrapper{'s' if report.layers > 1 else ''})"
        if report.layers
        else ""
    )
    yield printable(f"{report.file}: {report.verdict}{where}")
    for finding in report.findings:
        yield ""
        others = ", ".join(finding.rule.conditions[1:])
        also = f", with it {others}" if others else ""
        yield printable(
            f"  {finding.place.file}:{finding.place.line}  {finding.rule.conditions[0]}{also}  {finding.rule.name}, "
            f"confidence {finding.confidence}"
        )
        yield printable(f"    {finding.rule.sentence}: {finding.detail}")
        if finding.calls:
            yield printable(
                f"    reached by the calls in lines {', '.join(str(place.line) for place in finding.calls)}"
            )
        for setting in finding.only_when:
            yield printable(f"    only when a setting differs from its default: {setting}")
        yield printable(f"    cleared by: {finding.rule.clears}")
        yield printable(f"    stands on: {', '.join(finding.rule.rulings)}, docs/recipe.md 1.4")
    if report.findings and report.reasons:
        yield ""
    for reason in report.reasons:
        yield printable(f"  not followed: {reason}")
    for remark in report.remarks:
        yield printable(f"  note: {remark}")
    if report.verdict == "no breach found":
        lines = ", ".join(str(line) for line in report.scores)
        plural = "s" if len(report.scores) > 1 else ""
        yield printable(
            f"  scores are taken in line{plural} {lines}; nothing that scores them learned from their tokens before"
        )
        yield "  not followed: what the model computes within a forward pass; orchestrator audit-evaluator runs it"
