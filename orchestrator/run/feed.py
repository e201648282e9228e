"""Hands out the runs of the queue that miss a stage; writes the records of the others from the store.

Used inline and on Ray alike, so a sweep runs the same configurations either way. Runs are ordered by
what they still need: first the stage that most of them share, and none whose next stage another run in flight
is computing. The order changes waiting times, never a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event

from orchestrator.search.next_run import LOOK_AHEAD, Stage, look_ahead, next_run
from orchestrator.search.run_queue import FINISHED, WAIT, Pause, Run, RunQueue
from orchestrator.sweep.quarantine import Quarantine
from orchestrator.sweep.sweep import Sweep
from trainer.program.run_program import adopt_program
from trainer.spec.load import expected_of
from trainer.spec.record import Record, now, split_run_id
from trainer.spec.runnable import Runnable
from trainer.stages.run_record import RunRequest, adopt, fingerprints_of, keep_record, make_record
from trainer.store.local import StageStore
from trainer.store.mirror import store_name
from trainer.store.visible import SHARE_THE_STORE

RECORD_WITHIN_S = 60.0
"""A network file system may keep a folder's old listing this long."""
RECORD_LOOK_S = 0.5


@dataclass
class Waiting:
    """A run without a record, and the stages it stands on in running order."""

    request: RunRequest
    stages: tuple[Stage, ...]
    started_at: str = ""


