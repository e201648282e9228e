"""What a sweep says when people look at it: table, verdict, figure, scale. Reads records; runs nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.journal import Sweep, find_sweep
from orchestrator.kept_plan import read_plan
from orchestrator.output import console_for, print_rows, say
from orchestrator.overview import driven_s, label
from orchestrator.race_comparison import demand_race_terms, verdicts_of_race
from orchestrator.rungs import rung_lines
from results.compare import compare
from results.ledger import SeedFate
from results.machines import machine_lines, quarantined, read_machines
from results.reckoning import in_words
from results.records import record_losses
from results.render import render
from results.store import read_outcomes, read_rows
from results.tables import handling_lines, per_configuration, per_run
from results.verdict import Unit, Verdict
from results.yardsticks import scale_lines
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.record import Record

FIGURE = Path("figures") / "scores.png"
MOST_LISTED_SEEDS = 20
OTHER_TEXT = "These runs were scored on another text than the record's, so the difference says little."
PIPED_WIDTH = 140
"""Characters of a line where no terminal sets them."""


def rows_of(sweep: Sweep) -> pd.DataFrame:
    """The sweep's rows, in the order its configurations were asked."""
    return read_rows(sweep.folder, sweep.space.swept_keys, [asked.id for asked in sweep.asked()])


def conclude(sweep: Sweep, console: Console, format: str) -> None:
    """The end of a sweep: with `json` the rows per configuration on stdout, else everything a person wants."""
    frame = rows_of(sweep)
    table = table_of(sweep, frame)
    if format == "json":
        print(render(table, "json"))
        return
    from results.figures import draw_scores, score_facts  # late: matplotlib, which only the end of a sweep draws with

    warn_unreadable(frame, console)
    console.print(as_text(sweep, table, _width(console)).rstrip("\n"), soft_wrap=True)
    for line in (
        *handling_lines(frame, sweep.space.seeds),
        *machines_say(sweep),
        *rung_lines(sweep.space, sweep.ascent() if sweep.space.rungs else None),
        "",
    ):
        console.print(line, soft_wrap=True)
    console.print(reckoning_table(sweep))
    for line in (
        "",
        *verdict_lines(sweep, frame, table),
    ):
        console.print(line, soft_wrap=True)
    records = sweep.records()
    for line in failure_lines(sweep, records):
        console.print(line, style="red", soft_wrap=True)
    done = next((record for record in records.values() if record.status == "done"), None)
    if done is None:
        return
    console.print("\nFor scale, on the same text, in bits per byte:")
    for line in scale_lines(done.stages["val_text"].metrics, *_means(table)):
        console.print(f"  {line}", soft_wrap=True)
    path = sweep.folder / FIGURE
    path.parent.mkdir(exist_ok=True)
    draw_scores(score_facts(frame, sweep.space.swept_keys, baseline_of(sweep)), path)
    console.print(f"\nfigure  {path}", soft_wrap=True)
    console.print(f"rows    {sweep.command('table', '--per run')}", soft_wrap=True)


def as_text(sweep: Sweep, table: pd.DataFrame, width: int) -> str:
    """The table per configuration for people: the baseline is marked where it stands, constant keys are left out."""
    marked = table["config"].where(~table["is_baseline"], table["config"] + " (baseline)")
    constant = [key for key, item in sweep.space.parameters.items() if not item.varies]
    shown = table.assign(config=marked).drop(columns=["is_baseline", *constant], errors="ignore")
    return str(render(shown, "text", width))


def _width(console: Console) -> int:
    return console.width if console.is_terminal else PIPED_WIDTH


def baseline_of(sweep: Sweep) -> str:
    """Identity of the baseline: the first configuration asked."""
    asked = sweep.asked()
    if not asked:
        raise UserError(f"sweep '{sweep.name}' has asked nothing yet; go on with: {sweep.command('resume')}")
    return asked[0].id


def table_of(sweep: Sweep, frame: pd.DataFrame) -> pd.DataFrame:
    """The table per configuration, ranked as the question says: by its metric, within its constraints.

    In a race each configuration needs the seeds of its rounds alone.
    """
    metric = sweep.space.metric
    return per_configuration(
        frame,
        metric.name,
        baseline_of(sweep),
        sweep.space.seeds,
        enough=sweep.race().seeds if sweep.space.race else {},
        limits={name: (limit.min, limit.max) for name, limit in sweep.space.constraints.items()},
        higher_first=metric.goal == "maximize",
    )


