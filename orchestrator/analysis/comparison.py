"""Verdicts on a sweep's configurations: against its own baseline, another sweep's, or a published record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from orchestrator.analysis.named_configuration import find_configuration, listed, words_of
from orchestrator.analysis.sweep_table import baseline_of, ranking_of, rows_of
from orchestrator.search.race_state import is_paired, measure_of, rule_of
from orchestrator.space.sections import Compare
from orchestrator.sweep.imported import find_import
from orchestrator.sweep.seed_blocks import ONE_ARTIFACT, BlocksChoice, blocks_line
from orchestrator.sweep.sweep import Sweep, find_sweep
from orchestrator.sweep.sweep_attempts import attempts_of, level_of
from results.rows.ranking import Measure, Ranking, unit_of
from results.rows.tables import breaches_of, per_configuration, why_none_is_ranked
from results.verdicts.attempts import Attempt, further_attempt
from results.verdicts.compare import compare
from results.verdicts.measured import as_score, compare_measured, in_its_unit
from results.verdicts.published_records import record_losses
from results.verdicts.race_verdicts import race_verdicts
from results.verdicts.terms import Evidence, Terms
from results.verdicts.verdict import OTHER_TERMS, SCORE_IN, Verdict
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.recipe import Recipe


def demand_race_terms(sweep: Sweep, terms: Compare) -> None:
    """Raises UserError for other thresholds than the race was run for."""
    declared, rule = sweep.space.compare, rule_of(sweep.space, paired=False)
    if terms == declared or (terms.margin, terms.unit, terms.alpha) == (rule.margin, declared.unit, rule.alpha):
        return
    unit = declared.unit if sweep.space.has_both_scores else sweep.space.measure.unit
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
    state, space, measure = sweep.state(), sweep.space, measure_of(sweep.space)
    race = state.race
    assert race is not None
    rule = rule_of(space, is_paired(space, state.configurations, state.records))
    own = reference if isinstance(reference, str) else ""
    if own == sweep.asked()[0].id:
        if space.has_both_scores:
            return race_verdicts(frame, race, own, rule, space.compare.unit, evidence, sweep.blocks)
        rows = as_score(frame, measure)
        return in_its_unit(race_verdicts(rows, race, own, rule, "bpb", evidence, sweep.blocks), measure)
    arms = [config for config in race.seeds if config != own]
    verdicts = []
    for config in arms:
        num_seeds = min(race.seeds[config], race.seeds.get(own, race.seeds[config]))
        verdicts += _compared(
            sweep,
            frame[frame["config"].isin([config, own])],
            reference,
            Terms(rule.margin, space.compare.unit, rule.alpha, blocks=sweep.blocks),
            replace(evidence, seeds=space.seeds[:num_seeds], exploratory=True, looked_at=(), family=len(arms)),
        )
    return verdicts


OTHER_TEXT = "These runs were scored on another text than the record's, so the difference says little."


def is_foreign(sweep: Sweep, baseline: str | None) -> bool:
    """Whether the baseline is a published record while the sweep's text is not the challenge's."""
    base = sweep.space.base
    return (baseline or "").startswith("record:") and isinstance(base, Recipe) and base.data.source != "shards"


def verdicts_of(
    sweep: Sweep, frame: pd.DataFrame, terms: Compare | None = None, reference: str | pd.DataFrame | None = None
) -> list[Verdict]:
    """A verdict for every configuration, in a race on the seeds that it ran.

    terms:      by default those of the search space
    reference:  a configuration of this sweep or rows of another one, as `reference_of` returns; by default the baseline
    """
    declared = are_declared(sweep, terms, reference)
    reference = baseline_of(sweep) if reference is None else reference
    terms = terms or sweep.space.compare
    if isinstance(reference, str) and reference not in set(frame["config"]):
        return _before_its_baseline(sweep, frame, terms, reference)
    attempts = attempts_of(sweep)
    evidence = evidence_of(sweep, frame, attempts)
    if not declared:
        evidence = replace(evidence, exploratory_because=OTHER_TERMS)
    if sweep.space.race:
        demand_race_terms(sweep, terms)
        verdicts = verdicts_of_race(sweep, frame, reference, evidence)
    else:
        level = level_of(attempts, sweep.name, terms.alpha)
        evidence = replace(evidence, declared_alpha=terms.alpha if level < terms.alpha else None)
        of_attempt = terms.model_copy(update={"alpha": level})
        asked = terms_of(of_attempt, sweep)
        verdicts = _compared(sweep, frame, reference, asked, evidence)
    return [replace(verdict, settle=sweep.command("confirm", "--config", verdict.config)) for verdict in verdicts]


def _compared(
    sweep: Sweep, frame: pd.DataFrame, reference: str | pd.DataFrame | float, terms: Terms, evidence: Evidence
) -> list[Verdict]:
    """By the sweep's own number: of our trainer the score, of a program its metric."""
    if sweep.space.program:
        return compare_measured(frame, reference, sweep.space.measure, terms, evidence)
    if isinstance(reference, float):
        column = SCORE_IN[terms.unit]
        return compare_measured(frame, reference, Measure(column, unit_of(column)), terms, evidence)
    return compare(frame, reference, terms, evidence)


