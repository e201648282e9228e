"""What the machine check asks of the runs seen so far: equal to reading all records, at a cost that does not grow."""

import gc
import random
import sys
from statistics import median

import pytest

from orchestrator.space.sections import Guard
from orchestrator.sweep.machine_check import MachineNotes, decide
from orchestrator.sweep.seen_runs import SeenRuns, computations_of, speed_of
from tests.orchestrator.sweep.test_machine_check import record
from trainer.spec.record import Record, StageOutcome

NOTES = MachineNotes.of([{"event": "reference", "facts": {"name": "alpha"}}])


def run_of(chance: random.Random) -> Record:
    """A run on one of three machines, with a training of its own or another run's, of one of two sizes."""
    machine = chance.choice(["alpha", "beta", "gamma"])
    made = record(machine, chance.choice([0.0, 900.0, 1000.0, 1100.0, 1200.0]), hardware=chance.choice(["A", "B"]))
    host, when = chance.choice(["alpha", "beta", "gamma"]), str(chance.randrange(4))
    text = StageOutcome(stage="train_text", fingerprint="t", seconds=1.0, started_at=when, host=host, metrics={})
    train = made.stages["train"].model_copy(update={"workload": chance.choice("wv"), "started_at": when})
    computed = chance.choice([("train",), ("train_text",), ("train_text", "train"), ()])
    return made.model_copy(update={"stages": {"train_text": text, "train": train}, "stages_run": computed})


def peer_speed(one: Record, others: list[Record]) -> float | None:
    """The fastest median of other machines, from all records."""
    measured: dict[str, list[float]] = {}
    for other in others:
        same = (other.hardware, other.stages["train"].workload) == (one.hardware, one.stages["train"].workload)
        if same and speed_of(other) and other.machine["name"] != one.machine["name"]:
            measured.setdefault(other.machine["name"], []).append(speed_of(other) or 0.0)
    return max(map(median, measured.values()), default=None)


@pytest.mark.parametrize("seed", range(5))
def test_answers_are_those_of_reading_every_record_whatever_was_added_replaced_and_forgotten(seed):
    chance, seen, kept = random.Random(seed), SeenRuns(), {}
    for _ in range(60):
        name = f"run {chance.randrange(25)}"
        if name in kept and chance.random() < 0.3:
            assert seen.pop(name) == kept.pop(name)
        else:
            kept[name] = run_of(chance)
            seen.add(name, kept[name])
    records = list(kept.values())
    lists = {computed for one in records for computed in computations_of(one) if computed[0] in one.stages_run}
    used = {computed for one in records for computed in computations_of(one)}
    for one in records:
        found = seen.peer_speed(one)
        assert (found and found[0]) == peer_speed(one, records)
        slow = {
            name
            for name, other in kept.items()
            if (speed := speed_of(other)) is not None
            and (other.hardware, other.stages["train"].workload) == (one.hardware, one.stages["train"].workload)
            and speed < 0.9 * (peer_speed(other, records) or 0.0)
        }
        assert set(seen.slow_beside(one, 0.9)) == slow
    for host in ("alpha", "beta", "gamma"):
        assert set(seen.unchecked(host)) == {computed for computed in used - lists if computed[2] == host}
    for computed in used:
        assert set(seen.users(computed)) == {name for name, one in kept.items() if computed in computations_of(one)}


def test_the_check_of_one_more_run_costs_the_same_after_30_runs_as_after_600():
    def calls(num_runs: int) -> int:
        seen = SeenRuns({f"run {number}": record(("alpha", "beta")[number % 2]) for number in range(num_runs)})
        seen.add("new", record("beta"))
        counted = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal counted
            counted += event == "call"

        gc.disable()  # a collection calls what others registered for it
        sys.setprofile(count)
        try:
            decide("new", seen, NOTES, Guard(), None, dict, "")
        finally:
            sys.setprofile(None)
            gc.enable()
        return counted

    assert calls(600) == calls(30)
