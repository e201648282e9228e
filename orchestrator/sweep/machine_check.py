"""The drift guard's rules: which machines of one sweep are not like the others, judged by what their runs recorded.

A machine is compared with the first one that finished a run of the sweep (unless the driver, which is a machine too, is
unlike that one and like the other), and its speed with that of its equals or the preset's. What the rules say, and
which runs are to be repeated because of it, is a pure function of records and notes; `quarantine` writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from orchestrator.space.sections import Fact, Guard
from results.rows.machines import quarantined_by
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.spec.stage_table import stages_below
from trainer.spec.stage_times import Expected

GPU_MIN_SPEED = 0.9
"""Below this part of its equals' speed a GPU machine is broken; the speed of a CPU is its load's."""


SHARDS = ("train_shards", "val_shards")


NO_VERSIONS = ("name", "hardware", "driver", "attention", *SHARDS)
"""Facts of a machine that are not versions of packages."""


Facts = Mapping[str, str]
"""What a machine is like, by name of the fact."""
Computed = tuple[str, str, str, str]
"""A stage, its fingerprint, where and when it was computed: one computation, not its repetition."""


@dataclass(frozen=True)
class MachineNotes:
    """What was noted of the machines of a sweep so far."""

    reference: Facts
    """The machine that all others are compared with; empty before the first run ended."""
    driver: Facts
    """What the driver was like then."""
    quarantined: Mapping[str, str]
    """Machines that take no more runs, and why."""
    trusted: frozenset[str]
    """Machines whose runs count whatever the rules say."""
    tainted: frozenset[Computed]
    """Computations that no run may stand on."""

    @classmethod
    def of(cls, events: Sequence[Mapping[str, Any]]) -> MachineNotes:
        """From the lines of the sweep's file, in their order."""
        latest = {event["event"]: event.get("facts", {}) for event in events}
        return cls(
            reference=latest.get("reference", {}),
            driver=latest.get("driver", {}),
            quarantined=quarantined_by(events),
            trusted=frozenset(event["machine"] for event in events if event["event"] == "trusted"),
            tainted=frozenset(tuple(stage) for event in events for stage in event.get("tainted", ())),
        )


@dataclass(frozen=True)
class SetAside:
    """A run whose record does not count, so that it is repeated."""

    run_id: str
    why: str
    tainted: tuple[Computed, ...] = ()
    """What it stands on that must not be in the store."""


@dataclass(frozen=True)
class Decision:
    """What follows from the record of one run; empty for a run that fits to the others."""

    driver: Facts = field(default_factory=dict)
    """What the driver is like, to be noted beside the first reference."""
    reference: Facts = field(default_factory=dict)
    """The machine that is the reference from now on, where that is another one than before."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Machines that take no more runs from now on, and why."""
    set_aside: tuple[SetAside, ...] = ()

    @property
    def repeated(self) -> list[str]:
        """The runs that must be done again."""
        return [item.run_id for item in self.set_aside]


@dataclass(frozen=True)
class Complaint:
    """One reason not to trust a machine."""

    words: str
    of_speed: bool = False
    """Whether the machine is merely slow: what it computed before training then stands."""


def decide(
    run_id: str,
    records: Mapping[str, Record],
    notes: MachineNotes,
    guard: Guard,
    expected: Expected | None,
    driver: Callable[[], Facts],
) -> Decision:
    """What follows from a run that ended, for it and for those that ended before it.

    records:  of this run and those before it, without those set aside
    driver:   what the driver is like; called when the first run of a sweep has ended
    """
    driver_facts, reference = _new_reference(records[run_id], notes, guard, driver)
    asked = [run_id, *(records if reference and notes.reference else ())]
    failing = _failing(asked, records, reference or notes.reference, notes.trusted, guard, expected)
    quarantined: dict[str, str] = {}
    set_aside = []
    for failed_id, complaints in failing.items():
        record, why = records[failed_id], "; ".join(complaint.words for complaint in complaints)
        machine = record.machine["name"]
        if machine not in notes.quarantined:
            quarantined.setdefault(machine, why)
        tainted = tuple(_doubted(record, complaints))
        set_aside.append(SetAside(failed_id, f"machine {machine} drifted: {why}", tainted))
    forbidden = notes.tainted.union(*(item.tainted for item in set_aside))
    for other_id, other in records.items():
        tainted = tuple(computed for computed in computations_of(other) if computed in forbidden)
        if tainted and other_id not in failing:
            set_aside.append(SetAside(other_id, "it stands on a stage that a drifted machine computed", tainted))
    return Decision(driver_facts, reference, quarantined, tuple(set_aside))


def _new_reference(
    record: Record, notes: MachineNotes, guard: Guard, driver: Callable[[], Facts]
) -> tuple[Facts, Facts]:
    """Facts of the driver and of the run's machine when that becomes the reference, else both empty.

    It does when it is the first; or when the first one was the odd one, as the driver tells: what it was like when the
    first run ended agrees with this machine, not with the first.
    """
    facts, before = facts_of(record), notes.reference
    if not facts or facts["name"] == before.get("name"):
        return {}, {}
    if not before:
        return driver(), facts
    odd = {name for name, _, _ in differing(before, facts, guard.same)}
    if not odd or odd - set(notes.driver) or any(notes.driver[name] != facts[name] for name in odd):
        return {}, {}
    return {}, facts


