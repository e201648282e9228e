"""A sweep opened for Python: its runs and tables as DataFrames, its verdicts, its figures, its winner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from orchestrator.analysis.best import Best, best_of
from orchestrator.analysis.comparison import reference_of, verdicts_against_exact, verdicts_of
from orchestrator.analysis.import_results import ALPHA, reference_of_import, verdicts_of_import
from orchestrator.analysis.load_results import results_of
from orchestrator.analysis.sweep_table import baseline_of, demand_readable
from orchestrator.space.sections import Compare
from orchestrator.sweep.imported import ImportedSweep, find_import
from orchestrator.sweep.sweep import Sweep, find_sweep
from results.rows.tables import per_run
from results.verdicts.sweep_results import SweepResults
from results.verdicts.verdict import SCORE_IN, Unit, Verdict
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.units import human_count
from trainer.store.mirror import store_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OpenedSweep:
    """One sweep as it is on disk now; open it again to see what came since."""

    def __init__(self, sweep: Sweep | ImportedSweep, results: SweepResults):
        self._sweep = sweep
        self.results = results
        """Everything that the report shows, for the functions of `results`."""

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.results.name

    @property
    def runs(self) -> pd.DataFrame:
        """A row per run: configuration, seed, status, swept values, scores, bytes, seconds; `orchestrator schema rows`
        has the columns."""
        return per_run(self.results.frame)

    def table(self) -> pd.DataFrame:
        """A row per configuration, the best first, with its label: n, mean, sd, 95 % interval, best."""
        table = self.results.table.copy()
        table.insert(2, "label", [self.results.label(config) for config in table["config"]])
        return table

    def compare(
        self,
        baseline: str | float | None = None,
        *,
        margin: float | None = None,
        unit: Unit | None = None,
        alpha: float | None = None,
        exact: bool = False,
    ) -> pd.DataFrame:
        """A row per configuration: its gain over the baseline, the test, and a sentence. As `orchestrator compare`.

        baseline:  a configuration, `sweep:NAME`, `record:PR`, or a number with `exact`; by default the sweep's own
        margin, unit, alpha:  by default those that the sweep declared; others make the answer exploratory
        exact:     takes the baseline's mean, or number, as if it had no error
        A sweep of which nothing can be compared yet has no rows, and the same columns.
        """
        named = None if baseline is None else str(baseline)
        if (named, margin, unit, alpha, exact) == (None, None, None, None, False):
            verdicts = list(self.results.verdicts)
        elif isinstance(self._sweep, ImportedSweep):
            verdicts = _of_import(self._sweep, named, margin, unit, alpha, exact)
        else:
            verdicts = self._verdicts(self._sweep, named, self._sweep.space.terms(margin, unit, alpha), exact)
        rows = [_verdict_row(one, self.results.label(one.config)) for one in verdicts]
        return pd.DataFrame(rows, columns=VERDICT_COLUMNS)

    def _verdicts(self, sweep: Sweep, baseline: str | None, terms: Compare, exact: bool) -> list[Verdict]:
        frame = self.results.frame
        other = None if baseline is None else reference_of(sweep, baseline, sweep.store, exact)
        if exact:
            return verdicts_against_exact(sweep, frame, terms, baseline_of(sweep) if other is None else other)
        assert not isinstance(other, float)
        return verdicts_of(sweep, frame, terms, other)

    def figure(self, kind: str = "scores") -> Figure:
        """One of the report's figures: scores, ranking, gains, curves or importance. Raises UserError for another."""
        if kind not in FIGURES:
            raise UserError(f"figure '{kind}' is unknown{did_you_mean(kind, FIGURES)}; known: {', '.join(FIGURES)}")
        return FIGURES[kind](self.results)

    def best(self, config: str | None = None) -> Best:
        """The winner to take home, or one that is named: recipe, artifact, verdict. As `orchestrator best`."""
        if isinstance(self._sweep, ImportedSweep):
            raise UserError(f"sweep '{self.name}' was imported: it has neither recipes nor artifacts; see .table()")
        return best_of(self._sweep, config)

    def __repr__(self) -> str:
        return f"sweep {self.name}: {self.results.description} ({human_count(len(self.results.frame), 'run')})"


def open_by_name(name: str, store: str | Path) -> OpenedSweep:
    """The sweep of this name in a store. Raises StoreError offering the nearest name, or naming damaged records."""
    folder, name = store_folder(store), str(name)
    imported = find_import(folder, name)
    results = results_of(folder, name)
    demand_readable(results.frame)
    return OpenedSweep(imported or find_sweep(folder, name), results)


def _of_import(
    sweep: ImportedSweep, baseline: str | None, margin: Any, unit: Any, alpha: Any, exact: bool
) -> list[Verdict]:
    for name, number in (("margin", margin), ("alpha", alpha)):
        if not isinstance(number, int | float | None):
            raise UserError(f"{name} = {number!r} must be a number")
    if unit not in (None, *SCORE_IN):
        raise UserError(f"unit = {unit!r} is unknown; known: {', '.join(SCORE_IN)}")
    reference = reference_of_import(sweep, baseline, exact)
    terms = margin or 0.0, unit, ALPHA if alpha is None else alpha
    return verdicts_of_import(sweep, sweep.frame, reference, *terms, exact)


TOLD = ("baseline", "alpha", "exploratory", "test", "n_candidate", "n_baseline", "p", "p_corrected")
VERDICT_COLUMNS = ["config", "label", "verdict", "gain", "gain_low", "gain_high", *TOLD, "sentence"]
"""Columns of `compare`."""


def _verdict_row(verdict: Verdict, label: str) -> dict[str, object]:
    bpb = verdict.bpb
    gains = (None, None, None) if bpb is None else (-bpb.difference, -bpb.high, -bpb.low)
    plain = asdict(verdict)
    return {
        "config": verdict.config,
        "label": label,
        "verdict": verdict.word,
        **dict(zip(("gain", "gain_low", "gain_high"), gains, strict=True)),
        **{name: plain[name] for name in TOLD},
        "sentence": verdict.sentence,
    }


def _scores(results: SweepResults) -> Figure:
    from results.figures.scores import score_facts, score_figure  # late, as below: matplotlib

    return score_figure(score_facts(results.frame, results.swept_keys, results.ranking))


def _ranking(results: SweepResults) -> Figure:
    from results.figures.ranking_figures import ranking_facts, ranking_figure

    return ranking_figure(ranking_facts(results))


def _gains(results: SweepResults) -> Figure:
    from results.figures.ranking_figures import gain_facts, gain_figure

    facts = gain_facts(results)
    if facts.empty:
        raise UserError(f"sweep '{results.name}' has nothing to compare yet: see .table()")
    return gain_figure(facts)


def _curves(results: SweepResults) -> Figure:
    from results.figures.curves import curve_facts, curve_figure

    facts = curve_facts(results)
    if facts.empty:
        raise UserError(f"sweep '{results.name}' has no learning curve in this store")
    return curve_figure(facts)


def _importance(results: SweepResults) -> Figure:
    from results.figures.importance import importance_facts, importance_figure

    shares, reason = importance_facts(results)
    if reason:
        raise UserError(f"importance of the keys is not shown: {reason}")
    return importance_figure(shares)


FIGURES: Mapping[str, Callable[[SweepResults], Figure]] = {
    "scores": _scores,
    "ranking": _ranking,
    "gains": _gains,
    "curves": _curves,
    "importance": _importance,
}
"""What `figure` draws, by name."""
