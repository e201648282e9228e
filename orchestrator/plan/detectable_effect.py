"""Power of the planned seeds: the minimum detectable effect against the baseline, before anything is computed.

The standard deviation between seeds is taken from finished runs of the same preset in this store, else from the
published records. Numbers are in bits per byte, or of a program in the unit of its own metric, of which only its own
runs or the user know the spread; for the test that `compare` will make. Imports neither torch nor Ray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.space.configuration import baseline_of, num_rivals
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.imported import list_imports
from orchestrator.sweep.sweep import Sweep, list_sweeps
from orchestrator.sweep.sweep_attempts import attempts_of, level_of, planned_attempts
from results.rows.finished import Finished, finished_in, finished_of
from results.rows.ranking import Measure
from results.rows.read import plain_rows
from results.stats.blocks import UNKNOWN_CORRELATION, sd_between_pairs
from results.stats.many_against_one import Correction
from results.stats.power import MOST_RACED, MOST_SEEDS, Design, design_of, seeds_needed, upper_sd
from results.stats.shared_variance import pooled_variance
from results.stats.t_tests import SHARED_COST, Block, Variance
from results.verdicts.arms import independent_scores, paired_differences
from results.verdicts.attempts import further_attempt
from results.verdicts.preset_spreads import spread_of_preset
from results.verdicts.seed_ledger import ledger_of

SCORE = Measure()
POWER = 0.8
LADDER = (2, 3, 5, 8, 12, 20)
"""Numbers of seeds whose minimum detectable effect is shown beside that of the planned number."""


TESTS = {
    "paired": "paired t-test",
    "own paired": "moderated paired t-test",
    "two-way": "t-test in blocks with the variance shared over the sweep",
    "own": "moderated Welch's t-test",
    "moderated": "t-test with the variance shared over the sweep",
    "welch": "Welch's t-test",
    "race": "race, Welch's t-test after every seed",
    "paired race": "race, paired t-test after every seed",
}


NEVER = "cannot be shown with any number of seeds up to {most:,}"
BETWEEN: dict[Block | None, str] = {None: "seeds", "artifact": "pairs on one artifact", "seed": "pairs of one seed"}


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds, or between pairs on one artifact, and where it is known from."""

    sd: float
    """In the unit of what is compared."""
    source: str
    df: float | None = None
    """Degrees of freedom it was measured with; None where it is taken from elsewhere."""

    @property
    def planned(self) -> float:
        """What a plan takes: of a measured sd its upper bound, since it is an estimate."""
        return self.sd if self.df is None else upper_sd(self.sd, self.df)


@dataclass(frozen=True)
class Evidence:
    """The planned comparison of a sweep with its baseline, and the spread that its power is computed with."""

    design: Design
    """Where no spread is known, in standard deviations."""
    spread: Spread | None
    block: Block | None
    """What pairs the runs of two configurations."""
    num_configurations: int
    adaptive: bool
    first_look: int | None = None
    """Of a race, if it is one."""
    variance: Variance = "own"
    correction: Correction = "dunnett"
    """As declared, see `Terms`."""
    measure: Measure = SCORE
    """The number that is compared."""
    further: str = ""
    """Why its verdicts will be exploratory although results choose nothing: earlier attempts spent alpha."""
    chosen: str = ""
    """Why there will be no verdict: seeds of the baseline would be chosen by their outcomes."""

    @property
    def minimum_detectable_effect(self) -> float | None:
        """Smallest gain beyond the margin shown with 80 % power; None with too few seeds, or without a spread."""
        return self.design.minimum_detectable_effect(POWER) if self.spread else None

    def with_spread(self, spread: Spread) -> Evidence:
        """The same comparison planned with this spread."""
        return replace(self, design=replace(self.design, sd=spread.planned), spread=spread)

    def with_seeds(self, n: int) -> Design:
        """The same comparison over another number of seeds."""
        design = self.design
        return design_of(
            self.block,
            self.num_configurations,
            n,
            design.sd,
            design.alpha,
            self.adaptive,
            self.first_look,
            self.variance,
            self.correction,
        )

    def seeds_for(self, gain_bpb: float) -> int | None:
        """Seeds of each configuration that show such a gain beyond the margin with 80 % power."""
        design = self.design
        return seeds_needed(
            gain_bpb,
            self.block,
            self.num_configurations,
            design.sd,
            design.alpha,
            POWER,
            self.adaptive,
            self.first_look,
            self.variance,
            self.correction,
        )


