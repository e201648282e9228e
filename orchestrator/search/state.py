"""What the configurations and records of a sweep decide: seeds, race, pruning, outcomes, the number of runs.

A pure function of its three fields, for a sweep on disk and for the queue of a running one alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.search.pruner import ConfigurationProgress, Pruner, PruningState
from orchestrator.search.race_state import race_of
from orchestrator.space.configuration import Configuration, Outcome, outcome_of, total_runs
from orchestrator.space.search_space import SearchSpace
from results.rows.row import row_of
from results.stats.race_rule import Standing
from trainer.spec.record import Record


@dataclass(frozen=True, eq=False)
class SweepState:
    """One sweep at one moment. Race and pruning are computed at the first access, and then kept."""

    space: SearchSpace
    configurations: Sequence[Configuration]
    """In the order they were asked, the baseline first."""
    records: Mapping[str, Record]
    """By run id, those of short runs too. Not read where the number of runs is known without them."""
    pruner: Pruner | None = None
    """Keeps means from one state to the next; by default a new one."""

    @cached_property
    def race(self) -> Standing | None:
        """The state of the race; None without a race, or before the first configuration."""
        if self.space.race is None or not self.configurations:
            return None
        return race_of(self.space, list(self.configurations), dict(self.records))

    @cached_property
    def pruning(self) -> PruningState | None:
        """Which configurations are pruned; None for a space without rungs, or before the first configuration."""
        if self.space.rungs is None or not self.configurations:
            return None
        pruner = self.pruner or Pruner(self.space)
        return pruner.state(list(self.configurations), dict(self.records))

    def seeds_of(self, configuration: Configuration) -> tuple[int, ...]:
        """Seeds that a configuration needs: all of them, or in a race those of its rounds so far."""
        return self.space.seeds if self.race is None else self.space.seeds[: self.race.seeds[configuration.id]]

    def runs_of(self, configuration: Configuration) -> Iterator[tuple[Configuration, int]]:
        """Runs that a configuration needs by now; at a rung, runs of a shorter form of it."""
        forms = (configuration,) if self.pruning is None else self.pruning.progress[configuration.id].needs
        return itertools.product(forms, self.seeds_of(configuration))

    @property
    def is_decided(self) -> bool:
        """Whether `stopping` adds no runs to those known now; always true without stopping."""
        if self.pruning is not None:
            return self.pruning.over
        return self.race is None or self.race.over

    @property
    def all_asked(self) -> bool:
        """Whether every configuration of the space has been asked, as far as their number is known."""
        return len(self.configurations) > (self.space.num_configurations or 0)

    @property
    def needed_runs(self) -> int:
        """Runs that the configurations asked so far need by now, equal ones counted once.

        A run counts as well that `stopping` asked for before other runs were repeated, after they had failed or on a
        machine that drifted: it has its record and stands in the table, though it would not be asked for now.
        """
        distinct = {item.id: item for item in self.configurations}
        if self.race is None and self.pruning is None:
            return sum(1 for item in distinct.values() for _ in self.runs_of(item))
        needed = {form.run_id(seed) for item in distinct.values() for form, seed in self.runs_of(item)}
        return len(needed.union(self.records))

    @property
    def total_runs(self) -> int:
        """Runs of the whole sweep; an upper bound while configurations or runs may still be added or dropped."""
        starts_when_all_are_asked = self.race is not None
        if self.configurations and (self.all_asked or starts_when_all_are_asked) and self.is_decided:
            return self.needed_runs
        return total_runs(self.space, self.configurations)

    @property
    def missing_runs(self) -> int:
        """How many of `total_runs` have no record."""
        return max(0, self.total_runs - len(self.records))

    def is_settled(self, configuration: Configuration) -> bool:
        """Whether a configuration needs no more runs, now or later."""
        if self.pruning is not None:
            return self.pruning.progress[configuration.id].settled
        if self.race is not None:
            return self.race.over or self.race.statuses.get(configuration.id, "running") != "running"
        return all(configuration.run_id(seed) in self.records for seed in self.space.seeds)

    def outcome(self, configuration: Configuration) -> Outcome | None:
        """Score, violations and short means of a configuration; None before it is settled."""
        if not self.is_settled(configuration):
            return None
        progress = None if self.pruning is None else self.pruning.progress[configuration.id]
        short = () if progress is None else self._short_means(progress)
        if progress is not None and progress.pruned_at is not None:
            return Outcome(None, short=short)
        records = [self.records[configuration.run_id(seed)] for seed in self.seeds_of(configuration)]
        outcome = outcome_of(self.space, [row_of(record.model_dump(mode="json"), "", ()) for record in records])
        return outcome if outcome.score is None else replace(outcome, short=short)

    def _short_means(self, progress: ConfigurationProgress) -> tuple[tuple[float, float], ...]:
        """Means at the rungs that it ran, in the metric's own direction; none if one of them failed."""
        sign = 1.0 if self.space.metric.goal == "minimize" else -1.0
        whole = all(map(math.isfinite, progress.means.values()))
        return tuple((rung, sign * mean) for rung, mean in progress.means.items()) if whole else ()
