"""What follows when a machine fails the drift guard: it is quarantined by name, and its runs are repeated elsewhere.

A run that fails is never averaged in: its record is set aside with the reason, the stages it computed leave the store,
and every other run that stands on one of them is set aside as well. All of it is kept in the sweep's folder:

    STORE/sweeps/NAME/machines.jsonl        which machine came first, which are quarantined and why, or trusted
    STORE/sweeps/NAME/drifted/ID-TIME.json  the records set aside
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestrator.drift import Complaint, complaints_about, facts_of, speed_of
from orchestrator.journal import Sweep
from results.machines import DRIFTED, MACHINES, events_of, quarantined_by
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.expected import Expected
from trainer.spec.record import Record, now
from trainer.spec.stage_table import stages_below
from trainer.stages.cache import StageStore, write_synced

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
        if not self._first and facts_of(record):
            self._note(event="first", machine=facts_of(record))
        repeated = []
        for failing, complaints in list(self._failing(run_id)):
            self._blame(failing, complaints)
            repeated.append(failing)
        tainted = self._tainted
        for resting in [name for name, other in self._records.items() if not tainted.isdisjoint(_stands_on(other))]:
            self._set_aside(resting, "it stands on a stage that a drifted machine computed", ())
            repeated.append(resting)
        return repeated

    @property
    def _first(self) -> dict[str, str]:
        return next((event["machine"] for event in self._events if event["event"] == "first"), {})

    @property
    def _tainted(self) -> set[Computed]:
        """Computations that no run may stand on."""
        return {tuple(stage) for event in self._events for stage in event.get("tainted", ())}

    def _failing(self, newest: str) -> Iterator[tuple[str, list[Complaint]]]:
        """The newest run; and when it trained, every other that trained, since it may show them to be slow."""
        trusted = {event["machine"] for event in self._events if event["event"] == "trusted"}
        trained = {name for name, record in self._records.items() if speed_of(record) is not None}
        for run_id in [newest, *(trained - {newest} if newest in trained else ())]:
            record = self._records[run_id]
            others = [self._records[name] for name in trained]
            found = complaints_about(record, self._first, others, self._sweep.space.guard, self._expected)
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
        folder = self._sweep.folder / DRIFTED
        folder.mkdir(exist_ok=True)
        write_synced(folder / f"{run_id}-{time.time_ns()}.json", aside.model_dump_json(indent=1).encode())
        self._sweep.record_path(run_id).unlink(missing_ok=True)

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
    return json.loads(line)


def _stands_on(record: Record) -> list[Computed]:
    return [(stage, found.fingerprint, found.host, found.started_at) for stage, found in record.stages.items()]
