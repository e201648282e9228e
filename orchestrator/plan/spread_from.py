"""The spread between seeds as runs show it that were imported, or those of any named sweep, for plans.

A plan of our own trainer is in bits per byte, so it takes the spread of a sweep that has val_bpb; one of a program that
of a sweep that has the program's metric. An import alone can be planned too, in the unit of its own metric: how small a
gain so many seeds detect, fixed or in a race.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.plan.detectable_effect import BETWEEN, LADDER, POWER, TESTS, Evidence, Spread
from orchestrator.sweep.imported import ImportedSweep, find_import
from orchestrator.sweep.lost_records import demand_undamaged
from orchestrator.sweep.sweep import find_sweep
from results.rows.finished import Finished, finished_in, finished_of
from results.rows.ranking import Measure
from results.rows.read import plain_rows
from results.stats.power import Design, design_of, seeds_needed
from results.stats.sequential import FIRST_LOOK
from results.stats.shared_variance import pooled_variance
from results.stats.t_tests import Block
from results.verdicts.arms import independent_scores, paired_differences
from trainer.spec.errors import UserError

MOST_RACED = 20
"""Seeds at the last look of the race that is shown beside a fixed number."""
ALPHA = 0.01


def with_spread_of(evidence: Evidence, store: Path, name: str) -> Evidence:
    """The planned comparison with the spread that a named sweep shows, ours or imported."""
    return evidence.with_spread(_spread_of(store, name, evidence.block, evidence.measure.column))


def with_assumed_spread(evidence: Evidence, sd: float) -> Evidence:
    """The planned comparison with a standard deviation that is assumed, in the unit of what is compared."""
    if sd <= 0:
        raise UserError(f"--spread {sd:g} must be greater than 0: runs that do not vary need no test")
    return evidence.with_spread(Spread(sd, "assumed: --spread"))


def _spread_of(store: Path, name: str, block: Block | None, column: str) -> Spread:
    imported = find_import(store, name)
    if imported is not None:
        return spread_of_import(imported, block, column)
    sweep = find_sweep(store, name)
    rows, unreadable = plain_rows(sweep.folder, sweep.space.swept_keys)
    demand_undamaged([*unreadable, *sweep.lost_records()])
    _demand_column(any(row.get(column) is not None for row in rows), column, name, sweep.space.measure)
    baseline = [item.id for item in sweep.asked()][:1]
    return _pooled(finished_of(rows, column), baseline, name, block)


def _demand_column(is_there: bool, column: str, name: str, measure: Measure) -> None:
    if not is_there:
        raise UserError(f"sweep '{name}' has no {column}, in which this is planned; it compares {measure.measured}")


def spread_of_import(sweep: ImportedSweep, block: Block | None, column: str) -> Spread:
    """Between its seeds, or between its pairs. Raises UserError where it does not have the column."""
    frame = sweep.frame
    is_there = column in frame and not frame[column].isna().all()
    _demand_column(is_there, column, sweep.name, sweep.measure)
    return _pooled(finished_in(frame, column), [sweep.header.baseline], sweep.name, block)


def _pooled(finished: Sequence[Finished], baseline: Sequence[str], name: str, block: Block | None) -> Spread:
    samples = paired_differences(finished, baseline, block) if block else independent_scores(finished)
    variance, df = pooled_variance(sample for sample in samples if len(sample) > 1)
    if not df:
        raise UserError(f"sweep '{name}' shows no spread between {BETWEEN[block]}: no configuration has two of them")
    return Spread(variance**0.5, f"measured in sweep {name}, {df:.0f} degrees of freedom")


def import_plan_rows(sweep: ImportedSweep, alpha: float = ALPHA) -> list[dict[str, object]]:
    """The smallest gain that so many seeds of each configuration detect, fixed and in a race."""
    spread, block, num = _design_inputs(sweep)
    rows: list[dict[str, object]] = []
    for n in dict.fromkeys((*LADDER, _fewest_seeds(sweep))):
        for first_look in (None, FIRST_LOOK):
            if first_look is not None and n < first_look:
                continue
            design = design_of(block, num, n, spread.sd, alpha, first_look=first_look)
            gain = design.minimum_detectable_effect(POWER)
            rows.append({"seeds": n, "race": first_look is not None, "test": TESTS[design.test], "gain": gain})
    return rows


def import_plan_lines(sweep: ImportedSweep, gain: float | None = None, alpha: float = ALPHA) -> list[str]:
    """What more seeds of these configurations would detect, in the unit of the metric."""
    spread, block, num = _design_inputs(sweep)
    unit, n = sweep.measure.unit, _fewest_seeds(sweep)
    correction = f", corrected for {num} comparisons" if num > 1 else ""
    lines = [f"spread: sd {spread.sd:.5g} {unit} between {BETWEEN[block]} ({spread.source})"]
    if n > 1:
        design = design_of(block, num, n, spread.sd, alpha)
        smallest = design.minimum_detectable_effect(POWER)
        lines.append(
            f"{n} seeds detect a gain of {smallest:.4g} {unit} beyond the margin ({TESTS[design.test]}, "
            f"alpha {alpha:g}{correction}, power {POWER:.0%})"
        )
    for words, first_look in (("fixed", None), ("a race, seeds at most", FIRST_LOOK)):
        designs = [design_of(block, num, k, spread.sd, alpha, first_look=first_look) for k in LADDER]
        lines.append(
            f"  {words}: " + "; ".join(_gain_in_words(design) for design in designs if design.has_enough_seeds)
        )
    if gain is not None:
        for words, first_look in (("", None), (" at most, in a race", FIRST_LOOK)):
            needed = seeds_needed(gain, block, num, spread.sd, alpha, POWER, first_look=first_look)
            seeds = f"{needed} seeds" if needed else "more seeds than are counted"
            lines.append(f"a gain of {gain:g} {unit} beyond the margin takes {seeds}{words} of each configuration")
    return lines


def _gain_in_words(design: Design) -> str:
    return f"{design.n} seeds: {design.minimum_detectable_effect(POWER):.4g}"


def _design_inputs(sweep: ImportedSweep) -> tuple[Spread, Block | None, int]:
    block: Block | None = "seed" if sweep.header.blocks == "seed" else None
    return spread_of_import(sweep, block, sweep.measure.column), block, max(1, len(sweep.configs) - 1)


def _fewest_seeds(sweep: ImportedSweep) -> int:
    seeds: dict[str, int] = {}
    for row in sweep.rows:
        seeds[row["config"]] = seeds.get(row["config"], 0) + 1
    return min(seeds.values())
