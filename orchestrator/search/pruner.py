"""Pruning after short schedules: which runs each configuration needs, with `stopping: {rule: asha}` or `median`.

A rung is a part of the schedule, trained whole: counts of steps and the wall clock are multiplied by it, so that a
short run has its own cooldown. The first configurations run at every rung and in full. Once all of them are complete,
the rungs whose ranking correlates with that of full runs are known. Every later configuration runs at one of these
after another until its mean over all seeds, compared with the means of those asked before it, prunes it. All of it
follows from the records and the order of asking, never from timing. The baseline runs in full only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.space.configuration import Configuration, outcome_of, short_of
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import Rungs
from results.rows.row import row_of
from results.stats.pruning_rules import RankCorrelation, asha_keeps, median_keeps, rank_correlation
from trainer.spec.record import Record

ETA = 3
"""One in how many is promoted under asha, unless the space says otherwise."""


@dataclass
class ConfigurationProgress:
    """Which runs one configuration needs, its means so far, and whether it was pruned."""

    needs: list[Configuration] = field(default_factory=list)
    """Itself or shorter forms of it, each to be run on all seeds."""
    means: dict[float, float] = field(default_factory=dict)
    """Mean score at each rung it has completed, lower is better; infinite if a seed failed."""
    pruned_at: float | None = None
    """The rung at which it was pruned."""
    settled: bool = False
    """Whether it needs nothing beyond `needs`, and has all of it."""


@dataclass(frozen=True)
class PruningState:
    """Which runs the configurations of a sweep with rungs need, and which of them are pruned."""

    progress: Mapping[str, ConfigurationProgress]
    """By configuration; the baseline is among them."""
    correlations: Mapping[float, RankCorrelation] | None
    """Of each rung's ranking with the full one; None while the first configurations are still running."""
    trusted: tuple[float, ...]
    """Rungs that later configurations are pruned at."""

    @property
    def over(self) -> bool:
        """Whether no configuration asked so far needs another run."""
        return all(item.settled for item in self.progress.values())

    @property
    def pruned(self) -> dict[str, float]:
        """The rung at which each pruned configuration was pruned."""
        return {config: item.pruned_at for config, item in self.progress.items() if item.pruned_at is not None}


class Pruner:
    """The rungs of one space, applied to records.

    Keeps the short forms and the complete means of configurations between calls: records that are added change neither.
    After a record was taken back a new pruner is needed.
    """

    def __init__(self, space: SearchSpace):
        assert space.rungs is not None
        self._space, self._rule = space, space.rungs
        self._sign = 1.0 if space.metric.goal == "minimize" else -1.0
        self._shorts: dict[tuple[str, float], Configuration] = {}
        self._means: dict[str, float] = {}

    def state(self, configurations: Sequence[Configuration], records: Mapping[str, Record]) -> PruningState:
        """What follows from these records, full and short ones; the baseline is the first of the configurations."""
        distinct = {item.id: item for item in reversed(configurations)}
        baseline = distinct.pop(configurations[0].id)
        others = sorted(distinct.values(), key=lambda item: item.index)
        first, later = others[: self._rule.calibrate], others[self._rule.calibrate :]
        progress = {baseline.id: self._progress(baseline, (), None, records)}
        progress |= {item.id: self._progress(item, self._rule.rungs, None, records) for item in first}
        correlations = None
        if len(first) == self._rule.calibrate and all(progress[item.id].settled for item in first):
            correlations = self._correlations(first, progress)
        trusted = tuple(
            rung for rung, correlation in (correlations or {}).items() if correlation.trusted(self._rule.trust)
        )
        before = [progress[item.id] for item in first]
        for item in later:
            calibrating = correlations is None
            progress[item.id] = (
                ConfigurationProgress() if calibrating else self._progress(item, trusted, before, records)
            )
            before.append(progress[item.id])
        return PruningState(progress, correlations, trusted)

    def _correlations(
        self, first: Sequence[Configuration], progress: Mapping[str, ConfigurationProgress]
    ) -> dict[float, RankCorrelation]:
        full = [self._means[item.id] for item in first]
        return {
            rung: rank_correlation([progress[item.id].means[rung] for item in first], full) for rung in self._rule.rungs
        }

    def _progress(
        self,
        item: Configuration,
        rungs: Sequence[float],
        before: Sequence[ConfigurationProgress] | None,
        records: Mapping[str, Record],
    ) -> ConfigurationProgress:
        """From the records so far. before: those asked earlier, or None for a configuration that no rung may prune."""
        progress = ConfigurationProgress()
        for rung in rungs:
            progress.needs.append(self._short(item, rung))
            mean = self._mean(progress.needs[-1], records)
            if mean is not None:
                progress.means[rung] = mean
            if before is None:
                continue
            if mean is None or not all(_is_decided(other, rung) for other in before):
                return progress
            if not _keeps(self._rule, mean, [other.means[rung] for other in before if rung in other.means]):
                progress.pruned_at, progress.settled = rung, True
                return progress
        progress.needs.append(item)
        progress.settled = len(progress.means) == len(rungs) and self._mean(item, records) is not None
        return progress

    def _short(self, item: Configuration, rung: float) -> Configuration:
        key = item.id, rung
        if key not in self._shorts:
            self._shorts[key] = short_of(self._space, item, rung)
        return self._shorts[key]

    def _mean(self, configuration: Configuration, records: Mapping[str, Record]) -> float | None:
        """Mean over all seeds, lower is better; None while one is missing, infinite if one failed."""
        if configuration.id not in self._means:
            per_seed = [records.get(configuration.run_id(seed)) for seed in self._space.seeds]
            whole = [row_of(record.model_dump(mode="json"), "", ()) for record in per_seed if record is not None]
            if len(whole) < len(per_seed):
                return None
            score = outcome_of(self._space, whole).score
            self._means[configuration.id] = math.inf if score is None else self._sign * score
        return self._means[configuration.id]


def _is_decided(other: ConfigurationProgress, rung: float) -> bool:
    """Whether the other configuration has a mean at this rung, or will never have one."""
    return rung in other.means or other.settled


def _keeps(rule: Rungs, mean: float, before: Sequence[float]) -> bool:
    if rule.rule == "median":
        return median_keeps(mean, before)
    return asha_keeps(mean, before, rule.eta or ETA)


def rung_lines(space: SearchSpace, state: PruningState | None) -> list[str]:
    """The rank correlation of each rung with full runs, and how many configurations were pruned, or why none was."""
    if space.rungs is None:
        return [space.no_rungs_because] if space.no_rungs_because else []
    if state is None or state.correlations is None:
        return [f"short runs: prune none before {space.rungs.calibrate} configurations have run short and in full"]
    lines = []
    for rung, correlation in state.correlations.items():
        verdict = "trusted" if rung in state.trusted else "not trusted, no configuration is pruned by it"
        lines.append(
            f"short runs at {rung:g} of the schedule against full ones: {correlation}: {verdict} "
            f"(the lower end must exceed {space.rungs.trust:g})"
        )
    rungs = list(state.pruned.values())
    counts = ", ".join(f"{rungs.count(rung)} pruned at {rung:g}" for rung in state.trusted) or "none was pruned"
    return [*lines, f"of {len(state.progress) - 1} configurations beside the baseline {counts}"]
