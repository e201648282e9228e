"""The report of a sweep: one HTML file that opens anywhere, for years, without a network.

What it says is in `chapters`, how it looks in `page` and its templates. A sweep of many thousand runs gives a page of
the same size: figures and tables hold so many configurations and say what they left out.
"""

from __future__ import annotations

from pathlib import Path

from results.chapters import CHAPTERS
from results.evidence import Evidence
from results.page import Page, page_html
from trainer.spec.record import now


def write_report(evidence: Evidence, path: Path) -> Path:
    """Writes the report and returns where it is; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(evidence), encoding="utf-8")
    return path


def report_html(evidence: Evidence) -> str:
    """The report as one HTML document."""
    page = Page(
        title=f"Sweep {evidence.name}",
        lead=evidence.question,
        standing=_standing(evidence),
        chapters=[chapter(evidence) for chapter in CHAPTERS],
        made_at=now(),
    )
    return page_html(page)


def _standing(evidence: Evidence) -> str:
    """'21 of 21 runs, 7 configurations, started 2026-01-01.'"""
    runs, total = len(evidence.frame), evidence.total_runs
    counted = f"{runs:,} runs" if total is None else f"{runs:,} of {total:,} runs"
    started = evidence.frame["started_at"].dropna()
    since = f", begun {_minute(started.min())} to {_minute(started.max())} UTC" if len(started) else ""
    return f"{counted} of {len(evidence.table):,} configurations{since}"


def _minute(timestamp: str) -> str:
    return timestamp[:16].replace("T", " ")
