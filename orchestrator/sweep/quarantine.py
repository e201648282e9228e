"""A machine that fails the machine check is quarantined by name, and its runs are repeated elsewhere.

A run that fails the check enters no mean: its record is set aside with the reason, the stages it computed are removed
from the store, and every other run that used one of them is set aside as well. The sweep's folder keeps:

    STORE/sweeps/NAME/machines.jsonl        the reference, which machines are quarantined and why, which are trusted
    STORE/sweeps/NAME/drifted/ID-TIME.json  the records set aside
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.sweep.machine_check import Decision, MachineNotes, SetAside, decide
from orchestrator.sweep.seen_runs import SeenRuns
from orchestrator.sweep.sharing import set_aside
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import DRIFTED, DRIFTED_SHORT, MACHINES, set_aside_file
from results.rows.lines import append_line
from results.rows.machines import events_of, quarantined_by
from trainer.data.corpus import shard_facts
from trainer.spec.checked_json import with_checksum, without_checksum
from trainer.spec.environment import machine_facts
from trainer.spec.errors import DataError, UserError, did_you_mean
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record, now
from trainer.spec.stage_times import Expected
from trainer.store.atomic_write import write_synced
from trainer.store.local import StageStore
from trainer.store.mirror import publish_file


class Quarantine:
    """Applies the machine check to the runs of one sweep. Only under the sweep's lock."""

    def __init__(self, sweep: Sweep, store: StageStore, expected: Expected | None):
        self._sweep, self._store, self._expected = sweep, store, expected
        self._seen = SeenRuns()
        self._events = list(events_of(sweep.folder))
        self.machines = quarantined_by(self._events)
        """Machines that take no more runs, and why."""

    def inspect(self, run_id: str, record: Record) -> Decision:
        """The consequences of a run that ended, for it and those inspected before it. Writes nothing: `apply` does."""
        self._seen.add(run_id, record)
        notes, guard = MachineNotes.of(self._events), self._sweep.space.guard
        created_at = self._sweep.created_at
        return decide(run_id, self._seen, notes, guard, self._expected, self._driver_facts, created_at)

    def apply(self, decision: Decision) -> None:
        """Writes a decision down: the notes, then for each run set aside its stages and its record.

        If this process dies in between, the next one decides again from the notes and the remaining records.
        """
        if decision.driver:
            self._note(event="driver", facts=decision.driver)
        if decision.reference:
            self._note(event="reference", facts=decision.reference)
        for machine, complaint in decision.quarantined.items():
            self._note(event="quarantined", machine=machine, why=complaint.words, of_speed=complaint.of_speed)
        for item in decision.set_aside:
            self._set_aside(item)

    def _driver_facts(self) -> dict[str, str]:
        """Facts of this process: versions and text, but no GPU and no attention back end."""
        base = self._sweep.space.base
        with contextlib.suppress(DataError):
            return machine_facts() | (shard_facts(base.data) if isinstance(base, Recipe) else {})
        return machine_facts()

    def _set_aside(self, item: SetAside) -> None:
        """Takes the tainted stages from the store, and moves the record out of the way with its reason.

        The note is written first: if this process dies in between, the next one reads the record as tainted.
        """
        record = self._seen.pop(item.run_id)
        self._note(event="set aside", run=item.run_id, tainted=item.tainted)
        for stage, fingerprint, host, started_at in item.tainted:
            stored = self._store.find(stage, fingerprint)
            if stored is not None and (stored.host, stored.started_at) == (host, started_at):
                self._store.remove(stage, fingerprint)
        short = not self._sweep.record_path(item.run_id).exists()
        folder = self._sweep.folder / (DRIFTED_SHORT if short else DRIFTED)
        folder.mkdir(exist_ok=True)
        path = self._sweep.record_path(item.run_id, short)
        aside_path = _kept_aside(folder, record)
        if aside_path is None:
            aside_path = folder / set_aside_file(item.run_id)
            aside = record.model_copy(update={"status": "drifted", "error": item.why})
            write_synced(aside_path, with_checksum(aside.model_dump_json(indent=1).encode()))
        path.unlink(missing_ok=True)
        set_aside(path, aside_path)

    def _note(self, **event: object) -> None:
        self._events.append(_note(self._sweep, event))
        self.machines = quarantined_by(self._events)


def trust_machine(sweep: Sweep, machine: str) -> None:
    """Ends a quarantine: runs of this machine count from now on, even if they fail the rules. Only under the lock.

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
    path, plain = sweep.folder / MACHINES, {**event, "at": now()}
    append_line(path, plain)
    publish_file(path)
    return json.loads(json.dumps(plain))


def _kept_aside(folder: Path, record: Record) -> Path | None:
    """The copy of this record that an earlier process wrote before it died, or None."""
    same = {"status": record.status, "error": record.error}
    for path in folder.glob(f"{record.run_id}-*.json"):
        with contextlib.suppress(ValueError):
            body, _ = without_checksum(path.read_bytes())
            if Record.model_validate_json(body).model_copy(update=same) == record:
                return path
    return None