def verdict_lines(sweep: Sweep, frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The question, and in words whether the best configuration answers it."""
    lines = [sweep.space.description or sweep.name]
    verdicts = {verdict.config: verdict for verdict in verdicts_of(sweep, frame)}
    ranked = table[table["rank"].notna() & ~table["is_baseline"]]
    if ranked.empty:
        return [*lines, "verdict: cannot say, no configuration beside the baseline is complete."]
    best = str(ranked.iloc[0]["config"])
    asked = {item.id: item for item in sweep.asked()}
    lines.append(f"best configuration {best}: {label(asked[best], sweep.space)}")
    told = replace(verdicts[best], settle=sweep.command("confirm"))
    sentence = told.sentence.replace(best, "it").replace(baseline_of(sweep), "the baseline")
    lines.append(f"verdict: {sentence}")
    lines.append(f"its {seed_line(sweep, best)}")
    return [*lines, f"the baseline's {seed_line(sweep, baseline_of(sweep))}"]


def verdicts_of(sweep: Sweep, frame: pd.DataFrame) -> list[Verdict]:
    """A verdict for every configuration on the terms of the question itself."""
    return _verdicts(sweep, frame, None, None, None, None, Path())


def print_table(sweep: Sweep, per: Literal["run", "config"], format: str) -> None:
    """The rows, per run or per configuration, in any format."""
    frame = rows_of(sweep)
    warn_unreadable(frame, console_for(stderr=True))
    width = _width(console_for())
    if per == "run":
        content = render(per_run(frame), format, width)
    else:
        table = table_of(sweep, frame)
        content = as_text(sweep, table, width) if format == "text" else render(table, format)
    if isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        print(content.rstrip("\n"))


def print_comparison(
    sweep: Sweep,
    store: Path,
    baseline: str | None,
    margin: float | None,
    unit: Unit | None,
    alpha: float | None,
    format: str,
) -> None:
    """A verdict for every configuration, best first."""
    frame = rows_of(sweep)
    verdicts = _verdicts(sweep, frame, baseline, margin, unit, alpha, store)
    verdicts = sorted(verdicts, key=lambda verdict: verdict.bpb.difference if verdict.bpb else float("inf"))
    if format == "json":
        print_rows(asdict(verdict) | {"sentence": verdict.sentence} for verdict in verdicts)
        return
    console = console_for()
    if is_foreign(sweep, baseline):
        console.print(OTHER_TEXT, style="yellow", soft_wrap=True)
    asked = {item.id: item for item in sweep.asked()}
    for verdict in verdicts:
        console.print(f"{verdict.conclusion.upper()}  {label(asked[verdict.config], sweep.space)}", style="bold")
        say(console, verdict.sentence)
        say(console, seed_line(sweep, verdict.config), "dim")
        if verdict.assumption:
            say(console, f"assumes: {verdict.assumption}", "dim")


def is_foreign(sweep: Sweep, baseline: str | None) -> bool:
    """Whether the baseline is a published record while the sweep's text is not the challenge's."""
    return (baseline or "").startswith("record:") and sweep.space.base.data.source != "shards"


def _verdicts(
    sweep: Sweep,
    frame: pd.DataFrame,
    baseline: str | None,
    margin: float | None,
    unit: Unit | None,
    alpha: float | None,
    store: Path,
) -> list[Verdict]:
    asked = sweep.space.compare
    if unit not in (None, asked.unit) and margin is None:
        raise UserError(f"--unit {unit} needs --margin too: the sweep's margin of {asked.margin:g} is in {asked.unit}")
    reference = baseline_of(sweep) if baseline is None else reference_of(sweep, baseline, store)
    terms = asked.changed(margin, unit, alpha)
    if sweep.space.race:
        demand_race_terms(sweep, terms)
        found = verdicts_of_race(sweep, frame, reference, ledger_says(sweep, frame)["objections"])
    else:
        found = compare(
            frame,
            reference,
            margin=terms.margin,
            unit=terms.unit,
            alpha=terms.alpha,
            exploratory=sweep.space.exploratory,
            seeds=sweep.space.seeds,
            family=_family(sweep),
            **ledger_says(sweep, frame),
        )
    return [replace(verdict, settle=sweep.command("confirm", "--config", verdict.config)) for verdict in found]


def _family(sweep: Sweep) -> int:
    """Configurations that will have been compared when the sweep is complete; equal ones are one."""
    asked = [item for item in sweep.asked() if item.rung == 1]
    to_come = max(0, (sweep.space.num_configurations or 0) - (len(asked) - 1))
    return len({item.id for item in asked} - {asked[0].id}) + to_come


def ledger_says(sweep: Sweep, frame: pd.DataFrame) -> dict[str, Any]:
    """What the seed ledger has against the seeds of each configuration."""
    recorded: dict[str, set[int]] = {item.id: set() for item in sweep.asked()}
    for config, seed in zip(frame["config"], frame["seed"], strict=True):
        recorded.setdefault(config, set()).add(seed)
    ledger = sweep.ledger
    objections = {config: ledger.objection(sweep.name, config, seeds) for config, seeds in recorded.items()}
    return {
        "objections": {config: objection for config, objection in objections.items() if objection},
        "looked_at": [config for config in recorded if ledger.extended(sweep.name, config)],
    }


def seed_line(sweep: Sweep, config: str) -> str:
    """'seeds: 1337 done, 42 failed; in sweep ttt-2: 7 done': every seed declared for it, with its outcome."""
    by_sweep: dict[str, list[SeedFate]] = {sweep.name: []}
    for fate in sweep.ledger.fate([config]):
        by_sweep.setdefault(fate.sweep, []).append(fate)
    own = _outcomes(by_sweep.pop(sweep.name)) or "none declared"
    return "; ".join([f"seeds: {own}", *(f"in sweep {name}: {_outcomes(fates)}" for name, fates in by_sweep.items())])


def _outcomes(fates: Sequence[SeedFate]) -> str:
    """Seed by seed; of many only how many ended how."""
    if len(fates) <= MOST_LISTED_SEEDS:
        return ", ".join(f"{fate.seed} {fate.outcome}" for fate in fates)
    counts = Counter(fate.outcome for fate in fates)
    return f"{len(fates)} declared, of which " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def reference_of(sweep: Sweep, baseline: str, store: Path) -> str | pd.DataFrame:
    """A configuration of this sweep, the baseline of another one, or a published record."""
    kind, colon, name = baseline.partition(":")
    if colon and kind == "record":
        return record_losses(name)
    if colon and kind == "sweep":
        other = find_sweep(store, name)
        rows = rows_of(other)
        return rows[rows["config"] == _best(other, rows)]
    known = [item.id for item in sweep.asked()]
    if baseline not in known:
        raise UserError(
            f"--baseline {baseline} is no configuration of sweep '{sweep.name}'{did_you_mean(baseline, known)}; "
            f"known: {', '.join(known)}; or sweep:NAME (its best), record:PR, or record:frontier"
        )
    return baseline


def _best(sweep: Sweep, rows: pd.DataFrame) -> str:
    table = table_of(sweep, rows)
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        raise UserError(f"sweep '{sweep.name}' has no complete configuration to compare with")
    return str(ranked.iloc[0]["config"])


def _means(table: pd.DataFrame) -> tuple[float | None, float | None]:
    """Mean scores of the baseline and of the best other configuration, None where there is none."""
    ranked = table[table["rank"].notna()]
    arms = (ranked[ranked["is_baseline"]], ranked[~ranked["is_baseline"]])
    baseline, best = (None if arm.empty else float(arm.iloc[0]["mean"]) for arm in arms)
    return baseline, best


def failure_lines(sweep: Sweep, records: Mapping[str, Record]) -> list[str]:
    """Each reason once, with the runs it ended, and how to try them again."""
    reasons: dict[str, list[str]] = {}
    for run_id, record in records.items():
        if record.status == "failed":
            reasons.setdefault(record.error, []).append(run_id)
    if not reasons:
        return []
    told = [f"failed ({len(runs)}x, e.g. {runs[0]}): {reason}" for reason, runs in reasons.items()]
    return ["", *told, f"once mended: {sweep.command('resume', '--retry-failed')}"]


def stranded_lines(sweep: Sweep, total_runs: int) -> list[str]:
    """Why no machine may go on, and what to do."""
    machines = quarantined(sweep.folder)
    told = [f"machine {name} is quarantined: {why}" for name, why in machines.items()]
    return [
        *told,
        f"no other machine is left: {len(sweep.records())} of {total_runs} runs are kept. Elsewhere, or once mended:",
        f"  {sweep.command('resume', f'--trust {next(iter(machines))}')}",
    ]


def machines_say(sweep: Sweep) -> list[str]:
    """Quarantined machines, differences between machines, and unlike ones under a clock."""
    return machine_lines(read_machines(sweep.folder), sweep.space.base.budget.train_s is not None)


def warn_unreadable(frame: pd.DataFrame, console: Console) -> None:
    """Names the records that could not be read; they are in no table."""
    for line in frame.attrs.get("unreadable", ()):
        console.print(f"left out: {line}", style="red", soft_wrap=True)


def reckoning_table(sweep: Sweep) -> Table | str:
    """Planned against actual, a line per stage and total."""
    table = Table(box=None, pad_edge=False)
    for head in ("", "planned", "actual"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    told = in_words(read_outcomes(sweep.folder), read_plan(sweep.folder), driven_s(sweep.folder))
    for line in told:
        table.add_row(*line)
    return table if told else "no plan was kept when this sweep began"
