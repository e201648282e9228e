"""Verdicts about numbers that are no score of ours: an imported metric, or a number in place of the baseline's runs.

`compare` judges val_bpb, lower being better. Whatever else is compared stands in that column while it is judged, turned
so that lower is better, and the verdict says its unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from results.rows.columns import SCORED_TEXT
from results.rows.ranking import Measure
from results.rows.tables import is_finished
from results.verdicts.compare import ALL_SEEDS, compare
from results.verdicts.terms import Evidence, Terms
from results.verdicts.verdict import SCORE_IN, Verdict

JUDGED = ("sweep", "config", "seed", "status", "legal", "within_budget", "artifact", *SCORED_TEXT)
"""Columns that a comparison reads beside the score."""


def compare_measured(
    frame: pd.DataFrame,
    baseline: str | pd.DataFrame | float,
    measure: Measure,
    terms: Terms,
    evidence: Evidence = ALL_SEEDS,
) -> list[Verdict]:
    """As `compare`, about any column. A number as the baseline is taken as exact, and stands in that column's unit.

    terms:  the margin is in the unit of the measure, or in nats or bits per byte where both scores are known
    """
    if isinstance(baseline, float):
        rows = pd.DataFrame(
            {"config": [f"{baseline:g}"], "seed": [0], "status": ["done"], "legal": [True], measure.column: [baseline]}
        )
        exact = replace(terms, exact_baseline=True)
        verdicts = _in_own_unit(frame, rows.assign(artifact=None), measure, exact, evidence)
        return [replace(one, n_baseline=one.n_baseline and 0) for one in verdicts]
    external = not isinstance(baseline, str)
    both = knows_both_scores(frame) and (not external or knows_both_scores(baseline))  # type: ignore[arg-type]
    if both and measure.column in SCORE_IN.values() and not measure.higher_first:
        return compare(frame, baseline, terms, evidence)
    return _in_own_unit(frame, baseline, measure, terms, evidence)


def knows_both_scores(rows: pd.DataFrame) -> bool:
    """Whether every finished run has nats and bits, so that either can be the unit of a margin."""
    finished = rows[rows["status"] == "done"]
    return all(name in rows and len(finished) and bool(is_finished(finished, name).all()) for name in SCORE_IN.values())


def _in_own_unit(
    frame: pd.DataFrame, baseline: str | pd.DataFrame, measure: Measure, terms: Terms, evidence: Evidence
) -> list[Verdict]:
    reference = baseline if isinstance(baseline, str) else as_score(baseline, measure)
    verdicts = compare(as_score(frame, measure), reference, replace(terms, unit="bpb"), evidence)
    return in_its_unit(verdicts, measure)


def in_its_unit(verdicts: Sequence[Verdict], measure: Measure) -> list[Verdict]:
    """Verdicts on rows `as_score`, in the unit of what was measured."""
    return [replace(verdict, unit=measure.unit) for verdict in verdicts]


def as_score(rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """The rows with the measure in the place of the score, lower being better."""
    kept = rows[[name for name in JUDGED if name in rows]]
    return kept.assign(val_bpb=measure.sign * rows[measure.column].astype("float64"), val_loss=math.nan)
