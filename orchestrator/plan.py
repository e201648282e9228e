"""The price before the run: what a sweep would compute, what the store has already, seconds, GPU-hours, bytes on disk.

Reads fingerprints and the store alone; starts neither torch nor Ray. Seconds are means over earlier runs in this store
of the same sizes, and so an estimate: they know nothing of this machine's load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from orchestrator.configuration import (
    Configuration,
    Precedent,
    baseline_of,
    fewest_runs,
    grid_of,
    identify,
    total_runs,
)
from orchestrator.evidence import Evidence, evidence_of
from orchestrator.journal import same_question
from orchestrator.precedents import precedent_lines, precedents_of
from orchestrator.question import SearchSpace
from orchestrator.rungs import rung_lines, short_of
from trainer.spec.fingerprint import TextDigests, fingerprints, workload
from trainer.spec.stage_table import STAGES
from trainer.stages.cache import StageStore

SAMPLED_FOLDERS = 20
"""Newest folders of a stage whose size is taken as typical."""


@dataclass(frozen=True)
class StagePlan:
    """One stage over the whole sweep."""

    stage: str
    needed: int
    """Distinct fingerprints; an upper bound unless `exact`."""
    exact: bool
    cached: int
    """Of these, finished in the store; configurations not yet chosen count as missing."""
    seconds_each: float | None
    """Expected seconds of one; None while the store has no experience."""
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
class Plan:
    """What a sweep would run, and what it would cost."""

    space: SearchSpace
    total_runs: int
    fewest_runs: int
    """Below `total_runs` where configurations may be dropped."""
    recorded_runs: int
    """Runs that have their record already, from an earlier life of the same sweep."""
    configurations: tuple[Configuration, ...]
    """Baseline and grid; of a sampled search only the baseline is known."""
    stages: tuple[StagePlan, ...]
    gpus_per_run: int
    test: Literal["paired", "unpaired", "none"]
    test_reason: str
    evidence: Evidence | None
    """What the seeds can prove; None when there is nothing to compare."""
    notes: tuple[str, ...] = ()
    """What else a person should know before paying."""

    @property
    def exact(self) -> bool:
        """Whether the counts hold, or are upper bounds."""
        return all(stage.exact for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Expected seconds of everything missing, one after another; None while a stage is unknown."""
        return _total(stage.seconds for stage in self.stages)

    @property
    def gpu_hours(self) -> float | None:
        """Expected GPU-hours; 0 without a GPU."""
        return times(self.gpus_per_run / 3600, self.seconds)

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


def make_plan(
    space: SearchSpace, store: StageStore, texts: TextDigests, environment: str, gpus_per_run: int = 0
) -> Plan:
    """What the sweep would run against this store.

    texts:         identities of train and validation text of the space's recipe
    environment:   what a wall-clock budget hashes
    gpus_per_run:  GPUs that a run holds while it computes
    """
    sweep = same_question(store.root, space)
    asked = sweep.asked() if sweep else []
    marks = _Marks(space, texts, environment)
    test, reason = _test(space, marks)
    known: dict[str, Configuration] = {}
    for item in [baseline_of(space), *(grid_of(space) if space.method == "grid" else asked)]:
        known.setdefault(item.id, item)
    return Plan(
        space=space,
        total_runs=total_runs(space, asked),
        fewest_runs=fewest_runs(space),
        recorded_runs=len(sweep.records()) + len(sweep.short_records()) if sweep else 0,
        configurations=tuple(known.values()),
        stages=tuple(_plan_stages(space, store, marks, list(known.values()))),
        gpus_per_run=gpus_per_run,
        test=test,
        test_reason=reason,
        evidence=None if test == "none" else evidence_of(space, test == "paired", store.root),
        notes=_notes(space, sweep.precedents if sweep else precedents_of(store.root, space)),
    )


def _notes(space: SearchSpace, precedents: Sequence[Precedent]) -> tuple[str, ...]:
    return (*precedent_lines(precedents), *rung_lines(space, None))


