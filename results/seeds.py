"""How far apart runs are that differ in the seed alone, and how much of that vanishes when runs are paired.

The spread is pooled over configurations, each around its own mean: it holds if all of them spread alike. Which test
follows from it is decided in `compare`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from results.dossier import Dossier
from results.tables import is_finished, per_run

HEADS = ("label", "n", "mean", "sd", "ci95_low", "ci95_high", "best", "failed")


@dataclass(frozen=True)
class Spread:
    """A standard deviation pooled over groups of numbers."""

    sd: float
    """In the unit of the numbers; NaN without a group of two."""
    df: int

    @classmethod
    def within(cls, numbers: pd.Series[float], groups: pd.Series[str]) -> Spread:
        """Around each group's own mean."""
        grouped = numbers.groupby(groups)
        df = int((grouped.count() - 1).clip(lower=0).sum())
        squares = float(((numbers - grouped.transform("mean")) ** 2).sum())
        return cls(math.sqrt(squares / df) if df else math.nan, df)

    def half_interval(self, n: int) -> float:
        """Half the 95 % interval of a mean of `n` such numbers."""
        return self.sd / math.sqrt(n) * float(stats.t.ppf(0.975, self.df)) if self.df else math.nan


def seed_table(dossier: Dossier) -> pd.DataFrame:
    """One row per configuration, best first: label, n, mean, sd, 95 % interval, best seed, failed seeds."""
    table = dossier.table
    return table.assign(label=table["config"].map(dossier.label))[list(HEADS)]


def between_seeds(dossier: Dossier) -> Spread:
    """Of finished scores within a configuration, in bits per byte."""
    runs = _finished(dossier)
    return Spread.within(runs["val_bpb"].astype("float64"), runs["config"])


def between_pairs(dossier: Dossier) -> Spread:
    """Of the gain over the baseline on each shared artifact, within a configuration; no df where nothing is shared."""
    runs = _finished(dossier).dropna(subset="artifact")
    baseline = runs["config"] == dossier.baseline
    reference = runs[baseline].groupby("artifact")["val_bpb"].mean()
    ours = runs[~baseline]
    gains = (ours["artifact"].map(reference).astype("float64") - ours["val_bpb"]).dropna()
    return Spread.within(gains, ours.loc[gains.index, "config"])


def spread_lines(dossier: Dossier) -> Sequence[str]:
    """What the two spreads mean, in sentences."""
    seeds, pairs = between_seeds(dossier), between_pairs(dossier)
    if not seeds.df:
        return ["No configuration has two finished seeds, so nothing is known of the spread between seeds."]
    lines = [
        f"Runs that differ in the seed alone spread with a standard deviation of {seeds.sd:.5f} bits per byte "
        f"({seeds.df} degrees of freedom).",
        f"So the mean of 3 seeds is known to ± {seeds.half_interval(3):.5f}, and of one seed to "
        f"± {seeds.half_interval(1):.5f} (95 %).",
    ]
    if pairs.df:
        times = f", {seeds.sd / pairs.sd:.0f} times less" if pairs.sd > 0 else ""
        lines.append(
            f"Gains over the baseline on one artifact spread by {pairs.sd:.5f}{times}: pairing takes out the rest."
        )
    else:
        lines.append("No configuration shares a trained artifact with the baseline, so nothing is paired.")
    return lines


def _finished(dossier: Dossier) -> pd.DataFrame:
    runs = per_run(dossier.frame, dossier.seeds)
    return runs[is_finished(runs)]
