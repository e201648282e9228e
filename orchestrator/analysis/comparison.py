"""Verdicts on a sweep's configurations: against its own baseline, another sweep's, or a published record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from orchestrator.analysis.sweep_table import baseline_of, ranking_of, rows_of, table_of
from orchestrator.output import console_for, print_rows, say
from orchestrator.search.race_state import is_paired, rule_of
from orchestrator.space.configuration import label
from orchestrator.space.sections import Compare
from orchestrator.sweep.imported import find_import
from orchestrator.sweep.sweep import Sweep, find_sweep
from results.rows.ranking import Measure, Ranking, unit_of
from results.rows.tables import breaches_of, per_configuration, why_none_is_ranked
from results.verdicts.compare import compare
from results.verdicts.measured import compare_measured
from results.verdicts.published_records import record_losses
from results.verdicts.race_verdicts import race_verdicts
from results.verdicts.seed_ledger import SeedOutcome
from results.verdicts.terms import Blocks, Evidence, Terms
from results.verdicts.verdict import SCORE_IN, Unit, Verdict, other_order
from trainer.spec.errors import UserError, did_you_mean


def demand_race_terms(sweep: Sweep, terms: Compare) -> None:
    """Raises UserError for other thresholds than the race was run for."""
    rule, unit = rule_of(sweep.space, paired=False), sweep.space.compare.unit
    if terms == sweep.space.compare or (terms.margin, terms.unit, terms.alpha) == (rule.margin, unit, rule.alpha):
        return
    raise UserError(
        f"sweep '{sweep.name}' raced for a margin of {rule.margin:g} {unit} at alpha = {rule.alpha:g}: who got more "
        "seeds was decided by these, so they cannot answer for other thresholds. Change `stopping` in its file and "
        "sweep again (finished runs are not paid twice), or put the winner to a fixed number of fresh seeds: "
        f"{sweep.command('confirm')}"
    )


def verdicts_of_race(
    sweep: Sweep, frame: pd.DataFrame, reference: str | pd.DataFrame, evidence: Evidence
) -> list[Verdict]:
    """Against its own baseline the race decides; any other baseline is compared on the seeds that each arm has."""
    state, space = sweep.state(), sweep.space
    race = state.race
    assert race is not None
    rule = rule_of(space, is_paired(space, state.configurations, state.records))
    own = reference if isinstance(reference, str) else ""
    if own == sweep.asked()[0].id:
        return race_verdicts(frame, race, own, rule, space.compare.unit, evidence, sweep.blocks)
    arms = [config for config in race.seeds if config != own]
    verdicts = []
    for config in arms:
        num_seeds = min(race.seeds[config], race.seeds.get(own, race.seeds[config]))
        verdicts += compare(
            frame[frame["config"].isin([config, own])],
            reference,
            Terms(rule.margin, space.compare.unit, rule.alpha, blocks=sweep.blocks),
            replace(evidence, seeds=space.seeds[:num_seeds], exploratory=True, looked_at=(), family=len(arms)),
        )
    return verdicts


MOST_LISTED_SEEDS = 20


OTHER_TEXT = "These runs were scored on another text than the record's, so the difference says little."


def verdict_lines(sweep: Sweep, frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The description of the search space, and the verdict on the best configuration in words."""
    lines = [sweep.space.description or sweep.name]
    verdicts = {verdict.config: verdict for verdict in verdicts_of(sweep, frame)}
    if why := why_none_is_ranked(table, breaches_of(frame, ranking_of(sweep))):
        return [*lines, f"verdict: cannot say, {why}."]
    ranked = table[table["rank"].notna() & ~table["is_baseline"]]
    best = str(ranked.iloc[0]["config"])
    asked = {item.id: item for item in sweep.asked()}
    lines.append(f"best configuration by {ranking_of(sweep).axis} {best}: {label(asked[best], sweep.space)}")
    if note := other_order(ranking_of(sweep)):
        lines.append(note)
    verdict = replace(verdicts[best], config="it", baseline="the baseline", settle=sweep.command("confirm"))
    lines.append(f"verdict: {verdict.sentence}")
    lines.append(f"its {seed_line(sweep, best)}")
    return [*lines, f"the baseline's {seed_line(sweep, baseline_of(sweep))}"]


def print_comparison(
    sweep: Sweep,
    store: Path,
    baseline: str | None,
    margin: float | None,
    unit: Unit | None,
    alpha: float | None,
    format: str,
    exact: bool = False,
) -> None:
    """A verdict for every configuration, in the order of the ranking; those that are not ranked follow.

    exact:  take the baseline's mean, or the number that stands for it, as exact
    """
    frame, terms = rows_of(sweep), _terms(sweep.space.compare, margin, unit, alpha)
    reference = reference_of(sweep, baseline or baseline_of(sweep), store, exact)
    if exact:
        verdicts = verdicts_against_exact(sweep, frame, terms, reference)
    else:
        assert not isinstance(reference, float)
        verdicts = verdicts_of(sweep, frame, terms, reference)
    order = {config: place for place, config in enumerate(table_of(sweep, frame)["config"])}
    verdicts = sorted(verdicts, key=lambda verdict: order[verdict.config])
    if format == "json":
        print_rows(
            asdict(verdict) | {"headline": verdict.headline, "sentence": verdict.sentence} for verdict in verdicts
        )
        return
    console = console_for()
    if is_foreign(sweep, baseline):
        console.print(OTHER_TEXT, style="yellow", soft_wrap=True)
    if note := other_order(ranking_of(sweep)):
        say(console, note)
    asked = {item.id: item for item in sweep.asked()}
    for verdict in verdicts:
        console.print(f"{verdict.headline.upper()}  {label(asked[verdict.config], sweep.space)}", style="bold")
        say(console, verdict.sentence)
        say(console, seed_line(sweep, verdict.config), "dim")
        if verdict.assumption:
            say(console, f"assumes: {verdict.assumption}", "dim")


