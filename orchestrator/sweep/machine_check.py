"""The rules of the machine check: which machines of one sweep differ from the others, by the records of their runs.

A machine is compared with the first one that finished a run of the sweep (or with another
one, where the driver agrees with that one and not with the first). Its speed is compared with machines of the same
hardware, or with the preset. The result, and the runs to be repeated, are a pure function of records and notes;
`quarantine` writes them down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.space.sections import Fact, Guard
from orchestrator.sweep.seen_runs import Computed, SeenRuns, computations_of, speed_of
from results.rows.machines import quarantined_by
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.spec.stage_table import stages_below
from trainer.spec.stage_times import Expected

GPU_MIN_SPEED = 0.9
"""Default of guard.min_speed on GPUs; CPUs have none, because their speed depends on other load."""


SHARDS = ("train_shards", "val_shards")


TEXT = "text"
"""Fact that names the text a run read: shards are compared between runs of one text alone."""


NO_VERSIONS = ("name", "hardware", "driver", "attention", TEXT, *SHARDS)
"""Facts of a machine that are not versions of packages."""


Facts = Mapping[str, str]
"""Facts of a machine: versions, hardware and the like, by name."""


@dataclass(frozen=True)
class MachineNotes:
    """The notes on the machines of a sweep so far."""

    reference: Facts
    """The machine that all others are compared with; empty before the first run ended."""
    driver: Facts
    """Facts of the driver when the first run ended."""
    quarantined: Mapping[str, str]
    """Machines that take no more runs, and why."""
    differing: frozenset[str]
    """Those of the quarantined that differ by more than their speed."""
    trusted: frozenset[str]
    """Machines whose runs count even if they fail the rules (`--trust`)."""
    tainted: frozenset[Computed]
    """Computations whose results no run may use."""

    @classmethod
    def of(cls, events: Sequence[Mapping[str, Any]]) -> MachineNotes:
        """From the lines of the sweep's file, in their order."""
        latest = {event["event"]: event.get("facts", {}) for event in events}
        return cls(
            reference=latest.get("reference", {}),
            driver=latest.get("driver", {}),
            quarantined=quarantined_by(events),
            differing=frozenset(event["machine"] for event in events if event.get("of_speed") is False),
            trusted=frozenset(event["machine"] for event in events if event["event"] == "trusted"),
            tainted=frozenset(tuple(stage) for event in events for stage in event.get("tainted", ())),
        )


@dataclass(frozen=True)
class Complaint:
    """One reason not to trust a machine."""

    words: str
    of_speed: bool = False
    """Whether the machine is only slow: stages that it computed before training then still count."""


@dataclass(frozen=True)
class SetAside:
    """A run whose record does not count, so that it is repeated."""

    run_id: str
    why: str
    tainted: tuple[Computed, ...] = ()
    """Computations that it used and that are to be removed from the store."""


@dataclass(frozen=True)
class Decision:
    """The consequences of the record of one run; empty for a run whose machine agrees with the others."""

    driver: Facts = field(default_factory=dict)
    """Facts of the driver, to be noted beside the first reference."""
    reference: Facts = field(default_factory=dict)
    """Facts of the machine that becomes the reference; empty if the reference stays."""
    quarantined: Mapping[str, Complaint] = field(default_factory=dict)
    """Machines that take no more runs from now on, and why."""
    set_aside: tuple[SetAside, ...] = ()

    @property
    def repeated(self) -> list[str]:
        """The runs that must be done again."""
        return [item.run_id for item in self.set_aside]


