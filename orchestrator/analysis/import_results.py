"""What came out of runs that were imported: the verdicts, and everything a report or a notebook shows.

Nothing was declared before these runs, so there is no seed ledger, no declared margin and no declared family: a p-value
holds if neither configurations nor seeds were chosen by these very scores, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import pandas as pd
from rich.console import Console

from orchestrator.analysis.comparison import external_reference
from orchestrator.analysis.named_configuration import BASELINE
from orchestrator.analysis.verdict_table import MOST_SHOWN, reason_lines, verdict_table, warning_lines
from orchestrator.output import PIPED_WIDTH, console_for, print_rows, say
from orchestrator.sweep.imported import ImportedSweep
from results.rows.tables import breaches_of, per_configuration
from results.verdicts.arms import seed_words
from results.verdicts.measured import compare_measured, knows_both_scores
from results.verdicts.policies import Acceptance, accept, policy_of
from results.verdicts.sweep_results import SweepResults
from results.verdicts.terms import Blocks, Evidence, Terms
from results.verdicts.verdict import SCORE_IN, Unit, Verdict
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.units import human_time

CAVEAT = (
    "Imported: nothing was declared before these runs. A p-value holds if neither the configurations nor the seeds "
    "were chosen by these scores."
)
ALPHA = 0.01


def verdicts_of_import(
    sweep: ImportedSweep,
    frame: pd.DataFrame,
    reference: str | pd.DataFrame | float | None = None,
    margin: float = 0.0,
    unit: Unit | None = None,
    alpha: float = ALPHA,
    exact: bool = False,
) -> list[Verdict]:
    """A verdict for every configuration but the baseline, in the order of the file.

    margin:  in the unit of the imported metric; of scores also in `unit`, where both nats and bits per byte are known
    exact:   take the baseline's mean as exact
    """
    measure = sweep.measure
    if not margin >= 0:
        raise UserError(f"margin = {margin:g} must be at least 0")
    if not 0 < alpha < 1:
        raise UserError(f"alpha = {alpha:g} must lie between 0 and 1; usual: 0.01")
    own: Unit = "nats" if measure.column == "val_loss" else "bpb"
    if unit is not None and SCORE_IN[unit] != measure.column and not knows_both_scores(frame):
        raise UserError(
            f"--unit {unit}: sweep '{sweep.name}' compares {measure.measured}, and its rows do not have both val_loss "
            "and val_bpb to convert by; leave --unit out"
        )
    terms = Terms(margin, unit or own, alpha, exact_baseline=exact, blocks=sweep.header.blocks)
    baseline = sweep.header.baseline if reference is None else reference
    objections = _objections(frame, baseline, sweep.header.blocks)
    evidence = Evidence(own_seeds=True, breaches=breaches_of(frame, sweep.ranking), objections=objections)
    verdicts = compare_measured(frame, baseline, measure, terms, evidence)
    unchecked = own == "nats" and isinstance(baseline, pd.DataFrame) and not knows_both_scores(frame)
    return [replace(one, assumption=f"{one.assumption}; {ONE_TOKENIZER}") if unchecked else one for one in verdicts]


ONE_TOKENIZER = "both have one tokenizer, since nats are per token, which cannot be checked without val_bpb"


def _objections(frame: pd.DataFrame, baseline: str | pd.DataFrame | float, blocks: Blocks) -> dict[str, str]:
    """Configurations of which some runs would count for nothing, and why; nothing is dropped in silence."""
    running = frame[frame["status"] == "running"].groupby("config")["seed"].agg(list)
    objections = {str(config): f"{config} has yet to finish {seed_words(seeds)}" for config, seeds in running.items()}
    if blocks == "none" or isinstance(baseline, float):
        return objections
    theirs = frame[frame["config"] == baseline] if isinstance(baseline, str) else baseline
    for column in ("artifact", "seed") if blocks == "seed" and isinstance(baseline, str) else ("artifact",):
        of_baseline = set(theirs[column].dropna())
        for config, ours in frame.groupby("config")[column]:
            mine = set(ours.dropna())
            if 0 < len(mine & of_baseline) < max(len(mine), len(of_baseline), len(ours)):
                objections.setdefault(
                    str(config),
                    f"{config} shares {len(mine & of_baseline)} {column}s with the baseline and not all, so runs "
                    "without a pair would count for nothing; import with --blocks none",
                )
            elif column == "artifact" and mine & of_baseline:
                objections.setdefault(str(config), "")  # paired by artifact: its seeds pair nothing
    return {config: words for config, words in objections.items() if words}


def reference_of_import(sweep: ImportedSweep, baseline: str | None, exact: bool) -> str | pd.DataFrame | float | None:
    """What `--baseline` names: a configuration, another sweep, a record, or a number."""
    if baseline is None or baseline in sweep.configs:
        return baseline
    if baseline == BASELINE:
        return sweep.header.baseline
    reference = external_reference(baseline, sweep.store, exact, sweep.name, sweep.measure.column)
    if reference is None:
        known = ", ".join(sweep.configs[:5])
        raise UserError(
            f"--baseline {baseline} is no configuration of sweep '{sweep.name}'"
            f"{did_you_mean(baseline, sweep.configs)}; known: {known}; or sweep:NAME (its best), record:PR, "
            "record:frontier, or a number with --exact"
        )
    return reference


def print_import_comparison(
    sweep: ImportedSweep,
    baseline: str | None,
    margin: float | None,
    unit: Unit | None,
    alpha: float | None,
    exact: bool,
    format: str,
) -> None:
    """A line for every configuration in the order of the ranking, and the best one in words."""
    frame = sweep.frame
    reference = reference_of_import(sweep, baseline, exact)
    verdicts = verdicts_of_import(sweep, frame, reference, margin or 0.0, unit, alpha or ALPHA, exact)
    order = {config: place for place, config in enumerate(per_configuration(frame, sweep.ranking)["config"])}
    verdicts = sorted(verdicts, key=lambda verdict: order[verdict.config])
    if format == "json":
        print_rows(
            asdict(verdict) | {"headline": verdict.headline, "sentence": verdict.sentence} for verdict in verdicts
        )
        return
    console = console_for()
    if not verdicts:
        say(
            console,
            f"there is only one configuration, {sweep.header.baseline}; name what to compare it with: --baseline",
        )
        return
    scale: Unit = "nats" if sweep.measure.column == "val_loss" else "bpb"
    together = f"for all {len(verdicts)} together" if len(verdicts) > 1 else "for the one comparison"
    say(
        console,
        f"Gain in {sweep.measure.measured}, positive is better; alpha = {alpha or ALPHA:g} {together}.",
        indent=0,
    )
    console.print(verdict_table(verdicts, unit=scale), width=None if console.is_terminal else PIPED_WIDTH)
    if len(verdicts) > MOST_SHOWN:
        say(
            console,
            f"and {len(verdicts) - MOST_SHOWN:,} more: {sweep.command('compare', '--format', 'json')}",
            "dim",
            0,
        )
    for line in (*reason_lines(verdicts, said=verdicts[0].reason), *warning_lines(verdicts)):
        say(console, line, "dim", indent=0)
    console.print()
    _print_in_words(console, verdicts[0])
    say(console, CAVEAT, "dim")


def _print_in_words(console: Console, verdict: Verdict) -> None:
    console.print(f"{verdict.headline.upper()}  {verdict.config}", style="bold", soft_wrap=True)
    say(console, verdict.sentence)
    if verdict.t is not None:
        say(console, f"t = {verdict.t:.3f} with {verdict.df:.4g} degrees of freedom, p = {verdict.p:.3g}")
    if verdict.assumption:
        say(console, f"assumes: {verdict.assumption}", "dim")


def print_import_acceptance(sweep: ImportedSweep, policy: str, baseline: str | None, format: str) -> None:
    """What the policy says of every configuration, against its baseline or another incumbent."""
    answers = acceptances_of_import(sweep, policy, baseline)
    if format == "json":
        rows = [asdict(answer) | {"policy": answer.policy.name, "sentence": answer.sentence} for answer in answers]
        print_rows(rows)
        return
    console = console_for()
    for answer in answers:
        console.print(f"{answer.answer.upper()}  {answer.candidate}", style="bold", soft_wrap=True)
        say(console, answer.sentence)


def acceptances_of_import(sweep: ImportedSweep, policy: str, baseline: str | None) -> list[Acceptance]:
    """The answers of a policy, which compares bits per byte."""
    if "val_bpb" not in {name for row in sweep.rows for name in row}:
        raise UserError(f"--policy {policy} compares val_bpb, which sweep '{sweep.name}' does not have")
    frame, reference = sweep.frame, reference_of_import(sweep, baseline, exact=False)
    reference = sweep.header.baseline if reference is None else reference
    assert not isinstance(reference, float)
    incumbent = frame[frame["config"] == reference] if isinstance(reference, str) else reference
    others = [config for config in sweep.configs if config != reference]
    return [accept(policy_of(policy), frame[frame["config"] == config], incumbent) for config in others]


def load_import(sweep: ImportedSweep) -> SweepResults:
    """Everything that a report or a notebook shows of it."""
    frame, header = sweep.frame, sweep.header
    return SweepResults(
        name=sweep.name,
        description=header.description or f"Imported from {', '.join(file for file, _ in header.sources)}",
        frame=frame,
        ranking=sweep.ranking,
        verdicts=verdicts_of_import(sweep, frame),
        compared=sweep.measure,
        declared=False,
        labels={config: config for config in sweep.configs},
        swept_keys=header.knobs,
        terms=_terms(sweep),
        commands=(header.command, f"orchestrator report {sweep.name}") if header.command else (),
    )


def _terms(sweep: ImportedSweep) -> Mapping[str, str]:
    header, measure = sweep.header, sweep.measure
    words = {
        "Declared before the runs": CAVEAT.removeprefix("Imported: "),
        "Files": "; ".join(f"{file} (SHA-256 {digest[:12]})" for file, digest in header.sources),
        "Imported": human_time(header.created_at),
        "Judged by": f"{measure.measured}, {'higher' if measure.higher_first else 'lower'} is better",
        "Baseline": header.baseline,
        "Knobs": ", ".join(header.knobs),
        "Counts as better": f"any gain at alpha = {ALPHA:g}",
        "Pairs": {
            "artifact": "runs that share a training are compared in pairs, others are not",
            "seed": "runs that share a training or a seed are compared in pairs",
            "none": "no runs are compared in pairs",
        }[header.blocks],
        "Left out": "; ".join(header.notes),
    }
    return {name: word for name, word in words.items() if word}
