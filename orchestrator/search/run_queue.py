"""The run queue: chooses the next run of a sweep, the same inline and on Ray.

Pure but for the journal: no clock, no process, no Ray. Configurations are asked in order, the baseline first, and each
runs on every seed, or in a race on as many as its completed rounds ask for; where `stopping` names rungs, short forms
of it come first. An adaptive search is called once a fixed set of earlier configurations is complete, with the
outcomes of exactly those: so the runs do not depend on timing, on the machine, or on a crash.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from orchestrator.search.pruner import Pruner
from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, Outcome, baseline_of, identify, in_turns, total_runs
from orchestrator.space.search_space import SearchSpace
from trainer.spec.record import Record
from trainer.spec.runnable import Runnable


class Pause(Enum):
    """Why there is no next run."""

    WAIT = "the next run depends on a run in flight"
    FINISHED = "every run has its record"


WAIT, FINISHED = Pause.WAIT, Pause.FINISHED


@dataclass(frozen=True)
class Run:
    """A configuration with one seed, as a slot computes it."""

    run_id: str
    configuration: Configuration
    seed: int
    recipe: Runnable


class ChoosesConfigurations(Protocol):
    """What the queue needs of a searcher."""

    def ask(self, earlier: Sequence[Mapping[str, Any]], outcomes: Mapping[int, Outcome]) -> dict[str, Any] | None: ...


class Journal(Protocol):
    """Keeps the asked configurations on disk, so that a restart reads them."""

    def asked(self) -> list[Configuration]: ...

    def append(self, configuration: Configuration) -> None: ...


def default_lag(space: SearchSpace, slots: int | None) -> int:
    """Incomplete configurations to run side by side, so that `slots` slots have work; 1 while their number is open.

    Called only when a sweep is created: resuming on another machine must not change the configurations.
    """
    return max(1, math.ceil((slots + 1) / len(space.seeds)) if slots else 1)


class RunQueue:
    """Hands out runs until every configuration has a record for every seed it needs.

    records:  finished runs by run id, from before this process started
    lag:      an adaptive search asks for configuration k once all up to k - 1 - lag are complete. Fixed when the sweep
              is created: another lag would give other configurations
    """

    def __init__(
        self,
        space: SearchSpace,
        searcher: ChoosesConfigurations,
        journal: Journal,
        records: Mapping[str, Record],
        lag: int,
    ):
        self._space, self._searcher, self._journal, self._lag = space, searcher, journal, lag
        self._records = dict(records)
        self._handed_out: dict[str, Configuration] = {}
        self._exhausted = False
        self._num_past = 0
        self._pruner = Pruner(space) if space.rungs else None
        self._version = 0
        self._latest: tuple[int, SweepState] | None = None
        self._configurations = list(journal.asked())
        self._begun = bool(self._configurations)
        if not self._begun:
            self._configurations.append(baseline_of(space))
        self._most_runs = total_runs(space, self._configurations)

    @property
    def state(self) -> SweepState:
        """What follows from the configurations and records so far.

        The screen's thread reads it too, so the state is kept with the version it was made for: a state from before a
        run ended must not be used after it.
        """
        version, latest = self._version, self._latest
        if latest is None or latest[0] != version:
            latest = version, SweepState(self._space, self._configurations, self._records, self._pruner)
            self._latest = latest
        return latest[1]

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """All configurations asked so far, the baseline first."""
        return tuple(self._configurations)

    def configuration_of(self, run_id: str) -> Configuration | None:
        """The configuration of a run that was handed out; at a rung, the short form of the asked one."""
        return self._handed_out.get(run_id)

    @property
    def records(self) -> Mapping[str, Record]:
        """Records by run id, as far as `finished` was called."""
        return self._records

    @property
    def total_runs(self) -> int:
        """Runs of the whole sweep; at most this many while configurations are still to be asked.

        What `stopping` dropped is known without asking, also of a finished sweep that is opened again.
        """
        stops = self._space.race is not None or self._space.rungs is not None
        is_known = self._exhausted or (stops and self._begun and self.state.all_asked)
        return self.state.needed_runs if is_known and self.state.is_decided else self._most_runs

    def next_run(self) -> Run | Pause:
        """A run not handed out yet; WAIT while the next one depends on runs in flight; FINISHED when none is left.

        The first call writes the baseline to the journal, which declares its seeds: a sweep that never starts must not.
        """
        if not self._begun:
            self._begun = True
            self._journal.append(self._configurations[0])
        while (self._space.race is not None or self._space.takes_turns) and self._ask():
            pass  # a race starts once all configurations are known, and so do turns
        while True:
            for run_id, configuration, seed in self._missing():
                if run_id not in self._handed_out:
                    self._handed_out[run_id] = configuration
                    return Run(run_id, configuration, seed, self._space.recipe(configuration.values, seed))
            if not self._ask():
                return WAIT if next(self._missing(), None) else FINISHED

    def finished(self, run_id: str, record: Record) -> None:
        """A run has its record; calling it twice changes nothing. The first record stands."""
        self._records.setdefault(run_id, record)
        self._version += 1

    def forget(self, run_id: str) -> None:
        """Drops a run's record, so that the run is handed out again."""
        self._records.pop(run_id, None)
        self._handed_out.pop(run_id, None)
        self._num_past = 0
        self._pruner = Pruner(self._space) if self._space.rungs else None  # the other one keeps the record's mean
        self._version += 1

    def _missing(self) -> Iterator[tuple[str, Configuration, int]]:
        """Runs without a record, configuration by configuration, seed by seed; or in turns."""
        self._pass_complete()
        state = self.state
        if self._space.takes_turns:
            for configuration, seed in in_turns(self._configurations, self._space.seeds):
                if (run_id := configuration.run_id(seed)) not in self._records:
                    yield run_id, configuration, seed
            return
        for configuration in itertools.islice(self._configurations, self._num_past, None):
            for form, seed in state.runs_of(configuration):
                run_id = form.run_id(seed)
                if run_id not in self._records:
                    yield run_id, form, seed

    def _pass_complete(self) -> None:
        """Skips the leading configurations that need no more runs in all later calls, so that these do not repeat the
        check; not in a race or with rungs, where a complete configuration may need more runs later."""
        if self._space.race is None and self._space.rungs is None and not self._space.takes_turns:
            left = itertools.islice(self._configurations, self._num_past, None)
            self._num_past += sum(1 for _ in itertools.takewhile(self.state.is_settled, left))

    def _ask(self) -> bool:
        """Adds one more configuration; returns False when there is none, or none yet."""
        if self._exhausted:
            return False
        steering = self._configurations[: max(0, len(self._configurations) - self._lag)] if self._space.adaptive else []
        if not all(self.state.is_settled(configuration) for configuration in steering):
            return False
        outcomes = {item.index - 1: self.state.outcome(item) for item in steering if not item.is_baseline}
        values = self._searcher.ask(
            [item.values for item in self._configurations if not item.is_baseline],
            {index: outcome for index, outcome in outcomes.items() if outcome is not None},
        )
        self._exhausted = values is None
        if values is not None:
            self._add(identify(self._space, len(self._configurations), values))
        return values is not None

    def _add(self, configuration: Configuration) -> None:
        self._journal.append(configuration)
        self._configurations.append(configuration)
        self._version += 1
