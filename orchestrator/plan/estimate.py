"""Estimates a sweep before it runs: what it would compute, what is stored, seconds, GPU-hours, bytes on disk.

Reads fingerprints and the store alone; starts neither torch nor Ray, but for the bytes of large artifacts that the
store has none of, which a process of the trainer estimates. Seconds are means over earlier runs in this store
of the same sizes, else what the preset declares, and so an estimate: they know nothing of this machine's load.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Literal

from orchestrator.plan.artifact_size import Estimate, artifact_sizes, estimate_by_trainer, no_estimate
from orchestrator.plan.detectable_effect import evidence_of
from orchestrator.plan.makespan import INLINE_START_S, START_S
from orchestrator.plan.plan import Plan, Resources, RunPlan, SecondsFrom, StagePlan
from orchestrator.run.placement import expected_ranks, expected_slots, this_machine
from orchestrator.search.pruner import rung_lines
from orchestrator.space.configuration import (
    Configuration,
    Precedent,
    baseline_of,
    fewest_runs,
    grid_of,
    identify,
    in_turns,
    short_of,
    total_runs,
)
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.lost_records import demand_undamaged
from orchestrator.sweep.seed_blocks import ONE_ARTIFACT, BlocksChoice, blocks_line, choose_blocks
from orchestrator.sweep.sweep import Sweep, list_sweeps, sweep_of_space
from orchestrator.sweep.warm_start import precedent_lines, precedents_of
from results.rows.read import plain_rows
from results.stats.t_tests import Block
from trainer.data.corpus import text_digests
from trainer.spec.environment import environment
from trainer.spec.errors import DataError
from trainer.spec.fingerprint import TextDigests, fingerprints, workload
from trainer.spec.load import expected_of
from trainer.spec.recipe import Recipe
from trainer.spec.record import run_id_of
from trainer.spec.runnable import Runnable
from trainer.spec.stage_table import TEXT_STAGES, artifact_stage, possible_stages
from trainer.spec.stage_times import Expected
from trainer.stages.run_record import NO_TEXT
from trainer.store.local import StageStore
from trainer.store.shared import stage_store

SAMPLED_FOLDERS = 20
"""Newest folders of a stage whose size is taken as typical."""
PlannedTest = tuple[Literal["paired", "unpaired", "none"], Block | None, str]
"""The test of a verdict, what pairs the runs, and why."""
ALONE = Resources()
NOT_ASKED: PlannedTest = ("none", None, "not worked out: only costs were asked for")
Held = Callable[[str, str], bool]
"""Whether the store holds a stage of this fingerprint."""


def plan_here(
    space: SearchSpace,
    slots: int | None,
    workers: int | None,
    store: Path,
    inline: bool = False,
    costs_only: bool = False,
) -> Plan:
    """The plan for this machine; for the preset's own hardware when that has GPUs and this machine has none.

    slots, workers:  as given; None for what fits
    inline:          one run after another in one process, which does not start Ray
    costs_only:      without the test, its statistical power and the sizes of artifacts, which take as long
    """
    texts = None
    with contextlib.suppress(DataError):  # the estimate works before the text is fetched
        texts = text_digests(space.base.data) if isinstance(space.base, Recipe) else NO_TEXT
    declared, here = expected_of(space.preset), this_machine().gpus
    elsewhere = declared is not None and declared.gpus > 0 and not here
    gpus = (workers or declared.gpus) if declared and elsewhere else expected_ranks(workers) if here else 0
    num_slots = (
        1
        if inline or space.takes_turns
        else slots or (1 if elsewhere else expected_slots(total_runs(space), workers=workers))
    )
    resources = Resources(num_slots, gpus, INLINE_START_S if inline else START_S)
    place = environment(expected_ranks(workers))
    return make_plan(space, stage_store(store), texts, place, resources, estimate_by_trainer, costs_only)


def make_plan(
    space: SearchSpace,
    store: StageStore,
    texts: TextDigests | None,
    place: str,
    resources: Resources = ALONE,
    estimate: Estimate = no_estimate,
    costs_only: bool = False,
    fresh_seeds: bool = False,
) -> Plan:
    """What the sweep would run against this store.

    texts:        identities of train and validation text of the space's recipe; None where they are not at hand
    place:        the environment that a wall-clock budget hashes
    estimate:     of the bytes of artifacts that this store has none of
    costs_only:   see `plan_here`
    fresh_seeds:  the text is prepared and no run of these seeds has begun, so that `texts` and `place` do not matter
    """
    sweep = sweep_of_space(store.root, space)
    asked = sweep.asked() if sweep else []
    recorded = _recorded(sweep) if sweep else set()
    run_fingerprints = _RunFingerprints(space, texts or TextDigests("not here", "not here"), place)
    kept = BlocksChoice(sweep.blocks, sweep.blocks_because) if sweep else None
    if costs_only:
        test, block, reason = NOT_ASKED
    else:
        test, block, reason = _test(space, run_fingerprints, kept or choose_blocks(space, list_sweeps(store.root)))
    known: dict[str, Configuration] = {}
    without_evidence = costs_only or test == "none"
    listed = [baseline_of(space), *(grid_of(space) if space.method == "grid" else asked)]
    for item in listed:
        known.setdefault(item.id, item)
    held = cache(
        lambda stage, fingerprint: stage in TEXT_STAGES if fresh_seeds else store.find(stage, fingerprint) is not None
    )
    total = total_runs(space, listed)
    lengths = 1 + (len(space.rungs.rungs) if space.rungs else 0)
    unchosen = (total // len(space.seeds) - 1) // lengths + 1 - len(known)
    return Plan(
        space=space,
        total_runs=total,
        fewest_runs=fewest_runs(space, total),
        recorded_runs=len(recorded),
        configurations=tuple(known.values()),
        stages=tuple(_plan_stages(space, store, run_fingerprints, list(known.values()), unchosen, held)),
        runs=tuple(_plan_runs(space, run_fingerprints, list(known.values()), unchosen, recorded, held)),
        resources=resources,
        text_is_here=texts is not None,
        test=test,
        test_reason=reason,
        evidence=None if without_evidence else evidence_of(space, block, store.root, sweep),
        sizes=()
        if costs_only
        else artifact_sizes(
            space, [*known.values(), *(run_fingerprints.probes if unchosen else ())], store.root, estimate
        ),
        notes=_notes(space, sweep.precedents if sweep else precedents_of(store.root, space)),
    )


def _recorded(sweep: Sweep) -> set[str]:
    """Runs that have a record, short ones too. Raises StoreError for one that cannot be read or was lost."""
    rows, unreadable = plain_rows(sweep.folder, sweep.space.swept_keys)
    demand_undamaged([*unreadable, *sweep.lost_records()])
    recorded = {run_id_of(row["config"], row["seed"]) for row in rows if row["status"] != "drifted"}
    return recorded | {*sweep.short_records()}


def _notes(space: SearchSpace, precedents: Sequence[Precedent]) -> tuple[str, ...]:
    turns = f"configurations take turns, one run after another on one machine, since {space.compare.metric} is compared"
    return (*precedent_lines(precedents), *rung_lines(space, None), *([turns] if space.takes_turns else []))


def _forms(space: SearchSpace, item: Configuration) -> list[Configuration]:
    """What may run of a configuration: itself, and before it its short schedules; of the baseline itself alone."""
    rungs = space.rungs.rungs if space.rungs and not item.is_baseline else ()
    return [*(short_of(space, item, rung) for rung in rungs), item]


class _RunFingerprints:
    """Fingerprints of runs, computed once each."""

    def __init__(self, space: SearchSpace, texts: TextDigests, environment: str):
        self._space, self._texts, self._environment = space, texts, environment
        self._known: dict[tuple[str, int], dict[str, str]] = {}
        self._latest: tuple[str, Runnable] | None = None
        probes = [identify(space, 0, values) for values in space.probes()]
        self.probes: Sequence[Configuration] = list({probe.id: probe for probe in probes}.values())

    def of(self, configuration: Configuration, seed: int) -> Mapping[str, str]:
        """Fingerprint of each stage of a run."""
        key = configuration.id, seed
        if key not in self._known:
            self._known[key] = fingerprints(self._recipe(configuration, seed), self._texts, self._environment)
        return self._known[key]

    def _recipe(self, configuration: Configuration, seed: int) -> Runnable:
        """Validated once for all seeds of a configuration, which differ in nothing else."""
        if self._latest is None or self._latest[0] != configuration.id:
            self._latest = configuration.id, self._space.recipe(configuration.values, seed)
        recipe = self._latest[1]
        return recipe if recipe.seed == seed else recipe.model_copy(update={"seed": seed})

    def distinct(self, configurations: Iterable[Configuration], stage: str, seeds: Sequence[int]) -> set[str]:
        """Distinct fingerprints of one stage over configurations and seeds."""
        fingerprints = (self.of(item, seed).get(stage) for item in configurations for seed in seeds)
        return {fingerprint for fingerprint in fingerprints if fingerprint is not None}

    def touched(self, stage: str) -> bool:
        """Whether a swept key changes the stage, seeds held fixed."""
        return len({self.of(probe, self._space.seeds[0]).get(stage) for probe in self.probes}) > 1


def _plan_stages(
    space: SearchSpace,
    store: StageStore,
    run_fingerprints: _RunFingerprints,
    known: Sequence[Configuration],
    unchosen: int,
    held: Held,
) -> Iterable[StagePlan]:
    lengths = 1 + (len(space.rungs.rungs) if space.rungs else 0)
    recipe, expected = space.recipe(run_fingerprints.probes[0].values), cache(lambda: expected_of(space.preset))
    for stage in possible_stages(space.base):
        open_ended = unchosen > 0 and run_fingerprints.touched(stage)
        representatives = known if unchosen == 0 or open_ended else [*known, *run_fingerprints.probes[:1]]
        forms = [form for item in representatives for form in _forms(space, item)]
        needed = run_fingerprints.distinct(forms, stage, space.seeds)
        if not needed and not open_ended:
            continue
        to_come = unchosen * len(space.seeds) if open_ended else 0
        seconds_each, seconds_from = _seconds_each(recipe, expected, store, stage)
        if seconds_each is not None and stage == "train":
            parts = [form.rung for form in forms for _ in space.seeds]
            parts += [*(space.rungs.rungs if space.rungs else ()), 1.0] * to_come
            seconds_each *= fmean(parts)
        standing = sum(
            stage in run_fingerprints.of(item, space.seeds[0]) for item in known for _ in _forms(space, item)
        )
        yield StagePlan(
            stage=stage,
            runs=(standing + unchosen * lengths) * len(space.seeds),
            needed=len(needed) + to_come * lengths,
            exact=not open_ended and ((space.race is None and space.rungs is None) or len(needed) == 1),
            cached=sum(held(stage, fingerprint) for fingerprint in needed),
            seconds_each=seconds_each,
            seconds_from=seconds_from,
            bytes_each=fmean(sizes) if (sizes := store.recent_bytes(stage, SAMPLED_FOLDERS)) else None,
        )


def _plan_runs(
    space: SearchSpace,
    run_fingerprints: _RunFingerprints,
    known: Sequence[Configuration],
    unchosen: int,
    recorded: Collection[str],
    held: Held,
) -> Iterable[RunPlan]:
    """Every run in order; one not chosen yet has stages of its own wherever a swept key changes the stage."""
    forms = [form for asked in known for form in _forms(space, asked)]
    ordered = in_turns(known, space.seeds) if space.takes_turns else itertools.product(forms, space.seeds)
    for item, seed in ordered:
        missing = tuple(stage for stage in run_fingerprints.of(item, seed).items() if not held(*stage))
        done = item.run_id(seed) in recorded
        yield RunPlan(item, seed, done, () if done else missing)
    swept = {stage for stage in possible_stages(space.base) if unchosen > 0 and run_fingerprints.touched(stage)}
    for number in range(unchosen):
        for form, seed in itertools.product(_forms(space, run_fingerprints.probes[0]), space.seeds):
            needed = run_fingerprints.of(form, seed).items()
            to_compute = (
                (stage, f"{fingerprint} of {number}" if stage in swept else fingerprint)
                for stage, fingerprint in needed
                if stage in swept or not held(stage, fingerprint)
            )
            yield RunPlan(None, seed, False, tuple(to_compute))


def _seconds_each(
    recipe: Runnable, expected: Callable[[], Expected | None], store: StageStore, stage: str
) -> tuple[float | None, SecondsFrom]:
    """A wall-clock budget is used up; anything else takes as long as it took, or as the preset says."""
    budget = recipe.budget if isinstance(recipe, Recipe) else None
    if stage == "train" and budget is not None and budget.train_s is not None and budget.train_steps is None:
        return budget.train_s, "budget"
    if history := store.recent_seconds(stage, workload(recipe, stage)):
        return fmean(history), "history"
    declared = known.stage_s(recipe, stage) if isinstance(recipe, Recipe) and (known := expected()) else None
    return declared, "unknown" if declared is None else "preset"


def _test(space: SearchSpace, run_fingerprints: _RunFingerprints, choice: BlocksChoice) -> PlannedTest:
    """The test of a verdict, what pairs the runs, and why; chosen before any run, so that no score can influence it."""
    baseline = baseline_of(space)
    others = [probe for probe in run_fingerprints.probes if probe.id != baseline.id]
    if not others:
        return "none", None, "the baseline alone is run: its spread over seeds is the answer"
    stage = artifact_stage(space.base)
    artifacts = {run_fingerprints.of(item, space.seeds[0])[stage] for item in [baseline, *others]} if stage else ()
    if len(artifacts) == 1 and choice.blocks != "none":
        return "paired", "artifact", ONE_ARTIFACT
    if choice.blocks == "seed":
        return "paired", "seed", blocks_line(choice)
    return "unpaired", None, blocks_line(choice)