def evidence_of(space: SearchSpace, block: Block | None, store: Path, sweep: Sweep | None = None) -> Evidence:
    """The planned comparison of a search space's sweep.

    block:  what pairs the runs of two configurations
    sweep:  the one that is continued, if it has begun
    """
    spread, variance = spread_of(space, block, store), space.compare.variance
    num = max(1, num_rivals(space))
    race = space.race
    alpha = space.compare.alpha if race is None or race.alpha is None else race.alpha
    begun = sweep is not None and bool(sweep.asked())
    attempts = attempts_of(sweep) if sweep is not None and begun else planned_attempts(space, store)
    name = sweep.name if sweep is not None and begun else ""
    alpha = level_of(attempts, name, alpha)
    first_look = race.first_look if race else None
    correction: Correction = "dunnett" if sweep is None else sweep.correction
    terms = alpha, space.exploratory, first_look, variance, correction
    design = design_of(block, num, len(space.seeds), spread.planned if spread else 1.0, *terms)
    further = further_attempt(attempts, name)
    terms_shown = first_look, variance, correction, space.measure, further
    chosen = "" if begun else ledger_of(store).foreseen(baseline_of(space).id, space.seeds)
    return Evidence(design, spread, block, num, space.exploratory, *terms_shown, chosen)


def spread_of(space: SearchSpace, block: Block | None, store: Path) -> Spread | None:
    """From the store's runs of the same preset with the same changes, or of the same program; else what is known of the
    preset itself, or the median of the published records, both in bits per byte; None without runs of a program, which
    may be of any size, and of another metric.
    """
    measured = _measured_spread(space, block, store)
    known = space.measure.column == "val_bpb" and space.program is None
    return measured or (_spread_elsewhere(space, block) if known else None)


def _measured_spread(space: SearchSpace, block: Block | None, store: Path) -> Spread | None:
    """From the store's runs of the same preset or program alone, in the unit of what is compared."""
    column = space.measure.column
    pooled: list[NDArray[np.float64]] = []
    names, pairs_df = [], 0
    for sweep in list_sweeps(store):
        if sweep.space.varied != space.varied:
            continue
        rows, _ = plain_rows(sweep.folder, sweep.space.swept_keys)
        baseline = [item.id for item in sweep.asked()][:1]
        samples = _samples(finished_of(rows, column), baseline, block)
        pooled += samples
        names += [sweep.name] if samples else []
        pairs_df += max((len(sample) - 1 for sample in samples), default=0)
    for imported in list_imports(store):
        if space.program or imported.header.preset != space.preset or space.overrides:
            continue
        samples = _samples(finished_in(imported.frame, column), [imported.header.baseline], block)
        pooled += samples
        names += [imported.name] if samples else []
        pairs_df += max((len(sample) - 1 for sample in samples), default=0)
    variance, variance_df = pooled_variance(pooled)
    if variance_df:
        df = pairs_df if block else variance_df  # pairs of one sweep share the baseline's runs, so they count once
        return Spread(variance**0.5, f"measured in {_listed(names)}", df)
    return None


def _samples(finished: Sequence[Finished], baseline: Sequence[str], block: Block | None) -> list[NDArray[np.float64]]:
    """What varies at random: differences of pairs to the baseline, or scores of each configuration; two and more."""
    samples = paired_differences(finished, baseline, block) if block else independent_scores(finished)
    return [sample for sample in samples if len(sample) > 1]


def _spread_elsewhere(space: SearchSpace, block: Block | None) -> Spread:
    """From what is known of the preset, else from the published records."""
    changed = "; this sweep changes the preset" if space.overrides else ""
    if (known := spread_of_preset(space.preset, block)) is not None:
        return Spread(known.sd_bpb, f"{space.preset}: {known.source}{changed}", known.df)
    seeds = spread_of_preset(space.preset, None)
    source = "the median of the published records; other presets differ, so measure your own"
    source = source if seeds is None else f"{space.preset}: {seeds.source}{changed}"
    # late: it reads a table with pandas, which the plan of a preset that is known needs for nothing
    from results.verdicts.published_records import seed_sd_bpb, shared_artifact_sd_bpb

    if block == "artifact":
        return Spread(shared_artifact_sd_bpb(), "the median of the published records; measure your own")
    sd, df = (seed_sd_bpb(), None) if seeds is None else (seeds.sd_bpb, seeds.df)
    if block is None:
        return Spread(sd, source, df)
    assumed = f"a correlation of {UNKNOWN_CORRELATION:g} between runs of one seed is taken"
    return Spread(sd_between_pairs(sd, UNKNOWN_CORRELATION), f"{source}; {assumed}", df)