def _failing(
    asked: Sequence[str],
    records: Mapping[str, Record],
    reference: Facts,
    trusted: Collection[str],
    guard: Guard,
    expected: Expected | None,
) -> dict[str, list[Complaint]]:
    """Of the runs asked about; and if the first of them trained, of all that did, since it may show them slow."""
    trained = {name: record for name, record in records.items() if speed_of(record) is not None}
    complaints = {}
    for run_id in dict.fromkeys([*asked, *(trained if asked[0] in trained else ())]):
        found = complaints_about(records[run_id], reference, list(trained.values()), guard, expected)
        if found and records[run_id].machine["name"] not in trusted:
            complaints[run_id] = found
    return complaints


def _doubted(record: Record, complaints: Sequence[Complaint]) -> Iterator[Computed]:
    """What the run computed itself; of a machine that is merely slow, what it computed by training and after."""
    merely_slow = all(complaint.of_speed for complaint in complaints)
    doubted = set(record.stages_run) & (stages_below("train") if merely_slow else set(record.stages_run))
    return (computed for computed in computations_of(record) if computed[0] in doubted)


def computations_of(record: Record) -> list[Computed]:
    """Every stage that a run stands on, its own and others'."""
    return [(stage, made.fingerprint, made.host, made.started_at) for stage, made in record.stages.items()]


def facts_of(record: Record) -> dict[str, str]:
    """What the run's machine is like, by name of the fact; empty for a run that computed nothing itself."""
    return {**record.machine, "hardware": record.hardware} if record.machine and record.stages_run else {}


def complaints_about(
    record: Record, reference: Facts, others: Sequence[Record], guard: Guard, expected: Expected | None
) -> list[Complaint]:
    """Why a run's machine is not to be trusted; nothing for a run that computed nothing itself.

    reference: facts of the machine that all others are compared with
    others:    records that tell how fast other machines are
    expected:  what the preset declares, where it declares anything
    """
    facts = facts_of(record)
    if not facts:
        return []
    told = [
        Complaint(f"{name} = {mine}, but {theirs} on {reference['name']}")
        for name, mine, theirs in differing(facts, reference, guard.same)
    ]
    return [*told, *_slowness(record, others, guard, expected), *_recompiles(record, guard)]


def differing(
    mine: Mapping[str, str], theirs: Mapping[str, str], facts: Sequence[Fact]
) -> Iterator[tuple[str, str, str]]:
    """Name and both values of each fact in which two machines differ; one that either lacks is no difference."""
    for fact in facts:
        for name in _named(fact, mine):
            if name in theirs and mine[name] != theirs[name]:
                yield name, mine[name], theirs[name]


def _named(fact: Fact, facts: Mapping[str, str]) -> list[str]:
    if fact == "shards":
        return [name for name in SHARDS if name in facts]
    if fact == "versions":
        return [name for name in facts if name not in NO_VERSIONS]
    return [fact] if fact in facts else []


def _slowness(record: Record, others: Sequence[Record], guard: Guard, expected: Expected | None) -> Iterator[Complaint]:
    on_cpu = record.hardware.startswith("CPU")
    least = (0.0 if on_cpu else GPU_MIN_SPEED) if guard.min_speed is None else guard.min_speed
    speed = speed_of(record)
    if not least or speed is None:
        return
    found = _preset_speed(record, expected) if guard.reference == "preset" else _peer_speed(record, others)
    if found is not None and speed < least * found[0]:
        ratio = f"{speed / found[0]:.2f} of {found[1]}"
        yield Complaint(f"{speed:,.0f} tokens per second, {ratio}; guard.min_speed = {least:g}", of_speed=True)


def speed_of(record: Record) -> float | None:
    """Training tokens per second, if the run trained itself."""
    speed = record.metric("train", "tokens_per_s") if "train" in record.stages_run else None
    return None if speed is None else float(speed)


def _preset_speed(record: Record, expected: Expected | None) -> tuple[float, str] | None:
    recipe = Recipe.model_validate(dict(record.recipe))
    if expected is None or expected.stage_s(recipe, "train") is None:
        return None
    return expected.tokens_per_s, f"what {record.preset} declares for {expected.hardware}"


def _peer_speed(record: Record, others: Sequence[Record]) -> tuple[float, str] | None:
    """The fastest median among other machines of this hardware that trained a model of these sizes."""
    speeds: dict[str, list[float]] = {}
    for other in others:
        speed, name = speed_of(other), other.machine.get("name", "")
        alike = other.hardware == record.hardware and other.num_ranks == record.num_ranks
        if speed and name != record.machine["name"] and alike and _workload(other) == _workload(record):
            speeds.setdefault(name, []).append(speed)
    medians = {name: median(found) for name, found in speeds.items()}
    fastest = max(medians, key=medians.__getitem__, default=None)
    return None if fastest is None else (medians[fastest], f"machine {fastest}")


def _workload(record: Record) -> str:
    return record.stages["train"].workload


def _recompiles(record: Record, guard: Guard) -> Iterator[Complaint]:
    made = record.metric("train", "graphs_inside_clock") if "train" in record.stages_run else None
    if made and int(made) > guard.max_recompiles:
        words = f"{made} graphs compiled inside the clock; guard.max_recompiles = {guard.max_recompiles}"
        yield Complaint(words, of_speed=True)
