"""Prints the end of a sweep: what went wrong, the answer, the figure. Reads records; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from orchestrator.analysis.answer import answer_of, print_answer
from orchestrator.analysis.explanation import cost_line
from orchestrator.analysis.speed import faster_of, labels_of
from orchestrator.analysis.sweep_table import ranking_of, readable_rows_of, table_of, warn_unreadable
from orchestrator.analysis.unread import unread_lines
from orchestrator.output import say
from orchestrator.search.pruner import rung_lines
from orchestrator.status.status import once_mended
from orchestrator.sweep.sweep import Sweep
from orchestrator.sweep.sweep_attempts import attempts_of
from results.rows.layout import FIGURES, SCORES_FIGURE
from results.rows.machines import machine_lines, quarantined, read_machines
from results.rows.render import render
from results.rows.row import kind_of_error
from results.rows.tables import handling_lines, same_score_lines
from results.rows.text_scale import scored_text_lines
from trainer.spec.record import Record
from trainer.spec.runnable import by_the_clock


def conclude(sweep: Sweep, console: Console, format: str) -> None:
    """The end of a sweep: with `json` the rows per configuration on stdout, else the answer, and what went wrong."""
    frame = readable_rows_of(sweep)
    table = table_of(sweep, frame)
    if format == "json":
        print(render(table, "json"))
        return
    from results.figures.scores import (  # late: matplotlib, which only the end of a sweep draws with
        draw_scores,
        score_facts,
    )

    warn_unreadable(frame, console)
    for line in (
        *handling_lines(frame, sweep.space.seeds, sweep.space.metric.name),
        *same_score_lines(table),
        *machines_say(sweep),
        *rung_lines(sweep.space, sweep.state().pruning),
    ):
        say(console, line, indent=0)
    say(console, cost_line(sweep), "dim", indent=0)
    for one in faster_of(sweep):
        say(console, one.named(labels_of(sweep)).sentence, indent=0)
    console.print()
    records = sweep.records()
    print_answer(answer_of(sweep, frame, table, attempts_of(sweep)), console)
    for line in failure_lines(sweep, records):
        say(console, line, "red", indent=0)
    for line in unread_lines(sweep.space, frame):
        say(console, line, "yellow", indent=0)
    if all(record.status != "done" for record in records.values()):
        return
    for line in scored_text_lines(frame):
        say(console, line, "dim", indent=0)
    path = sweep.folder / FIGURES / SCORES_FIGURE
    path.parent.mkdir(exist_ok=True)
    draw_scores(score_facts(frame, sweep.space.swept_keys, ranking_of(sweep)), path)
    say(console, f"figure:  {path}", indent=0)


def failure_lines(sweep: Sweep, records: Mapping[str, Record]) -> list[str]:
    """Each reason once, with the runs it ended, and how to try them again."""
    reasons: dict[str, list[str]] = {}
    for run_id, record in records.items():
        if record.status == "failed":
            reasons.setdefault(kind_of_error(record.error), []).append(run_id)
    if not reasons:
        return []
    lines = [f"failed ({len(runs)}x, e.g. {runs[0]}): {records[runs[0]].error}" for runs in reasons.values()]
    return ["", *lines, *once_mended(sweep)]


def stranded_lines(sweep: Sweep, total_runs: int) -> list[str]:
    """Why no machine may go on, and what to do."""
    machines = quarantined(sweep.folder)
    lines = [f"machine {name} is quarantined: {why}" for name, why in machines.items()]
    return [
        *lines,
        f"no other machine is left: {len(sweep.records())} of {total_runs} runs are kept. Elsewhere, or once mended:",
        f"  {sweep.command('resume', f'--trust {next(iter(machines))}')}",
    ]


def machines_say(sweep: Sweep) -> list[str]:
    """Quarantined machines, differences between machines, and unlike ones under a clock."""
    return machine_lines(read_machines(sweep.folder), by_the_clock(sweep.space.base))
