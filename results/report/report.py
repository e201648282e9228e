"""The report of a sweep: one HTML file that opens anywhere, for years, without a network.

What it says is in `findings` and `costs`, how it looks in `page` and its templates. A sweep of many thousand runs
gives a page of the same size: figures and tables hold so many configurations and say what they left out.
"""

from __future__ import annotations

from pathlib import Path

from results.report import cost_chapters as costs
from results.report import findings
from results.report.first_screen import answer
from results.report.page import Page, page_html
from results.verdicts.sweep_results import SweepResults
from trainer.spec.printable import printable
from trainer.spec.record import now
from trainer.spec.units import human_count, human_time

CHAPTERS = (
    findings.verdict,
    findings.search_space,
    costs.plan,
    findings.ranking,
    findings.differences,
    findings.importance,
    findings.scatter,
    findings.curves,
    costs.spending,
    costs.machines,
    costs.failures,
    costs.reproduction,
)


def write_report(sweep: SweepResults, path: Path) -> Path:
    """Writes the report and returns where it is; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(sweep), encoding="utf-8")
    return path


def report_html(sweep: SweepResults) -> str:
    """The report as one HTML document."""
    page = Page(
        title=f"Sweep {sweep.name}",
        lead=sweep.description,
        standing=_standing(sweep),
        chapters=[chapter(sweep) for chapter in CHAPTERS],
        made_at=human_time(now()),
        answer=answer(sweep),
    )
    return printable(page_html(page))  # what reorders text would do so in a browser too


def _standing(sweep: SweepResults) -> str:
    """'21 of 21 runs of 7 configurations; the first began 2026-01-01 13:05 UTC, the last 2026-01-01 13:08 UTC'"""
    runs, total = len(sweep.frame), sweep.total_runs
    counted = human_count(runs, "run") if total is None else f"{runs:,} of {human_count(total, 'run')}"
    started = sweep.frame["started_at"].dropna()
    since = (
        f"; the first began {human_time(started.min())}, the last {human_time(started.max())}" if len(started) else ""
    )
    return f"{counted} of {human_count(len(sweep.table), 'configuration')}{since}"
