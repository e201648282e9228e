"""How far apart runs are that differ in the seed alone, and how much of that vanishes when runs are paired.

The spread is pooled over configurations, each around its own mean: it holds if all of them spread alike. Scores of one
trained artifact are no independent draws and count once. Which test follows is decided in `compare`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from results.figures.paired_gains import paired_facts
from results.figures.scores import score_facts
from results.rows.intervals import half_interval
from results.rows.score_text import score_text, short_text
from results.rows.tables import is_finished, per_run
from results.stats.power import design_of
from results.stats.shared_variance import pooled_variance
from results.stats.t_tests import Block
from results.verdicts.sweep_results import SweepResults
from results.verdicts.verdict import Verdict
from trainer.spec.units import human_count

HEADS = ("label", "n", "mean", "sd", "ci95_low", "ci95_high", "best", "failed")
POWER = 0.8
MOST_SCATTERED = 300
"""Configurations drawn as points; more are a cloud, and a slow page."""


@dataclass(frozen=True)
class Spread:
    """A standard deviation pooled over groups of numbers."""

    sd: float
    """In the unit of the numbers; NaN without a group of two."""
    df: int

    @classmethod
    def within(cls, numbers: pd.Series[float], groups: pd.Series[str]) -> Spread:
        """Around each group's own mean; a group much noisier than the others is left out, as in `compare`."""
        variance, df = pooled_variance([group.to_numpy() for _, group in numbers.groupby(groups)])
        return cls(math.sqrt(variance), int(df))

    def half_interval(self, n: int) -> float:
        """Half the 95 % interval of a mean of `n` such numbers."""
        return half_interval(self.sd, n, self.df)


def seed_table(sweep: SweepResults) -> pd.DataFrame:
    """One row per configuration, best first: label, n, mean, sd, 95 % interval, best seed, failed seeds."""
    table = sweep.table
    return table.assign(label=table["config"].map(sweep.label))[list(HEADS)]


def between_seeds(sweep: SweepResults) -> Spread:
    """Of the compared number within a configuration, whatever the ranking is by.

    A training counts once, by the first configuration that scored it: seven scores of one artifact hold one draw of
    the seed, not seven.
    """
    runs = _finished(sweep)
    runs = runs[~runs.duplicated("artifact") | runs["artifact"].isna()]
    return Spread.within(runs[sweep.compared.column].astype("float64"), runs["config"])


def between_pairs(sweep: SweepResults, block: Block = "artifact") -> Spread:
    """Of the best configuration's gain over the baseline on each artifact, or seed, that they share; no df without."""
    gains = _paired_gains(sweep, block)
    return Spread.within(gains, pd.Series(sweep.best, index=gains.index))


def _paired_gains(sweep: SweepResults, block: Block) -> pd.Series[float]:
    runs = _finished(sweep).dropna(subset=block)
    scores = {
        config: runs[runs["config"] == config].groupby(block)[sweep.compared.column].mean()
        for config in (sweep.baseline, sweep.best)
    }
    return (scores[sweep.baseline] - scores[sweep.best]).dropna()


def spread_lines(sweep: SweepResults) -> Sequence[str]:
    """What the two spreads mean, in sentences."""
    best = sweep.verdict_of(sweep.best)
    block: Block = (best.block if best else "") or "artifact"
    seeds, pairs = between_seeds(sweep), between_pairs(sweep, block)
    if not seeds.df:
        same = (sweep.table["n"] > 1).any()
        why = "All seeds of a configuration gave the same score" if same else "No configuration has two finished seeds"
        return [f"{why}, so nothing is known of the spread between seeds."]
    unit = sweep.compared.unit
    of = "" if unit == sweep.compared.column else f" {unit}"
    lines = [
        f"Runs that differ in the seed alone spread with a standard deviation of {score_text(seeds.sd, unit)}{of} of "
        f"{sweep.compared.column} ({human_count(seeds.df, 'degree')} of freedom).",
        f"So the mean of 3 seeds is known to ± {score_text(seeds.half_interval(3), unit)}, and of one seed to "
        f"± {score_text(seeds.half_interval(1), unit)} (95 %).",
    ]
    if sweep.best is None:
        return [*lines, f"Nothing is paired: {sweep.why_none_is_best}."]
    if not pairs.df and len(_paired_gains(sweep, block)) > 1:
        return [*lines, f"The gain of the best configuration over the baseline is the same on every {block}."]
    if not pairs.df:
        return [*lines, "The best configuration's runs are not paired with the baseline's: they share no artifact."]
    times = f", {seeds.sd / pairs.sd:.0f} times less" if pairs.sd > 0 else ""
    gains = f"The gains of the best configuration over the baseline, on the same {block}, spread by"
    return [*lines, f"{gains} {score_text(pairs.sd, unit)}{times}: pairing takes out the rest."]


