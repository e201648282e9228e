"""The drift guard's rules: which machines of one sweep are not like the others, judged by what their runs recorded.

A machine is held against the first one that finished a run of the sweep (unless the driver, which is a machine too, is
unlike that one and like the other), and its speed against its equals or the preset. What the rules say is a pure
function of records; what follows from it is in `quarantine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.space.sections import Fact, Guard
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.spec.stage_times import Expected

GPU_MIN_SPEED = 0.9
"""Below this part of its equals' speed a GPU machine is broken; the speed of a CPU is its load's."""


SHARDS = ("train_shards", "val_shards")


NO_VERSIONS = ("name", "hardware", "driver", "attention", *SHARDS)
"""Facts of a machine that are not versions of packages."""


@dataclass(frozen=True)
class Complaint:
    """One reason not to trust a machine."""

    words: str
    of_speed: bool = False
    """Whether the machine is merely slow: what it computed before training then stands."""


def facts_of(record: Record) -> dict[str, str]:
    """What the run's machine is like, by name of the fact; empty for a run that computed nothing itself."""
    return {**record.machine, "hardware": record.hardware} if record.machine and record.stages_run else {}


def complaints_about(
    record: Record, reference: Mapping[str, str], others: Sequence[Record], guard: Guard, expected: Expected | None
) -> list[Complaint]:
    """Why a run's machine is not to be trusted; nothing for a run that computed nothing itself.

    reference: facts of the machine that all others are held against
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