def decide(
    run_id: str,
    seen: SeenRuns,
    notes: MachineNotes,
    guard: Guard,
    expected: Expected | None,
    driver: Callable[[], Facts],
    since: str,
) -> Decision:
    """The consequences of a run that ended, for it and for those that ended before it.

    seen:     this run and those before it, without those set aside
    driver:   returns the facts of the driver; called when the first run of a sweep has ended
    since:    when the sweep was created; what its machines computed before is not its business
    """
    driver_facts, reference = _new_reference(seen[run_id], notes, guard, driver)
    checked = [run_id, *(seen if reference and notes.reference else ())]
    failing = _failing(checked, seen, reference or notes.reference, notes.trusted, guard, expected)
    quarantined: dict[str, Complaint] = {}
    set_aside = []
    for failed_id, complaints in failing.items():
        record, why = seen[failed_id], "; ".join(complaint.words for complaint in complaints)
        machine = record.machine["name"]
        if machine not in notes.quarantined:
            quarantined.setdefault(machine, Complaint(why, all(complaint.of_speed for complaint in complaints)))
        tainted = tuple(_doubted(record, complaints))
        set_aside.append(SetAside(failed_id, f"machine {machine} drifted: {why}", tainted))
    doubted = {name: name not in notes.differing for name in notes.quarantined}
    doubted |= {name: complaint.of_speed for name, complaint in quarantined.items()}
    forbidden = notes.tainted.union(*(item.tainted for item in set_aside), _unaccounted(seen, doubted, since))
    standing = {other_id for computed in forbidden for other_id in seen.users(computed)} - set(failing)
    for other_id in seen if standing else ():
        if other_id in standing:
            tainted = tuple(computed for computed in computations_of(seen[other_id]) if computed in forbidden)
            set_aside.append(SetAside(other_id, "it stands on a stage that a drifted machine computed", tainted))
    return Decision(driver_facts, reference, quarantined, tuple(set_aside))


def _new_reference(
    record: Record, notes: MachineNotes, guard: Guard, driver: Callable[[], Facts]
) -> tuple[Facts, Facts]:
    """Facts of the driver and of the run's machine when that becomes the reference, else both empty.

    It does when it is the first; or when, in every fact in which the two differ, the driver agreed with this machine
    at the end of the first run.
    """
    facts, before = facts_of(record), notes.reference
    if not facts or facts["name"] == before.get("name"):
        return {}, {}
    if not before:
        return driver(), facts
    differing_facts = {name for name, _, _ in differing(before, facts, guard.same)}
    if not differing_facts or any(notes.driver.get(name) != facts[name] for name in differing_facts):
        return {}, {}
    return {}, facts


def _failing(
    checked: Sequence[str],
    seen: SeenRuns,
    reference: Facts,
    trusted: Collection[str],
    guard: Guard,
    expected: Expected | None,
) -> dict[str, list[Complaint]]:
    """Complaints about the checked runs, and about those that the first of them shows to be slow, if it trained."""
    first = seen[checked[0]]
    least = least_speed(first, guard) if guard.reference != "preset" and speed_of(first) is not None else 0.0
    complaints = {}
    for run_id in dict.fromkeys([*checked, *(seen.slow_beside(first, least) if least else ())]):
        run_complaints = complaints_about(seen[run_id], reference, seen, guard, expected)
        if run_complaints and seen[run_id].machine["name"] not in trusted:
            complaints[run_id] = run_complaints
    return complaints


def _doubted(record: Record, complaints: Sequence[Complaint]) -> Iterator[Computed]:
    """Computations of the run itself; of a machine that is only slow, those of training and later stages."""
    only_slow = all(complaint.of_speed for complaint in complaints)
    doubted = set(record.stages_run) & (stages_below("train") if only_slow else set(record.stages_run))
    return (computed for computed in computations_of(record) if computed[0] in doubted)


def _unaccounted(seen: SeenRuns, quarantined: Mapping[str, bool], since: str) -> Iterator[Computed]:
    """Computations by quarantined machines, used by these runs, that no record of a run on that machine lists.

    They belong to runs that were under way when the machine was quarantined, so nothing was checked about them.
    quarantined:  by machine, whether it is only slow: stages that it computed before training then count
    """
    for host, only_slow in quarantined.items():
        for computed in seen.unchecked(host):
            stage, _, _, started_at = computed
            if started_at >= since and (not only_slow or stage in stages_below("train")):
                yield computed