def detectable_lines(sweep: SweepResults, verdict: Verdict) -> Sequence[str]:
    """The smallest gain that such a sweep could have shown, for the test that was made; nothing where none was."""
    if verdict.bpb is None or not sweep.seeds:
        return []
    block = verdict.block or None
    spread = between_pairs(sweep, block) if block else between_seeds(sweep)
    if not spread.df or not spread.sd > 0:
        return []
    n, first_look = len(sweep.seeds), verdict.looks[0] if verdict.looks else None
    num = len(sweep.verdicts)
    terms = verdict.alpha, sweep.adaptive, first_look, verdict.variance, verdict.correction
    design = design_of(block, num, n, spread.sd, *terms)
    gain = design.minimum_detectable_effect(POWER)
    if gain is None:
        return []
    if math.isinf(gain):
        return [f"{n} seeds with this spread cannot show any gain over {num} configurations."]
    beyond = " beyond the margin" if verdict.bpb.margin else ""
    confirmed = " once confirmed on as many fresh seeds" if sweep.adaptive else ""
    size = short_text(gain, sweep.compared.unit)
    shown = f"show a gain of {size} {sweep.compared.unit}{beyond} in {POWER:.0%} of cases{confirmed}"
    return [f"{n} seeds with this spread {shown}."]


def seed_outcome_table(sweep: SweepResults) -> pd.DataFrame:
    """One row per configuration of the ranking: label, and the outcome of every seed ever declared for it, first in
    this sweep, then in others of the store. Empty where no ledger was kept."""
    listed: dict[str, dict[str, list[str]]] = {}
    for one in sweep.seed_outcomes:
        listed.setdefault(one.config, {}).setdefault(one.sweep, []).append(f"{one.seed} {one.outcome}")
    rows = [
        (sweep.label(config), ", ".join(own.pop(sweep.name, [])), _elsewhere(own))
        for config in sweep.table["config"]
        if (own := dict(listed.get(config, {})))
    ]
    return pd.DataFrame(rows, columns=["label", "here", "elsewhere"])


def _elsewhere(sweeps: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(seeds)}" for name, seeds in sweeps.items())


def scatter_facts(sweep: SweepResults) -> tuple[pd.DataFrame, str]:
    """Facts of the score figure for configurations spread evenly over the ranking, and what was left out or why all.

    Where runs are pairs, gains over the baseline's run of the same seed or artifact stand in place of scores.
    """
    table = sweep.table
    drawable = table.loc[table["rank"].notna(), "config"]
    every = max(1, math.ceil(len(drawable) / MOST_SCATTERED))
    kept = {*drawable.iloc[::every], sweep.baseline}
    frame = sweep.frame[sweep.frame["config"].isin(kept)]
    paired = paired_facts(sweep, frame)
    facts = score_facts(frame, sweep.swept_keys, sweep.ranking) if paired.empty else paired
    if not sweep.swept_keys:
        return facts.head(0), "no key was swept, and the ranking has every seed"
    if facts.empty:
        return facts, sweep.why_none_is_best
    return (
        facts,
        f"Drawn: {len(kept):,} of {len(table):,} configurations, evenly over the ranking." if every > 1 else "",
    )


def _finished(sweep: SweepResults) -> pd.DataFrame:
    runs = per_run(sweep.frame, sweep.seeds)
    return runs[is_finished(runs, sweep.compared.column)]
