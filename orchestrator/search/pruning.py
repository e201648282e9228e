"""Short schedules first: which runs each configuration needs by now, with `stopping: {rule: asha}` or `median`.

A rung is a part of the schedule, trained whole: all counts of steps and the wall clock shrink alike, so that a short
run has its own cooldown. The first configurations run at every rung and in full; once all of them are complete it is
known which rungs rank like full runs, and only those are used. Every later one climbs from rung to rung until its mean
over all seeds, held against those asked before it, drops it. All of it follows from the records and the order of
asking, never from timing; the baseline runs in full alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.space.configuration import Configuration, outcome_of, short_of
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import Rungs
from results.rows.row import row_of
from results.stats.pruning import RankCorrelation, asha_keeps, median_keeps, rank_correlation
from trainer.spec.record import Record

ETA = 3
"""One in how many goes on under asha, unless the space says otherwise."""


@dataclass
class Climb:
    """How far one configuration has come, and what it needs."""

    needs: list[Configuration] = field(default_factory=list)
    """Itself or shorter forms of it, each to be run on all seeds."""
    means: dict[float, float] = field(default_factory=dict)
    """Mean score at each rung it has completed, lower is better; infinite if a seed failed."""
    dropped_at: float | None = None
    settled: bool = False
    """Whether it needs nothing beyond `needs`, and has all of it."""


@dataclass(frozen=True)
class Ascent:
    """Where all configurations of a sweep with rungs stand."""

    climbs: Mapping[str, Climb]
    """By configuration; the baseline is among them."""
    correlations: Mapping[float, RankCorrelation] | None
    """Of each rung's ranking with the full one; None while the first configurations are still running."""
    trusted: tuple[float, ...]
    """Rungs that later configurations are dropped by."""

    @property
    def over(self) -> bool:
        """Whether nobody asked so far needs another run."""
        return all(climb.settled for climb in self.climbs.values())

    @property
    def dropped(self) -> dict[str, float]:
        """Who was dropped, and at which rung."""
        return {config: climb.dropped_at for config, climb in self.climbs.items() if climb.dropped_at is not None}


def ascent_of(space: SearchSpace, configurations: Sequence[Configuration], records: Mapping[str, Record]) -> Ascent:
    """Where the sweep stands, from its records alone. Only for a space with `rungs`."""
    return Ladder(space).ascent(configurations, records)


class Ladder:
    """The rungs of one space; remembers what later records cannot change, the short forms and the complete means."""

    def __init__(self, space: SearchSpace):
        assert space.rungs is not None
        self._space, self._rule = space, space.rungs
        self._sign = 1.0 if space.metric.goal == "minimize" else -1.0
        self._shorts: dict[tuple[str, float], Configuration] = {}
        self._means: dict[str, float] = {}

    def ascent(self, configurations: Sequence[Configuration], records: Mapping[str, Record]) -> Ascent:
        """Where all configurations stand, the baseline first among those asked."""
        everyone = {item.id: item for item in reversed(configurations)}
        baseline = everyone.pop(configurations[0].id)
        others = sorted(everyone.values(), key=lambda item: item.index)
        first, later = others[: self._rule.calibrate], others[self._rule.calibrate :]
        climbs = {baseline.id: self._climb(baseline, (), None, records)}
        climbs |= {item.id: self._climb(item, self._rule.rungs, None, records) for item in first}
        correlations = None
        if len(first) == self._rule.calibrate and all(climbs[item.id].settled for item in first):
            correlations = self._correlations(first, climbs)
        trusted = tuple(rung for rung, found in (correlations or {}).items() if found.trusted(self._rule.trust))
        before = [climbs[item.id] for item in first]
        for item in later:
            climbs[item.id] = Climb() if correlations is None else self._climb(item, trusted, before, records)
            before.append(climbs[item.id])
        return Ascent(climbs, correlations, trusted)

    def _correlations(
        self, first: Sequence[Configuration], climbs: Mapping[str, Climb]
    ) -> dict[float, RankCorrelation]:
        full = [self._means[item.id] for item in first]
        return {
            rung: rank_correlation([climbs[item.id].means[rung] for item in first], full) for rung in self._rule.rungs
        }

    def _climb(
        self,
        item: Configuration,
        rungs: Sequence[float],
        before: Sequence[Climb] | None,
        records: Mapping[str, Record],
    ) -> Climb:
        """As far as the records go. before: those asked earlier, or None for one that climbs whatever it scores."""
        climb = Climb()
        for rung in rungs:
            climb.needs.append(self._short(item, rung))
            mean = self._mean(climb.needs[-1], records)
            if mean is not None:
                climb.means[rung] = mean
            if before is None:
                continue
            if mean is None or not all(_is_decided(other, rung) for other in before):
                return climb
            if not _keeps(self._rule, mean, [other.means[rung] for other in before if rung in other.means]):
                climb.dropped_at, climb.settled = rung, True
                return climb
        climb.needs.append(item)
        climb.settled = len(climb.means) == len(rungs) and self._mean(item, records) is not None
        return climb

    def _short(self, item: Configuration, rung: float) -> Configuration:
        key = item.id, rung
        if key not in self._shorts:
            self._shorts[key] = short_of(self._space, item, rung)
        return self._shorts[key]

    def _mean(self, configuration: Configuration, records: Mapping[str, Record]) -> float | None:
        """Mean over all seeds, lower is better; None while one is missing, infinite if one failed."""
        if configuration.id not in self._means:
            found = [records.get(configuration.run_id(seed)) for seed in self._space.seeds]
            whole = [row_of(record.model_dump(mode="json"), "", ()) for record in found if record is not None]
            if len(whole) < len(found):
                return None
            score = outcome_of(self._space, whole).score
            self._means[configuration.id] = math.inf if score is None else self._sign * score
        return self._means[configuration.id]


def _is_decided(other: Climb, rung: float) -> bool:
    """Whether it is known that the other one has a score at this rung, or never will."""
    return rung in other.means or other.settled


def _keeps(rule: Rungs, mean: float, before: Sequence[float]) -> bool:
    if rule.rule == "median":
        return median_keeps(mean, before)
    return asha_keeps(mean, before, rule.eta or ETA)


def rung_lines(space: SearchSpace, ascent: Ascent | None) -> list[str]:
    """What the short runs were good for: their rank correlation with full ones, who was dropped, or why nobody was."""
    if space.rungs is None:
        return [space.no_rungs_because] if space.no_rungs_because else []
    if ascent is None or ascent.correlations is None:
        told = f"short runs: not believed before {space.rungs.calibrate} configurations have run short and in full"
        return [told]
    lines = []
    for rung, found in ascent.correlations.items():
        verdict = "trusted" if rung in ascent.trusted else "not trusted, nobody is dropped by it"
        lines.append(
            f"short runs at {rung:g} of the schedule against full ones: {found}: {verdict} "
            f"(the lower end must exceed {space.rungs.trust:g})"
        )
    dropped = ascent.dropped
    counts = {rung: list(dropped.values()).count(rung) for rung in ascent.trusted}
    told = ", ".join(f"{count} dropped at {rung:g}" for rung, count in counts.items()) or "nobody was dropped"
    return [*lines, f"of {len(ascent.climbs) - 1} configurations beside the baseline {told}"]
