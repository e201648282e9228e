"""What stands behind the answer of a sweep: every verdict in full, seeds, assumptions, attempts, costs, scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.analysis.answer import Answer
from orchestrator.analysis.comparison import pairs_line
from orchestrator.analysis.sweep_table import baseline_of
from orchestrator.analysis.verdict_table import word_of
from orchestrator.output import say
from orchestrator.sweep.live import driven_s
from orchestrator.sweep.notes import read_plan
from orchestrator.sweep.sweep import Sweep
from results.rows.costs import UNKNOWN, in_words
from results.rows.read import read_outcomes
from results.rows.score_text import score_text
from results.rows.tables import mean_bpb
from results.rows.text_scale import scale_lines
from results.verdicts.seed_ledger import SeedOutcome
from trainer.spec.units import human_count

MOST_LISTED_SEEDS = 20


def print_explanation(answer: Answer, console: Console) -> None:
    """In the order of the table."""
    sweep = answer.sweep
    console.print()
    say(console, pairs_line(sweep, answer.verdicts), indent=0)
    for verdict in answer.verdicts:
        name = answer.name(verdict.config)
        console.print()
        console.print(
            f"{word_of(verdict)}: {name}  ({verdict.config})", style="bold", soft_wrap=not console.is_terminal
        )
        told = replace(verdict, config=name, baseline=answer.name(verdict.baseline))
        say(console, told.sentence)
        if verdict.bpb is not None:
            least = score_text(verdict.bpb.at_least, verdict.unit, signed=True)
            say(console, f"at least {least} with all configurations considered together")
        if verdict.config in answer.declared:
            declared = answer.declared[verdict.config]
            told = replace(declared, config=name, baseline=answer.name(declared.baseline))
            say(console, f"by the declared terms: {told.sentence}")
        say(console, seed_line(sweep, verdict.config), "dim")
        if verdict.assumption:
            say(console, f"assumes: {verdict.assumption}", "dim")
    console.print()
    say(console, f"the baseline's {seed_line(sweep, baseline_of(sweep))}", "dim", indent=0)
    console.print()
    console.print(cost_table(sweep))
    _print_scale(sweep, answer.frame, answer.table, console)


def _print_scale(sweep: Sweep, frame: pd.DataFrame, table: pd.DataFrame, console: Console) -> None:
    done = next((record for record in sweep.records().values() if record.status == "done"), None)
    if done is None or "val_text" not in done.stages:
        return
    ranked = table[table["rank"].notna()]
    arms = (ranked[ranked["is_baseline"]], ranked[~ranked["is_baseline"]])
    means = (None if arm.empty else mean_bpb(frame, str(arm.iloc[0]["config"]), sweep.space.seeds) for arm in arms)
    console.print("\nFor scale, on the same text, in bits per byte:")
    for line in scale_lines(done.stages["val_text"].metrics, *means):
        console.print(f"  {line}", soft_wrap=True)


def cost_table(sweep: Sweep) -> Table | str:
    """Planned against actual, a line per stage and total."""
    table = Table(box=None, pad_edge=False)
    for head in ("", "planned", "actual"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    lines = _cost_lines(sweep)
    for line in lines:
        table.add_row(*line)
    return table if lines else "no plan is kept of this sweep"


def cost_line(sweep: Sweep) -> str:
    """'computed 48 stages in 12 min 45 s; planned <= 7 min 26 s'; empty where nothing was planned or computed."""
    lines = {name: (planned, actual) for name, planned, actual in _cost_lines(sweep)}
    (_, stages), (planned, actual) = lines.get("stages computed", ("", "")), lines.get("computing", ("", ""))
    if actual in ("", UNKNOWN):
        return ""
    return f"computed {human_count(int(stages), 'stage')} in {actual}" + (
        f"; planned {planned}" if planned != UNKNOWN else ""
    )


def _cost_lines(sweep: Sweep) -> Sequence[tuple[str, str, str]]:
    return in_words(read_outcomes(sweep.folder), read_plan(sweep.folder), driven_s(sweep.folder))


def seed_line(sweep: Sweep, config: str) -> str:
    """'seeds: 1337 done, 42 failed; in sweep ttt-2: 7 done': every seed declared for it, with its outcome."""
    by_sweep: dict[str, list[SeedOutcome]] = {sweep.name: []}
    for outcome in sweep.ledger.outcomes([config]):
        by_sweep.setdefault(outcome.sweep, []).append(outcome)
    own = _outcomes(by_sweep.pop(sweep.name)) or "none declared"
    return "; ".join([f"seeds: {own}", *(f"in sweep {name}: {_outcomes(others)}" for name, others in by_sweep.items())])


def _outcomes(seeds: Sequence[SeedOutcome]) -> str:
    """Seed by seed; of many only how many ended how."""
    if len(seeds) <= MOST_LISTED_SEEDS:
        return ", ".join(f"{one.seed} {one.outcome}" for one in seeds)
    counts = Counter(one.outcome for one in seeds)
    return f"{len(seeds)} declared, of which " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
