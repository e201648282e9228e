"""Paired designs: the gain over the baseline on each seed, or artifact, with the margin drawn in.

Where runs are pairs, the spread between seeds has no part in the verdict, so scores beside the baseline's interval show
the wrong thing. These facts have the form of `score_facts` and are drawn by the same figure: zero is the baseline, the
band reaches from nothing to the margin.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from results.figures.scores import score_facts
from results.rows.tables import is_finished, per_run
from results.stats.t_tests import Block
from results.verdicts.sweep_results import SweepResults


def block_of(sweep: SweepResults) -> Block | None:
    """What pairs the best configuration's runs with the baseline's; None where nothing does."""
    best = sweep.verdict_of(sweep.best)
    return (best.block or None) if best is not None and best.bpb is not None else None


def paired_facts(sweep: SweepResults, frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """As `score_facts`, with the gain over the baseline's run of the same block as `score`; empty without pairs.

    frame:  rows of the configurations to draw, the baseline among them; by default all
    """
    block, compared = block_of(sweep), sweep.compared
    ranking = replace(sweep.ranking, metric=compared.column, higher_first=compared.higher_first)
    facts = score_facts(sweep.frame if frame is None else frame, sweep.swept_keys, ranking)
    if block is None:
        return facts.head(0)
    runs = per_run(sweep.frame, sweep.seeds)
    baseline = runs[(runs["config"] == sweep.baseline) & is_finished(runs, compared.column)]
    reference = baseline.groupby(block)[compared.column].mean()
    gain = compared.sign * (facts[block].map(reference).astype("float64") - facts["score"])
    paired = facts.assign(score=gain).dropna(subset="score")
    mean = paired.groupby("config")["score"].transform("mean")
    margins = [verdict.bpb.margin for verdict in sweep.verdicts if verdict.bpb is not None]
    margin = max(margins, default=0.0)
    return paired.assign(
        config_mean=mean,
        baseline_mean=0.0,
        baseline_low=0.0,
        baseline_high=margin,
        baseline_words="the baseline",
        band_words=f"a gain up to the margin, {margin:.4g}" if margin else "",
        measured=f"gain in {compared.measured} on the same {block}, up is better",
    )
