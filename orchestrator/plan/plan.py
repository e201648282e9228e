"""A plan as a value: what a sweep would run, stage by stage and run by run, and what that would cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from orchestrator.plan.artifact_size import ArtifactSize
from orchestrator.plan.detectable_effect import Evidence
from orchestrator.plan.makespan import START_S, makespan_s
from orchestrator.search.next_run import Stage
from orchestrator.space.configuration import Configuration
from orchestrator.space.search_space import SearchSpace
from trainer.spec.runnable import by_the_clock

SecondsFrom = Literal["budget", "history", "preset", "unknown"]


@dataclass(frozen=True)
class StagePlan:
    """One stage over the whole sweep."""

    stage: str
    runs: int
    """Runs that stand on it; where they are more than `needed`, they share it."""
    needed: int
    """Distinct fingerprints; an upper bound unless `exact`."""
    exact: bool
    cached: int
    """Of these, finished in the store; configurations not yet chosen count as missing."""
    seconds_each: float | None
    """Expected seconds of one; None if unknown."""
    seconds_from: SecondsFrom
    """A wall clock that is used up, earlier runs in this store, or what the preset declares."""
    bytes_each: float | None
    """Expected bytes on disk of one."""

    @property
    def missing(self) -> int:
        """What must be computed."""
        return self.needed - self.cached

    @property
    def seconds(self) -> float | None:
        """Expected seconds of all that is missing."""
        return times(self.missing, self.seconds_each)

    @property
    def disk_bytes(self) -> float | None:
        """Expected bytes on disk of all that is missing."""
        return times(self.missing, self.bytes_each)


@dataclass(frozen=True)
class RunPlan:
    """One run of the sweep."""

    configuration: Configuration | None
    """None while the search has yet to choose it."""
    seed: int
    recorded: bool
    """Whether it has its record already."""
    missing: tuple[Stage, ...]
    """Its stages that the store does not hold, in running order; other runs may need them too."""


@dataclass(frozen=True)
class Resources:
    """What the sweep would run on."""

    slots: int = 1
    gpus_per_run: int = 0
    """GPUs that a run holds while it computes."""
    start_s: float = START_S
    """Seconds before the first run begins."""


@dataclass(frozen=True, repr=False)
class Plan:
    """What a sweep would run, and what it would cost."""

    space: SearchSpace
    total_runs: int
    fewest_runs: int
    """Below `total_runs` where configurations may be pruned or eliminated."""
    recorded_runs: int
    """Runs that have their record already, from an earlier driver of the same sweep."""
    configurations: tuple[Configuration, ...]
    """Baseline and grid; of a sampled search only the baseline is known."""
    stages: tuple[StagePlan, ...]
    runs: tuple[RunPlan, ...]
    resources: Resources
    text_is_here: bool
    """Whether the text could be read; if not, nothing could be looked up in the store."""
    test: Literal["paired", "unpaired", "none"]
    test_reason: str
    evidence: Evidence | None
    """Power of the planned seeds; None when there is nothing to compare."""
    sizes: tuple[ArtifactSize, ...] = ()
    """Estimated bytes of the artifacts."""
    notes: tuple[str, ...] = ()
    """Warnings and remarks that are printed below the plan."""

    def __repr__(self) -> str:
        return f"plan of sweep {self.space.name}: {self.total_runs} runs, {self.recorded_runs} of them recorded already"

    @property
    def mode(self) -> Literal["steps", "clock"]:
        """What ends a training: a number of steps is the same on every machine, a time limit is not. Of a program
        nobody knows, so it counts as the clock."""
        return "clock" if by_the_clock(self.space.base) else "steps"

    @property
    def all_stored(self) -> bool:
        """Whether no run misses a stage, so that nothing would be computed."""
        return not any(run.missing for run in self.runs)

    @property
    def exact(self) -> bool:
        """Whether the counts are exact; otherwise they are upper bounds."""
        return all(stage.exact for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Expected seconds of everything missing, one after another; None while a stage is unknown."""
        return _total(stage.seconds for stage in self.stages)

    @cached_property
    def wall_s(self) -> float | None:
        """Expected seconds from start to end on the planned slots; None while a stage is unknown."""
        chains = [run.missing for run in self.runs if run.missing]
        needed = {stage for chain in chains for stage, _ in chain}
        seconds = {stage.stage: stage.seconds_each for stage in self.stages if stage.seconds_each is not None}
        if needed - set(seconds):
            return None
        return self.resources.start_s + makespan_s(chains, seconds, self.resources.slots) if chains else 0.0

    @property
    def gpu_hours(self) -> float | None:
        """Expected GPU-hours; 0 without a GPU."""
        return times(self.resources.gpus_per_run / 3600, self.seconds)

    @property
    def usd(self) -> float | None:
        """Expected cost; None while hours or price are unknown."""
        price = self.space.budget.usd_per_gpu_hour
        return None if price is None else times(price, self.gpu_hours)

    @property
    def disk_bytes(self) -> float | None:
        """Expected growth of the store."""
        return _total(stage.disk_bytes for stage in self.stages)

    @property
    def over_budget(self) -> bool:
        """Whether more GPU-hours are expected than `budget.gpu_hours` has left."""
        limit, hours = self.space.budget.gpu_hours, self.gpu_hours
        return limit is not None and hours is not None and hours > limit


def times(count: float, each: float | None) -> float | None:
    """0 of something unknown is 0."""
    if count == 0:
        return 0.0
    return None if each is None else count * each


def _total(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)
