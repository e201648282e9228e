"""What follows when a machine fails the drift guard: it is quarantined by name, and its runs are repeated elsewhere.

A run that fails is never averaged in: its record is set aside with the reason, the stages it computed leave the store,
and every other run that stands on one of them is set aside as well. All of it is kept in the sweep's folder:

    STORE/sweeps/NAME/machines.jsonl        whom all are held against, who is quarantined and why, who is trusted
    STORE/sweeps/NAME/drifted/ID-TIME.json  the records set aside
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.sweep.machine_check import Complaint, complaints_about, differing, facts_of, speed_of
from orchestrator.sweep.sharing import set_aside
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import DRIFTED, DRIFTED_SHORT, MACHINES, set_aside_file
from results.rows.machines import events_of, quarantined_by
from trainer.data.corpus import shard_facts
from trainer.spec.environment import machine_facts
from trainer.spec.errors import DataError, UserError, did_you_mean
from trainer.spec.record import Record, now
from trainer.spec.stage_table import stages_below
from trainer.spec.stage_times import Expected
from trainer.store.atomic_write import write_synced
from trainer.store.local import StageStore
from trainer.store.mirror import publish_file

Computed = tuple[str, str, str, str]
"""A stage, its fingerprint, where and when it was computed: one computation, not its repetition."""


class Quarantine:
    """The machines of one sweep, and its records in their light. Only under the sweep's lock."""

    def __init__(self, sweep: Sweep, store: StageStore, expected: Expected | None):
        self._sweep, self._store, self._expected = sweep, store, expected
        self._records: dict[str, Record] = {}
        self._events = list(events_of(sweep.folder))
        self.machines = quarantined_by(self._events)
        """Machines that take no more runs, and why."""

    def inspect(self, run_id: str, record: Record) -> list[str]:
        """Judges a run that ended, and those before it in its light. Returns the runs that must be repeated."""
        self._records[run_id] = record
        others = self._records if self._takes_reference(record) else ()
        repeated = []
        for failing, complaints in list(self._failing([run_id, *others])):
            self._blame(failing, complaints)
            repeated.append(failing)
        tainted = self._tainted
        for resting in [name for name, other in self._records.items() if not tainted.isdisjoint(_stands_on(other))]:
            self._set_aside(resting, "it stands on a stage that a drifted machine computed", ())
            repeated.append(resting)
        return repeated

    @property
    def _reference(self) -> dict[str, str]:
        """Facts of the machine that all others are held against; empty before the first run ended."""
        return self._latest("reference")

    def _latest(self, event: str) -> dict[str, str]:
        return next((past["facts"] for past in reversed(self._events) if past["event"] == event), {})

    def _takes_reference(self, record: Record) -> bool:
        """Makes the run's machine the reference when it is the first; or when the first one was the odd one.

        The driver tells: what it was like when the first run ended agrees with this machine, not with the first.
        Returns whether another machine was the reference before.
        """
        facts, before, same = facts_of(record), self._reference, self._sweep.space.guard.same
        if not facts or facts["name"] == before.get("name"):
            return False
        if not before:
            self._note(event="driver", facts=self._here())
        else:
            driver = self._latest("driver")
            odd = {name for name, _, _ in differing(before, facts, same)}
            if not odd or odd - set(driver) or any(driver[name] != facts[name] for name in odd):
                return False
        self._note(event="reference", facts=facts)
        return bool(before)

    def _here(self) -> dict[str, str]:
        """What this process can tell of itself: versions and text, but no GPU and no attention back end."""
        with contextlib.suppress(DataError):
            return machine_facts() | shard_facts(self._sweep.space.base.data)
        return machine_facts()

    @property
    def _tainted(self) -> set[Computed]:
        """Computations that no run may stand on."""
        return {tuple(stage) for event in self._events for stage in event.get("tainted", ())}

    def _failing(self, asked: Sequence[str]) -> Iterator[tuple[str, list[Complaint]]]:
        """Of the runs asked about; and if the first of them trained, of all that did, since it may show them slow."""
        trusted = {event["machine"] for event in self._events if event["event"] == "trusted"}
        trained = {name for name, record in self._records.items() if speed_of(record) is not None}
        for run_id in dict.fromkeys([*asked, *(trained if asked[0] in trained else ())]):
            record = self._records[run_id]
            others = [self._records[name] for name in trained]
            found = complaints_about(record, self._reference, others, self._sweep.space.guard, self._expected)
            if found and record.machine["name"] not in trusted:
                yield run_id, found

    def _blame(self, run_id: str, complaints: list[Complaint]) -> None:
        record, why = self._records[run_id], "; ".join(complaint.words for complaint in complaints)
        machine = record.machine["name"]
        if machine not in self.machines:
            self._note(event="quarantined", machine=machine, why=why)
        merely_slow = all(complaint.of_speed for complaint in complaints)
        doubted = set(record.stages_run) & (stages_below("train") if merely_slow else set(record.stages_run))
        self._set_aside(run_id, f"machine {machine} drifted: {why}", doubted)

    def _set_aside(self, run_id: str, why: str, doubted: Collection[str]) -> None:
        """Moves a record out of the way with its reason, and takes the doubted stages from the store.

        The note comes first: should this process die in between, the next one finds the record tainted.
        """
        record = self._records.pop(run_id)
        tainted = [mark for mark in _stands_on(record) if mark[0] in doubted]
        self._note(event="set aside", run=run_id, tainted=tainted)
        for stage, fingerprint, host, started_at in tainted:
            found = self._store.find(stage, fingerprint)
            if found is not None and (found.host, found.started_at) == (host, started_at):
                self._store.remove(stage, fingerprint)
        aside = record.model_copy(update={"status": "drifted", "error": why})
        short = not self._sweep.record_path(run_id).exists()
        folder = self._sweep.folder / (DRIFTED_SHORT if short else DRIFTED)
        folder.mkdir(exist_ok=True)
        told, path = folder / set_aside_file(run_id), self._sweep.record_path(run_id, short)
        write_synced(told, aside.model_dump_json(indent=1).encode())
        path.unlink(missing_ok=True)
        set_aside(path, told)

    def _note(self, **event: object) -> None:
        self._events.append(_note(self._sweep, event))
        self.machines = quarantined_by(self._events)


def trust_machine(sweep: Sweep, machine: str) -> None:
    """Lifts a quarantine: what this machine does counts from now on, whatever the rules say. Only under the lock.

    Raises UserError when it is not quarantined.
    """
    known = quarantined_by(events_of(sweep.folder))
    if machine not in known:
        listing = f"quarantined: {', '.join(known)}" if known else "no machine is"
        raise UserError(
            f"--trust {machine}: is not quarantined in sweep '{sweep.name}'{did_you_mean(machine, known)}; {listing}"
        )
    _note(sweep, {"event": "trusted", "machine": machine})


def _note(sweep: Sweep, event: Mapping[str, object]) -> dict[str, Any]:
    """Appends to the sweep's notes, and returns the note as it will be read."""
    line = json.dumps({**event, "at": now()})
    with (sweep.folder / MACHINES).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    publish_file(sweep.folder / MACHINES)
    return json.loads(line)


def _stands_on(record: Record) -> list[Computed]:
    return [(stage, found.fingerprint, found.host, found.started_at) for stage, found in record.stages.items()]
