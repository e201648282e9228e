"""Power of the planned seeds: the minimum detectable effect against the baseline, before anything is computed.

The standard deviation between seeds is taken from finished runs of the same preset in this store, else from the
published records. All numbers are in bits per byte, for the test that `compare` will make. Imports neither torch nor
Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.space.configuration import num_rivals
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.imported import list_imports
from orchestrator.sweep.sweep import list_sweeps
from results.rows.read import read_rows
from results.rows.tables import is_finished, per_run
from results.stats.blocks import UNKNOWN_CORRELATION, sd_between_pairs
from results.stats.power import Design, design_of, seeds_needed
from results.stats.shared_variance import SharedVariance
from results.stats.t_tests import SHARED_COST, Block, Variance
from results.verdicts.arms import independent_scores, paired_differences
from results.verdicts.published_records import seed_sd_bpb, shared_artifact_sd_bpb

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


BETWEEN: dict[Block | None, str] = {None: "seeds", "artifact": "pairs on one artifact", "seed": "pairs of one seed"}


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds, or between pairs on one artifact, and where it is known from."""

    sd_bpb: float
    source: str


@dataclass(frozen=True)
class Evidence:
    """The planned comparison of a sweep with its baseline, and the spread that its power is computed with."""

    design: Design
    spread: Spread
    block: Block | None
    """What pairs the runs of two configurations."""
    num_configurations: int
    adaptive: bool
    first_look: int | None = None
    """Of a race, if it is one."""
    variance: Variance = "own"

    @property
    def minimum_detectable_effect_bpb(self) -> float | None:
        """Smallest gain beyond the margin that is shown with 80 % power; None with too few seeds."""
        return self.design.minimum_detectable_effect(POWER)

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
        )


def evidence_of(space: SearchSpace, block: Block | None, store: Path) -> Evidence:
    """The planned comparison of a search space's sweep.

    block:  what pairs the runs of two configurations
    """
    spread, variance = spread_of(space, block, store), space.compare.variance
    num = max(1, num_rivals(space))
    race = space.race
    alpha = space.compare.alpha if race is None or race.alpha is None else race.alpha
    first_look = race.first_look if race else None
    design = design_of(block, num, len(space.seeds), spread.sd_bpb, alpha, space.exploratory, first_look, variance)
    return Evidence(design, spread, block, num, space.exploratory, first_look, variance)


def spread_of(space: SearchSpace, block: Block | None, store: Path) -> Spread:
    """From the store's runs of the same preset with the same changes; else the median of the published records."""
    pooled: list[NDArray[np.float64]] = []
    names = []
    for sweep in list_sweeps(store):
        if (sweep.preset, dict(sweep.space.overrides)) != (space.preset, dict(space.overrides)):
            continue
        rows = per_run(read_rows(sweep.folder, ()))
        finished = rows[is_finished(rows)]
        baseline = [item.id for item in sweep.asked()][:1]
        samples = (
            paired_differences(finished, baseline, block, "val_bpb")
            if block
            else independent_scores(finished, "val_bpb")
        )
        samples = [sample for sample in samples if len(sample) > 1]
        pooled += samples
        names += [sweep.name] if samples else []
    for imported in list_imports(store):
        frame = imported.frame
        finished = frame[is_finished(frame)]
        if imported.header.preset != space.preset or space.overrides or finished.empty:
            continue
        reference = [imported.header.baseline]
        samples = (
            paired_differences(finished, reference, block, "val_bpb")
            if block
            else independent_scores(finished, "val_bpb")
        )
        samples = [sample for sample in samples if len(sample) > 1]
        pooled += samples
        names += [imported.name] if samples else []
    shared = SharedVariance.of(pooled)
    if shared.df:
        sd_bpb = float(shared.pooled) ** 0.5
        return Spread(sd_bpb, f"measured in {_listed(names)}, {shared.df:.0f} degrees of freedom")
    source = "the median of the published records; other presets differ, so measure your own"
    if block == "artifact":
        return Spread(shared_artifact_sd_bpb(), source)
    if block == "seed":
        assumed = f"a correlation of {UNKNOWN_CORRELATION:g} between runs of one seed is taken"
        return Spread(sd_between_pairs(seed_sd_bpb(), UNKNOWN_CORRELATION), f"{source}; {assumed}")
    return Spread(seed_sd_bpb(), source)


def _listed(names: Sequence[str]) -> str:
    return f"sweep {names[0]}" if len(names) == 1 else f"{len(names)} sweeps of this store"


def evidence_lines(evidence: Evidence, gain_bpb: float | None = None) -> list[str]:
    """Minimum detectable effect of the planned seeds and of other numbers, and the seeds that a wanted gain takes."""
    design, smallest_bpb = evidence.design, evidence.minimum_detectable_effect_bpb
    test = TESTS[design.test]
    correction = f", corrected for {design.num_comparisons} comparisons" if design.num_comparisons > 1 else ""
    lines = [f"spread: sd {design.sd:.5f} bits per byte between {BETWEEN[evidence.block]} ({evidence.spread.source})"]
    if smallest_bpb is None:
        lines.append(f"{design.n} seed is not enough for a test: a variance needs at least 2")
    else:
        lines.append(
            f"{design.n} seeds detect a gain of {smallest_bpb:.4f} bits per byte beyond the margin "
            f"({test}, alpha {design.alpha:g}{correction}, power {POWER:.0%})"
        )
    if design.test in ("moderated", "two-way"):
        lines.append(f"  variance: shared is {SHARED_COST}")
    if evidence.first_look is not None:
        lines.append("  a race stops as soon as it is decided: these seeds are its maximum")
    others = [(n, evidence.with_seeds(n).minimum_detectable_effect(POWER)) for n in LADDER if n != design.n]
    lines.append("  " + "; ".join(f"{n} seeds: {gain:.4f}" for n, gain in others if gain is not None))
    if evidence.adaptive:
        lines.append(
            "  for the winner alone, on fresh seeds (orchestrator confirm): those that chose it cannot test it"
        )
    if gain_bpb is not None:
        needed = evidence.seeds_for(gain_bpb)
        seeds = f"{needed} seeds" if needed else "more than 1000 seeds"
        lines.append(f"a gain of {gain_bpb:g} beyond the margin takes {seeds} of each configuration")
    return lines