def _listed(names: Sequence[str]) -> str:
    return f"sweep {names[0]}" if len(names) == 1 else f"{len(names)} sweeps of this store"


def evidence_lines(evidence: Evidence, gain: float | None = None) -> list[str]:
    """Minimum detectable effect of the planned seeds and of other numbers, and the seeds that a wanted gain takes.

    gain:  beyond the margin, in the unit of what is compared
    """
    design, unit = evidence.design, evidence.measure.unit
    lines = _spread_lines(evidence)
    if evidence.spread is None:
        unit = "standard deviations"
    lines.append(_detected(design, unit))
    if evidence.chosen:
        lines.append(f"  but no verdict can be given on the baseline: {evidence.chosen}")
    if evidence.further:
        lines.append(f"  exploratory: {evidence.further}")
    if design.test in ("moderated", "two-way"):
        lines.append(f"  variance: shared is {SHARED_COST}")
    if evidence.first_look is not None:
        lines.append("  a race stops as soon as it is decided: these seeds are its maximum")
    others = [(n, evidence.with_seeds(n).minimum_detectable_effect(POWER)) for n in LADDER if n != design.n]
    lines.append("  " + "; ".join(f"{n} seeds: {_amount(found, unit)}" for n, found in others if found is not None))
    if evidence.adaptive:
        lines.append(
            "  for the winner alone, on fresh seeds (orchestrator confirm): those that chose it cannot test it"
        )
    if gain is not None and evidence.spread is None:
        lines.append(
            f"a gain of {gain:g} beyond the margin takes an unknown number of seeds, as the spread is not known"
        )
    elif gain is not None:
        needed = evidence.seeds_for(gain)
        most = MOST_SEEDS if evidence.first_look is None else MOST_RACED
        answer = f"takes {needed} seeds of each configuration" if needed else NEVER.format(most=most)
        lines.append(f"a gain of {gain:g} beyond the margin {answer}")
    return lines


def _spread_lines(evidence: Evidence) -> list[str]:
    spread, measure, between = evidence.spread, evidence.measure, BETWEEN[evidence.block]
    if spread is None:
        from results.verdicts.published_records import seed_sd_bpb  # late, as above

        records = f"; the contest's records have {seed_sd_bpb():.5f}" if measure.column == "val_bpb" else ""
        return [
            "spread: not known: this store holds no 2 runs of this program that differ in the seed alone and in "
            f"their score, and nothing else tells how {measure.column} varies between {between}; 2 finished seeds in "
            f"this store give it, or --spread-from NAME (a sweep or import), or --spread SD (what you assume{records})"
        ]
    lines = [f"spread: sd {amount_of(spread.sd, measure.unit, 5)} between {between} ({spread.source})"]
    if spread.df is not None:
        lines.append(
            f"  an estimate with {spread.df:.0f} degrees of freedom, so the plan takes its upper bound, "
            f"{_amount(evidence.design.sd, measure.unit, 5)}"
        )
    return lines


def _detected(design: Design, unit: str) -> str:
    smallest = design.minimum_detectable_effect(POWER)
    test = TESTS[design.test]
    correction = f", corrected for {design.num_comparisons} comparisons" if design.num_comparisons > 1 else ""
    correction += " by Dunnett" if correction and design.correction == "dunnett" else ""
    if smallest is None:
        return f"{design.n} seed is not enough for a test: a variance needs at least 2"
    if math.isinf(smallest):
        return f"{design.n} seeds cannot show any gain ({test}, alpha {design.alpha:g}{correction})"
    return (
        f"{design.n} seeds detect a gain of {amount_of(smallest, unit)} beyond the margin "
        f"({test}, alpha {design.alpha:g}{correction}, power {POWER:.0%})"
    )


def amount_of(value: float, unit: str, decimals: int = 4) -> str:
    """A gain or a spread with its unit: '0.0034 bits per byte'."""
    return f"{_amount(value, unit, decimals)} {unit}"


def _amount(value: float, unit: str, decimals: int = 4) -> str:
    """A metric of a program's own may have any scale."""
    return f"{value:.{decimals}f}" if unit == SCORE.unit else f"{value:.4g}"