def _before_its_baseline(sweep: Sweep, frame: pd.DataFrame, terms: Compare, baseline: str) -> list[Verdict]:
    """Of a sweep that is not complete, in which no run of the baseline has ended: nothing can be said of any other."""
    reason = f"no run of {'the baseline' if baseline == baseline_of(sweep) else baseline} has ended yet"
    return [
        Verdict(config, baseline, "cannot say", terms.alpha, sweep.space.exploratory, sweep=sweep.name, reason=reason)
        for config in frame["config"].unique()
    ]


def verdicts_against_exact(
    sweep: Sweep, frame: pd.DataFrame, terms: Compare, reference: str | pd.DataFrame | float
) -> list[Verdict]:
    """The same against a mean that is taken as exact: a weaker claim, the contest's own. Raises UserError in a race."""
    if sweep.space.race:
        raise UserError(f"--exact: sweep '{sweep.name}' raced against its own baseline, which decides")
    asked = replace(terms_of(terms, sweep), exact_baseline=True)
    evidence = replace(evidence_of(sweep, frame, attempts_of(sweep)), exploratory_because=OTHER_TERMS)
    return _compared(sweep, frame, reference, asked, evidence)


def are_declared(sweep: Sweep, terms: Compare | None, reference: str | pd.DataFrame | float | None) -> bool:
    """Whether these are the terms and the baseline that the sweep declared before its first run."""
    same_baseline = reference is None or (isinstance(reference, str) and reference == baseline_of(sweep))
    return same_baseline and terms in (None, sweep.space.compare)


def _family(sweep: Sweep) -> int:
    """Configurations that will have been compared when the sweep is complete; equal ones are one."""
    asked = [item for item in sweep.asked() if item.rung == 1]
    to_come = max(0, (sweep.space.num_configurations or 0) - (len(asked) - 1))
    return len({item.id for item in asked} - {asked[0].id}) + to_come


def terms_of(compare: Compare, sweep: Sweep) -> Terms:
    """The terms of the test, as the search space file asks for them, and what the sweep was created with."""
    return Terms(
        compare.margin,
        compare.unit,
        compare.alpha,
        correction=sweep.correction,
        variance=compare.variance,
        blocks=sweep.blocks,
    )


def evidence_of(sweep: Sweep, frame: pd.DataFrame, attempts: Sequence[Attempt] = ()) -> Evidence:
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
        looked_at=[config for config in recorded if ledger.known_beforehand(sweep.name, config)],
        exploratory_because=further_attempt(attempts, sweep.name),
        family=_family(sweep),
    )


def reference_of(sweep: Sweep, baseline: str, store: Path, exact: bool = False) -> str | pd.DataFrame | float:
    """A configuration of this sweep, the best of another one, a published record, or with `exact` a number."""
    if (found := find_configuration(sweep, baseline)) is not None:
        return found.id
    reference = external_reference(baseline, store, exact, sweep.name, sweep.space.measure.column)
    if reference is None:
        words = words_of(sweep)
        raise UserError(
            f"--baseline {baseline} is no configuration of sweep '{sweep.name}'"
            f"{did_you_mean(baseline, [*words, *words.values()])}; known: {listed(words)}; "
            "or sweep:NAME (its best), record:PR, record:frontier, or a number with --exact"
        )
    return reference


def external_reference(
    baseline: str, store: Path, exact: bool, compared: str, column: str
) -> pd.DataFrame | float | None:
    """The rows that `record:NAME` or `sweep:NAME` names, a number as it is, or None for anything else.

    exact:             whether it was said that the baseline is taken as exact; a number alone has no spread
    compared, column:  name of the sweep that is compared with it, and by what. Raises UserError if the rows lack that
    """
    rows = rows_named(baseline, store)
    if rows is not None:
        if column not in rows:
            raise UserError(f"--baseline {baseline} has no {column}, which sweep '{compared}' compares")
        return rows
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


def rows_named(baseline: str, store: Path) -> pd.DataFrame | None:
    """The rows that `record:NAME` or `sweep:NAME` names; of a sweep those of its best. None for anything else."""
    kind, colon, name = baseline.partition(":")
    if colon and kind == "record":
        return record_losses(name)
    if not colon or kind != "sweep":
        return None
    other = find_import(store, name)
    if other is not None:
        return _best_rows(name, other.frame, other.ranking)
    sweep = find_sweep(store, name)
    return _best_rows(name, rows_of(sweep), ranking_of(sweep))


def pairs_line(sweep: Sweep, verdicts: Sequence[Verdict]) -> str:
    """What pairs the runs of a sweep, and why, in words: as its verdicts have it, else as it was declared."""
    if verdicts and all(verdict.block == "artifact" for verdict in verdicts):
        return ONE_ARTIFACT
    return blocks_line(BlocksChoice(sweep.blocks, sweep.blocks_because))


def _best_rows(name: str, rows: pd.DataFrame, ranking: Ranking) -> pd.DataFrame:
    table = per_configuration(rows, ranking)
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        why = why_none_is_ranked(table, breaches_of(rows, ranking))
        raise UserError(f"sweep '{name}' cannot be compared with: {why}")
    return rows[rows["config"] == str(ranked.iloc[0]["config"])]
