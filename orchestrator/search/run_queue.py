"""Which run next? The state machine that a sweep drives alike, inline and on Ray.

Pure but for the journal: no clock, no process, no Ray. Configurations are asked in order, the baseline first, and each
runs on every seed, or in a race on as many as its completed rounds ask for; where `stopping` names rungs, short forms
of it come first. An adaptive search hears of a configuration only once all that may steer it are complete, and of
exactly those: so what is run depends neither on timing, nor on where it runs, nor on a crash.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from orchestrator.search.pruning import Pruner, PruningState
from orchestrator.search.race import race_of
from orchestrator.space.configuration import Configuration, Outcome, baseline_of, identify, outcome_of, total_runs
from orchestrator.space.search_space import SearchSpace
from results.rows.row import row_of
from results.stats.race import Standing
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record


class Pause(Enum):
    """Why there is no next run."""

    WAIT = "only the end of a run in flight can bring one"
    FINISHED = "every run has its record"


Known = tuple[int, int]
"""Numbers of configurations asked and of records."""


WAIT, FINISHED = Pause.WAIT, Pause.FINISHED


@dataclass(frozen=True)
class Run:
    """A configuration with one seed: what a slot is given."""

    run_id: str
    configuration: Configuration
    seed: int
    recipe: Recipe


class Asks(Protocol):
    """A searcher as the queue sees it."""

    def ask(self, earlier: Sequence[Mapping[str, Any]], told: Mapping[int, Outcome]) -> dict[str, Any] | None: ...


class Journal(Protocol):
    """Where asked configurations survive a crash."""

    def asked(self) -> list[Configuration]: ...

    def append(self, configuration: Configuration) -> None: ...


def default_lag(space: SearchSpace, slots: int | None) -> int:
    """Incomplete configurations to run side by side, so that `slots` slots have work; 1 while their number is open.

    To be called when a sweep is created, never later: the machine at hand must not change what is asked.
    """
    return max(1, math.ceil((slots + 1) / len(space.seeds)) if slots else 1)


class RunQueue:
    """Hands out runs until every configuration has a record for every seed.

    records:  finished runs by run id, from earlier lives
    lag:      an adaptive search asks for configuration k once all up to k - 1 - lag are complete. Fixed when the sweep
              is created: another lag would be another list
    """

    def __init__(self, space: SearchSpace, searcher: Asks, journal: Journal, records: Mapping[str, Record], lag: int):
        self._space, self._searcher, self._journal, self._lag = space, searcher, journal, lag
        self._records = dict(records)
        self._handed_out: dict[str, Configuration] = {}
        self._exhausted = False
        self._num_past = 0
        self._pruner = Pruner(space) if space.rungs else None
        self._standing: tuple[Known, Standing] | None = None
        self._pruning: tuple[Known, PruningState] | None = None
        self._configurations = list(journal.asked())
        if not self._configurations:
            self._add(baseline_of(space))
        self._most_runs = total_runs(space, self._configurations)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every configuration."""
        return self._space.seeds

    def seeds_of(self, configuration: Configuration) -> tuple[int, ...]:
        """Seeds that a configuration needs: all of them, or in a race those of its rounds so far."""
        return self.seeds[: self._race().seeds[configuration.id]] if self._space.race else self.seeds

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """All configurations asked so far, the baseline first."""
        return tuple(self._configurations)

    def configuration_of(self, run_id: str) -> Configuration | None:
        """What a run that was handed out runs; on a rung, the short form of what was asked."""
        return self._handed_out.get(run_id)

    @property
    def records(self) -> Mapping[str, Record]:
        """Records by run id, as far as the queue has heard of them."""
        return self._records

    @property
    def total_runs(self) -> int:
        """Runs of the whole sweep; at most this many while configurations are still to be asked."""
        if not self._exhausted or not self._decided():
            return self._most_runs
        return sum(1 for item in {item.id: item for item in self._configurations}.values() for _ in self._runs_of(item))

    def next_run(self) -> Run | Pause:
        """A run that nobody has; WAIT while only other runs' ends can bring one; FINISHED when there is none left."""
        while self._space.race is not None and self._ask():
            pass  # a race starts once everybody is known
        while True:
            for run_id, configuration, seed in self._missing():
                if run_id not in self._handed_out:
                    self._handed_out[run_id] = configuration
                    return Run(run_id, configuration, seed, self._space.recipe(configuration.values, seed))
            if not self._ask():
                return WAIT if next(self._missing(), None) else FINISHED

    def finished(self, run_id: str, record: Record) -> None:
        """A run has its record; telling it twice changes nothing. The first record stands."""
        self._records.setdefault(run_id, record)

    @property
    def _known(self) -> Known:
        """How much a decision rests on. The screen's thread asks too, so what was worked out carries it: a look that
        began before a run ended must not be taken for one after it."""
        return len(self._configurations), len(self._records)

    def forget(self, run_id: str) -> None:
        """A run's record counts no longer: it is handed out again."""
        self._records.pop(run_id, None)
        self._handed_out.pop(run_id, None)
        self._num_past = 0
        self._standing = self._pruning = None

    def _race(self) -> Standing:
        known, found = self._known, self._standing
        if found is None or found[0] != known:
            found = known, race_of(self._space, list(self._configurations), dict(self._records))
            self._standing = found
        return found[1]

    def _pruned(self) -> PruningState:
        known, found = self._known, self._pruning
        if found is None or found[0] != known:
            assert self._pruner is not None
            found = known, self._pruner.state(list(self._configurations), dict(self._records))
            self._pruning = found
        return found[1]

    def _decided(self) -> bool:
        if self._space.rungs is not None:
            return self._pruned().over
        return self._space.race is None or self._race().over

    def _runs_of(self, configuration: Configuration) -> Iterator[tuple[Configuration, int]]:
        """Runs that a configuration needs by now; on a rung, runs of a shorter form of it."""
        forms = self._pruned().progress[configuration.id].needs if self._space.rungs else (configuration,)
        return itertools.product(forms, self.seeds_of(configuration))

    def _missing(self) -> Iterator[tuple[str, Configuration, int]]:
        """Runs without a record, configuration by configuration, seed by seed."""
        self._pass_complete()
        for asked in itertools.islice(self._configurations, self._num_past, None):
            for configuration, seed in self._runs_of(asked):
                run_id = configuration.run_id(seed)
                if run_id not in self._records:
                    yield run_id, configuration, seed

    def _pass_complete(self) -> None:
        """Leaves the leading configurations behind that need no run any more, else every look would walk past all of
        them; in a race, or on rungs, a configuration that is complete may need more later."""
        if self._space.race is None and self._space.rungs is None:
            left = itertools.islice(self._configurations, self._num_past, None)
            self._num_past += sum(1 for _ in itertools.takewhile(self._complete, left))

    def _ask(self) -> bool:
        """One more configuration; False when there is none, or none yet."""
        steering = self._configurations[: max(0, len(self._configurations) - self._lag)] if self._space.adaptive else []
        if self._exhausted or not all(self._complete(configuration) for configuration in steering):
            return False
        searched = [item.values for item in self._configurations if not item.is_baseline]
        told = {item.index - 1: self._outcome(item) for item in steering if not item.is_baseline}
        values = self._searcher.ask(searched, told)
        self._exhausted = values is None
        if values is not None:
            self._add(identify(self._space, len(self._configurations), values))
        return values is not None

    def _add(self, configuration: Configuration) -> None:
        self._journal.append(configuration)
        self._configurations.append(configuration)

    def _complete(self, configuration: Configuration) -> bool:
        if self._space.rungs:
            return self._pruned().progress[configuration.id].settled
        return all(configuration.run_id(seed) in self._records for seed in self.seeds)

    def outcome(self, configuration: Configuration) -> Outcome | None:
        """What became of a configuration; None while it needs, or may yet need, another run."""
        settled = self._left_the_race(configuration) if self._space.race else self._complete(configuration)
        return self._outcome(configuration) if settled else None

    def _left_the_race(self, configuration: Configuration) -> bool:
        return self._race().over or self._race().statuses.get(configuration.id, "running") != "running"

    def _outcome(self, configuration: Configuration) -> Outcome:
        short, is_pruned = self._short_means(configuration) if self._space.rungs else ((), False)
        if is_pruned:
            return Outcome(None, short=short)
        records = [self._records[configuration.run_id(seed)] for seed in self.seeds_of(configuration)]
        outcome = outcome_of(self._space, [row_of(record.model_dump(mode="json"), "", ()) for record in records])
        return outcome if outcome.score is None else replace(outcome, short=short)

    def _short_means(self, configuration: Configuration) -> tuple[tuple[tuple[float, float], ...], bool]:
        """Means at the rungs that it ran, none if one of them failed; and whether it was pruned there."""
        progress = self._pruned().progress[configuration.id]
        sign = 1.0 if self._space.metric.goal == "minimize" else -1.0
        whole = all(map(math.isfinite, progress.means.values()))
        means = tuple((rung, sign * mean) for rung, mean in progress.means.items()) if whole else ()
        return means, progress.pruned_at is not None