def facts_of(record: Record) -> dict[str, str]:
    """Facts of the run's machine by name; empty for a run that computed no stage itself."""
    if not record.machine or not record.stages_run:
        return {}
    return {**record.machine, "hardware": record.hardware, **_text_of(record)}


def _text_of(record: Record) -> dict[str, str]:
    data = record.recipe.get("data", {})
    return {TEXT: " ".join(str(data.get(key, "")) for key in ("source", "folder", "tokenizer")).strip()}


def complaints_about(
    record: Record, reference: Facts, others: SeenRuns, guard: Guard, expected: Expected | None
) -> list[Complaint]:
    """Why a run's machine is not trusted; empty for a run that computed no stage itself.

    reference: facts of the machine that all others are compared with
    others:    runs that the speed of other machines is read from
    expected:  times that the preset declares, or None
    """
    facts = facts_of(record)
    if not facts:
        return []
    differences = [
        Complaint(f"{name} = {mine}, but {theirs} on {reference['name']}")
        for name, mine, theirs in differing(facts, reference, guard.same)
    ]
    return [*differences, *_slowness(record, others, guard, expected), *_recompiles(record, guard)]


def differing(
    mine: Mapping[str, str], theirs: Mapping[str, str], facts: Sequence[Fact]
) -> Iterator[tuple[str, str, str]]:
    """Name and both values of each fact in which two machines differ; a fact that either lacks is no difference.

    Nor are the shards of two texts.
    """
    for fact in facts:
        other_text = fact == "shards" and mine.get(TEXT, "") != theirs.get(TEXT, mine.get(TEXT, ""))
        for name in () if other_text else _named(fact, mine):
            if name in theirs and mine[name] != theirs[name]:
                yield name, mine[name], theirs[name]


def _named(fact: Fact, facts: Mapping[str, str]) -> list[str]:
    if fact == "shards":
        return [name for name in SHARDS if name in facts]
    if fact == "versions":
        return [name for name in facts if name not in NO_VERSIONS]
    return [fact] if fact in facts else []


def least_speed(record: Record, guard: Guard) -> float:
    """The part of its peers' speed, or the preset's, that a run's machine must reach; 0 where any will do."""
    on_cpu = record.hardware.startswith("CPU")
    return (0.0 if on_cpu else GPU_MIN_SPEED) if guard.min_speed is None else guard.min_speed


def _slowness(record: Record, others: SeenRuns, guard: Guard, expected: Expected | None) -> Iterator[Complaint]:
    least, speed = least_speed(record, guard), speed_of(record)
    if not least or speed is None:
        return
    compared_with = _preset_speed(record, expected) if guard.reference == "preset" else others.peer_speed(record)
    if compared_with is not None and speed < least * compared_with[0]:
        ratio = f"{speed / compared_with[0]:.2f} of {compared_with[1]}"
        yield Complaint(f"{speed:,.0f} tokens per second, {ratio}; guard.min_speed = {least:g}", of_speed=True)


def _preset_speed(record: Record, expected: Expected | None) -> tuple[float, str] | None:
    if expected is None:
        return None
    recipe = Recipe.model_validate(dict(record.recipe))
    if expected.stage_s(recipe, "train") is None:
        return None
    return expected.tokens_per_s, f"what {record.preset} declares for {expected.hardware}"


def _recompiles(record: Record, guard: Guard) -> Iterator[Complaint]:
    made = record.metric("train", "graphs_inside_clock") if "train" in record.stages_run else None
    if made and int(made) > guard.max_recompiles:
        words = f"{made} graphs compiled inside the clock; guard.max_recompiles = {guard.max_recompiles}"
        yield Complaint(words, of_speed=True)
