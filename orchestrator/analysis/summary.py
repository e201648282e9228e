"""Prints the results of a sweep: table, verdict, figure, scale. Reads records; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.analysis.comparison import verdict_lines
from orchestrator.analysis.speed import faster_of, labels_of
from orchestrator.analysis.sweep_table import (
    _width,
    as_text,
    ranking_of,
    rows_of,
    table_of,
    unranked_lines,
    warn_unreadable,
)
from orchestrator.search.pruner import rung_lines
from orchestrator.sweep.live import driven_s
from orchestrator.sweep.notes import read_plan
from orchestrator.sweep.sweep import Sweep
from results.rows.costs import in_words
from results.rows.layout import FIGURES, SCORES_FIGURE
from results.rows.machines import machine_lines, quarantined, read_machines
from results.rows.read import read_outcomes
from results.rows.render import render
from results.rows.tables import handling_lines, mean_bpb
from results.rows.text_scale import scale_lines, scored_text_lines
from trainer.spec.record import Record


def conclude(sweep: Sweep, console: Console, format: str) -> None:
    """The end of a sweep: with `json` the rows per configuration on stdout, else everything as text."""
    frame = rows_of(sweep)
    table = table_of(sweep, frame)
    if format == "json":
        print(render(table, "json"))
        return
    from results.figures.scores import (  # late: matplotlib, which only the end of a sweep draws with
        draw_scores,
        score_facts,
    )

    warn_unreadable(frame, console)
    console.print(as_text(sweep, table, _width(console)).rstrip("\n"), soft_wrap=True)
    for line in (
        *unranked_lines(sweep, frame),
        *handling_lines(frame, sweep.space.seeds),
        *machines_say(sweep),
        *rung_lines(sweep.space, sweep.state().pruning),
        "",
    ):
        console.print(line, soft_wrap=True)
    console.print(cost_table(sweep))
    for line in (
        "",
        *verdict_lines(sweep, frame, table),
        *(one.named(labels_of(sweep)).sentence for one in faster_of(sweep)),
    ):
        console.print(line, soft_wrap=True)
    records = sweep.records()
    for line in failure_lines(sweep, records):
        console.print(line, style="red", soft_wrap=True)
    done = next((record for record in records.values() if record.status == "done"), None)
    if done is None:
        return
    for line in ("", *scored_text_lines(frame)):
        console.print(line, soft_wrap=True)
    console.print("For scale, on the same text, in bits per byte:")
    for line in scale_lines(done.stages["val_text"].metrics, *_means(table, frame, sweep.space.seeds)):
        console.print(f"  {line}", soft_wrap=True)
    path = sweep.folder / FIGURES / SCORES_FIGURE
    path.parent.mkdir(exist_ok=True)
    draw_scores(score_facts(frame, sweep.space.swept_keys, ranking_of(sweep)), path)
    console.print(f"\nfigure  {path}", soft_wrap=True)
    console.print(f"rows    {sweep.command('table', '--per run')}", soft_wrap=True)


def _means(table: pd.DataFrame, frame: pd.DataFrame, seeds: Sequence[int]) -> tuple[float | None, float | None]:
    """Mean bits per byte of the baseline and of the best ranked other configuration, None where there is none."""
    ranked = table[table["rank"].notna()]
    arms = (ranked[ranked["is_baseline"]], ranked[~ranked["is_baseline"]])
    baseline, best = (None if arm.empty else mean_bpb(frame, str(arm.iloc[0]["config"]), seeds) for arm in arms)
    return baseline, best


def failure_lines(sweep: Sweep, records: Mapping[str, Record]) -> list[str]:
    """Each reason once, with the runs it ended, and how to try them again."""
    reasons: dict[str, list[str]] = {}
    for run_id, record in records.items():
        if record.status == "failed":
            reasons.setdefault(record.error, []).append(run_id)
    if not reasons:
        return []
    lines = [f"failed ({len(runs)}x, e.g. {runs[0]}): {reason}" for reason, runs in reasons.items()]
    return ["", *lines, f"once mended: {sweep.command('resume', '--retry-failed')}"]


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
    return machine_lines(read_machines(sweep.folder), sweep.space.base.budget.train_s is not None)


def cost_table(sweep: Sweep) -> Table | str:
    """Planned against actual, a line per stage and total."""
    table = Table(box=None, pad_edge=False)
    for head in ("", "planned", "actual"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    lines = in_words(read_outcomes(sweep.folder), read_plan(sweep.folder), driven_s(sweep.folder))
    for line in lines:
        table.add_row(*line)
    return table if lines else "no plan was kept when this sweep began"