def is_foreign(sweep: Sweep, baseline: str | None) -> bool:
    """Whether the baseline is a published record while the sweep's text is not the challenge's."""
    return (baseline or "").startswith("record:") and sweep.space.base.data.source != "shards"


def _terms(asked: Compare, margin: float | None, unit: Unit | None, alpha: float | None) -> Compare:
    if unit not in (None, asked.unit) and margin is None:
        raise UserError(f"--unit {unit} needs --margin too: the sweep's margin of {asked.margin:g} is in {asked.unit}")
    return asked.changed(margin, unit, alpha)


def verdicts_of(
    sweep: Sweep, frame: pd.DataFrame, terms: Compare | None = None, reference: str | pd.DataFrame | None = None
) -> list[Verdict]:
    """A verdict for every configuration, in a race on the seeds that it ran.

    terms:      by default those of the search space
    reference:  a configuration of this sweep or rows of another one, as `reference_of` returns; by default the baseline
    """
    reference = baseline_of(sweep) if reference is None else reference
    terms = terms or sweep.space.compare
    if sweep.space.race:
        demand_race_terms(sweep, terms)
        verdicts = verdicts_of_race(sweep, frame, reference, evidence_of(sweep, frame))
    else:
        verdicts = compare(frame, reference, terms_of(terms, sweep.blocks), evidence_of(sweep, frame))
    return [replace(verdict, settle=sweep.command("confirm", "--config", verdict.config)) for verdict in verdicts]


def verdicts_against_exact(
    sweep: Sweep, frame: pd.DataFrame, terms: Compare, reference: str | pd.DataFrame | float
) -> list[Verdict]:
    """The same against a mean that is taken as exact: a weaker claim, the contest's own. Raises UserError in a race."""
    if sweep.space.race:
        raise UserError(f"--exact: sweep '{sweep.name}' raced against its own baseline, which decides")
    asked, evidence = replace(terms_of(terms, sweep.blocks), exact_baseline=True), evidence_of(sweep, frame)
    if not isinstance(reference, float):
        return compare(frame, reference, asked, evidence)
    column = SCORE_IN[terms.unit]
    return compare_measured(frame, reference, Measure(column, unit_of(column)), asked, evidence)


def _family(sweep: Sweep) -> int:
    """Configurations that will have been compared when the sweep is complete; equal ones are one."""
    asked = [item for item in sweep.asked() if item.rung == 1]
    to_come = max(0, (sweep.space.num_configurations or 0) - (len(asked) - 1))
    return len({item.id for item in asked} - {asked[0].id}) + to_come


def terms_of(compare: Compare, blocks: Blocks) -> Terms:
    """The terms of the test, as the search space file asks for them, and what pairs the runs of this sweep."""
    return Terms(compare.margin, compare.unit, compare.alpha, variance=compare.variance, blocks=blocks)


def evidence_of(sweep: Sweep, frame: pd.DataFrame) -> Evidence:
    """The declared seeds, how they were chosen, the objections of the seed ledger, and who is infeasible."""
    recorded: dict[str, set[int]] = {item.id: set() for item in sweep.asked()}
    for config, seed in zip(frame["config"], frame["seed"], strict=True):
        recorded.setdefault(config, set()).add(seed)
    ledger = sweep.ledger
    objections = {config: ledger.objection(sweep.name, config, seeds) for config, seeds in recorded.items()}
    return Evidence(
        seeds=sweep.space.seeds,
        exploratory=sweep.space.exploratory,
        objections={config: objection for config, objection in objections.items() if objection},
        breaches=breaches_of(frame, ranking_of(sweep)),
        looked_at=[config for config in recorded if ledger.extended(sweep.name, config)],
        family=_family(sweep),
    )


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


def reference_of(sweep: Sweep, baseline: str, store: Path, exact: bool = False) -> str | pd.DataFrame | float:
    """A configuration of this sweep, the best of another one, a published record, or with `exact` a number."""
    known = [item.id for item in sweep.asked()]
    if baseline in known:
        return baseline
    reference = external_reference(baseline, store, exact)
    if reference is None:
        raise UserError(
            f"--baseline {baseline} is no configuration of sweep '{sweep.name}'{did_you_mean(baseline, known)}; "
            f"known: {', '.join(known)}; or sweep:NAME (its best), record:PR, record:frontier, or a number with --exact"
        )
    return reference


def external_reference(baseline: str, store: Path, exact: bool) -> pd.DataFrame | float | None:
    """The rows that `record:NAME` or `sweep:NAME` names, a number as it is, or None for anything else.

    exact:  whether it was said that the baseline is taken as exact; a number alone has no spread
    """
    kind, colon, name = baseline.partition(":")
    if colon and kind == "record":
        return record_losses(name)
    if colon and kind == "sweep":
        other = find_import(store, name)
        if other is not None:
            return _best_rows(name, other.frame, other.ranking)
        sweep = find_sweep(store, name)
        return _best_rows(name, rows_of(sweep), ranking_of(sweep))
    try:
        number = float(baseline)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    if not exact:
        raise UserError(
            f"--baseline {baseline} is a number, which has no runs and no spread; take it as exact: --exact"
        )
    return number


def _best_rows(name: str, rows: pd.DataFrame, ranking: Ranking) -> pd.DataFrame:
    table = per_configuration(rows, ranking)
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        why = why_none_is_ranked(table, breaches_of(rows, ranking))
        raise UserError(f"sweep '{name}' cannot be compared with: {why}")
    return rows[rows["config"] == str(ranked.iloc[0]["config"])]