class _Marks:
    """Fingerprints of runs, computed once each."""

    def __init__(self, space: SearchSpace, texts: TextDigests, environment: str):
        self._space, self._texts, self._environment = space, texts, environment
        self._known: dict[tuple[str, int], dict[str, str]] = {}
        probes = [identify(space, 0, values) for values in space.probes()]
        self.probes: Sequence[Configuration] = list({probe.id: probe for probe in probes}.values())

    def of(self, configuration: Configuration, seed: int) -> Mapping[str, str]:
        """Fingerprint of each stage of a run."""
        key = configuration.id, seed
        if key not in self._known:
            recipe = self._space.recipe(configuration.values, seed)
            self._known[key] = fingerprints(recipe, self._texts, self._environment)
        return self._known[key]

    def distinct(self, configurations: Iterable[Configuration], stage: str, seeds: Sequence[int]) -> set[str]:
        """Distinct fingerprints of one stage over configurations and seeds."""
        found = (self.of(item, seed).get(stage) for item in configurations for seed in seeds)
        return {mark for mark in found if mark is not None}

    def touched(self, stage: str) -> bool:
        """Whether a swept key changes the stage, seeds held fixed."""
        return len({self.of(probe, self._space.seeds[0]).get(stage) for probe in self.probes}) > 1


def _plan_stages(
    space: SearchSpace, store: StageStore, marks: _Marks, known: Sequence[Configuration]
) -> Iterable[StagePlan]:
    searched = sum(not item.is_baseline for item in known)
    unknown = (space.num_configurations or 0) - searched if space.method != "grid" else 0
    rungs = (*space.rungs.rungs, 1.0) if space.rungs else (1.0,)
    for stage in STAGES:
        open_ended = unknown > 0 and marks.touched(stage)
        representatives = known if unknown == 0 or open_ended else [*known, *marks.probes[:1]]
        found = {rung: marks.distinct(_at(space, representatives, rung), stage, space.seeds) for rung in rungs}
        needed = set().union(*found.values())
        if not needed and not open_ended:
            continue
        to_come = unknown * len(space.seeds) if open_ended else 0
        lengths = [rung for rung in rungs for _ in range(len(found[rung]) + to_come)]
        each = _seconds_each(marks.probes[0].values, space, store, stage)
        yield StagePlan(
            stage=stage,
            needed=len(needed) + to_come * len(rungs),
            exact=not open_ended and space.rungs is None,
            cached=sum(store.find(stage, mark) is not None for mark in needed),
            seconds_each=each * fmean(lengths) if each is not None and stage == "train" and lengths else each,
            bytes_each=_bytes_each(store, stage),
        )


def _at(space: SearchSpace, configurations: Iterable[Configuration], rung: float) -> list[Configuration]:
    """The configurations that run at this part of the schedule; the baseline runs in full alone."""
    if rung == 1:
        return list(configurations)
    return [short_of(space, item, rung) for item in configurations if not item.is_baseline]


def _seconds_each(values: Mapping[str, Any], space: SearchSpace, store: StageStore, stage: str) -> float | None:
    """A wall-clock budget is used up; anything else takes as long as it took."""
    recipe = space.recipe(values)
    if stage == "train" and recipe.budget.train_s is not None:
        return recipe.budget.train_s
    history = store.history(stage, workload(recipe, stage))
    return fmean(history) if history else None


def _bytes_each(store: StageStore, stage: str) -> float | None:
    folders = [folder for folder in (store.root / "stages" / stage).glob("[!.]*") if folder.is_dir()]
    newest = sorted(folders, key=lambda folder: folder.stat().st_mtime)[-SAMPLED_FOLDERS:]
    return fmean(_folder_bytes(folder) for folder in newest) if newest else None


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _test(space: SearchSpace, marks: _Marks) -> tuple[Literal["paired", "unpaired", "none"], str]:
    """The plan picks the test, not the data: runs pair when they share the trained artifact, seed by seed."""
    baseline = baseline_of(space)
    others = [probe for probe in marks.probes if probe.id != baseline.id]
    if not others:
        return "none", "the baseline alone is run: its spread over seeds is the answer"
    artifacts = {marks.of(item, space.seeds[0])["export"] for item in [baseline, *others]}
    if len(artifacts) == 1:
        return "paired", "every configuration scores the same trained artifact of each seed"
    return "unpaired", "configurations train or export differently, so runs of one seed number share nothing"


def times(count: float, each: float | None) -> float | None:
    """0 of something unknown is 0."""
    if count == 0:
        return 0.0
    return None if each is None else count * each


def _total(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)