class Feed:
    """Runs of one sweep, each handed out once.

    on_change:  called whenever a run has got its record
    """

    def __init__(
        self,
        sweep: Sweep,
        queue: RunQueue,
        store: StageStore,
        num_ranks: int,
        on_change: Callable[[], None] = lambda: None,
    ):
        self._on_change = on_change
        self._sweep, self._queue, self._store, self._num_ranks = sweep, queue, store, num_ranks
        self._place = ""
        self._most_ahead = LOOK_AHEAD
        self._ahead: list[Waiting] = []
        self._out: dict[str, Waiting] = {}
        self._stored: set[Stage] = set()
        self._ledger = sweep.ledger
        self._quarantine = Quarantine(sweep, store, expected_of(sweep.preset))
        self._repeated: list[str] = []
        self._recorded: list[Record] = []
        self.unseen = ""
        """Why the sweep cannot go on: a run is finished and its record is not seen here. Empty while all are."""
        for run_id, record in dict(queue.records).items():
            if run_id not in self._set_aside(run_id, record):  # a crash may have come between the record and its
                self._note_end(run_id, record)  # inspection, or the ledger

    def next(self) -> RunRequest | Pause:
        """A run to compute; WAIT while none may start yet; FINISHED when the sweep is complete."""
        pause = self._look_ahead()
        if not self._ahead:
            return pause
        busy = {stage for run in self._out.values() for stage in run.stages if not self._has(stage)}
        position = next_run([self._next_stage(run) for run in self._ahead], busy.__contains__)
        if self._sweep.space.takes_turns:  # one after another, in the order of the queue
            position = None if self._out else 0
        if position is None:
            return WAIT
        chosen = self._ahead.pop(position)
        self._out[chosen.request.run_id] = chosen
        chosen.started_at = now()
        self._note_start(chosen)
        return chosen.request

    def serve(self, slots: int) -> None:
        """Says how many slots ask for runs: the more, the further the feed looks ahead for runs that need not wait."""
        self._most_ahead = look_ahead(slots)

    def compute_on(self, num_ranks: int, place: str) -> None:
        """Says what the slots run on, where that is not this machine: a wall-clock budget's stages are named by it.

        place:  what `environment(num_ranks)` is there
        """
        self._num_ranks, self._place = num_ranks, place
        for run in self._ahead:
            run.stages = self._stages_of(run.request.load_recipe())

    def is_finished(self) -> bool:
        """Whether nothing is left to compute; hands nothing out."""
        return self._look_ahead() is FINISHED

    def ended(self, run_id: str, lost: str = "", finished_on: str = "", stop: Event | None = None) -> Record | None:
        """A run ended: its record goes to the queue. `lost` says why none was written, and becomes a failed record.

        finished_on:  the machine that wrote its record; empty if none was written
        stop:         set when the record cannot be found: every further run would be computed in vain
        Without a record and without a reason the run was interrupted: it is no result and stays to be resumed.
        """
        run = self._out.pop(run_id)
        record = self._awaited_record(run_id, stop) if finished_on and stop else self._sweep.record(run_id)
        if record is None and finished_on and stop and not stop.is_set():
            self.unseen = (
                f"run {run_id} is finished on machine {finished_on}, but its record is not in the store of this "
                f"driver, {store_name(self._store.root)}; "
            ) + SHARE_THE_STORE
            stop.set()
        if record is None and lost:
            recipe = run.request.load_recipe()
            keep_record(run.request, make_record(run.request, recipe, {}, (), run.started_at, self._num_ranks, lost))
            record = self._sweep.record(run_id)
        if record is not None:
            repeated = self._set_aside(run_id, record)
            self._repeated += repeated
            if run_id not in repeated:
                self._finish(run_id, record)
        return record

    def _awaited_record(self, run_id: str, stop: Event) -> Record | None:
        """The record of a run that is finished: a network file system may show it only after a while."""
        deadline = time.monotonic() + RECORD_WITHIN_S
        while (record := self._sweep.record(run_id)) is None and time.monotonic() < deadline:
            if stop.wait(RECORD_LOOK_S):
                return self._sweep.record(run_id)
        return record

    @property
    def runs_program(self) -> bool:
        """Whether its runs are those of a program of the user's."""
        return self._sweep.space.program is not None

    @property
    def num_ranks(self) -> int:
        """Ranks of a slot."""
        return self._num_ranks

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Machines that take no more runs, and why."""
        return self._quarantine.machines

    def take_repeated(self) -> list[str]:
        """Runs that this feed handed out, that ended and must be done again, since the last call."""
        repeated, self._repeated = self._repeated, []
        return repeated

    def take_recorded(self) -> list[Record]:
        """Runs that have their record, since the last call."""
        recorded, self._recorded = self._recorded, []
        return recorded

    def _set_aside(self, run_id: str, record: Record) -> list[str]:
        """Inspects a run that has its record. Returns the runs to be repeated, removed from the queue."""
        decision = self._quarantine.inspect(run_id, record)
        self._quarantine.apply(decision)
        for other in decision.repeated:
            self._queue.forget(other)
            self._stored.clear()  # what a drifted machine computed has left the store
        return decision.repeated

    def _look_ahead(self) -> Pause:
        """Fills the window; runs whose stages are all stored get their record. Returns why the queue pauses."""
        self._ahead = [run for run in self._ahead if not self._finished_by_reading(run)]
        while len(self._ahead) < self._most_ahead:
            next_item = self._queue.next_run()
            if not isinstance(next_item, Run):
                return next_item
            run = self._waiting(next_item)
            if not self._finished_by_reading(run):
                self._ahead.append(run)
        return WAIT

    def _waiting(self, run: Run) -> Waiting:
        short = run.configuration.rung < 1
        if short:
            self._sweep.declare(run.configuration)  # a recipe of its own, which the journal does not name
        path = self._sweep.record_path(run.run_id, short)
        request = RunRequest.of(run.run_id, self._sweep.preset, run.recipe, path)
        return Waiting(request, self._stages_of(run.recipe))

    def _stages_of(self, recipe: Runnable) -> tuple[Stage, ...]:
        return tuple(fingerprints_of(recipe, self._num_ranks, self._place).items())

    def _finished_by_reading(self, run: Waiting) -> bool:
        if self._next_stage(run) is not None:
            return False
        adopted = adopt_program if self._sweep.space.program else adopt
        record = adopted(run.request, self._store, self._num_ranks, self._place)
        if record is None:
            return False
        self._note_start(run)
        keep_record(run.request, record)
        if run.request.run_id not in self._set_aside(run.request.run_id, record):
            self._finish(run.request.run_id, record)
        return True

    def _next_stage(self, run: Waiting) -> Stage | None:
        """The first stage that the store does not hold yet."""
        return next((stage for stage in run.stages if not self._has(stage)), None)

    def _has(self, stage: Stage) -> bool:
        if stage not in self._stored and self._store.find(*stage) is not None:
            self._stored.add(stage)
        return stage in self._stored

    def _finish(self, run_id: str, record: Record) -> None:
        self._recorded.append(record)
        self._note_end(run_id, record)
        self._queue.finished(run_id, record)
        self._on_change()

    def _note_start(self, run: Waiting) -> None:
        self._ledger.start(self._sweep.name, *split_run_id(run.request.run_id))

    def _note_end(self, run_id: str, record: Record) -> None:
        scored = record.has_score(self._sweep.space.metric.name)
        self._ledger.end(self._sweep.name, *split_run_id(run_id), record.status, scored)
