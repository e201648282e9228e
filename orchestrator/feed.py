"""Between the queue and whoever runs: hands out what must be computed, finishes by reading what need not be.

Both rungs, inline and Ray, take their runs here, so a sweep asks the same questions whichever runs it.
"""

from __future__ import annotations

from collections import deque

from orchestrator.journal import Sweep
from orchestrator.run_queue import FINISHED, WAIT, Run, RunQueue
from trainer.spec.record import Record, now
from trainer.stages.assemble import RunRequest, adopt, keep_record, make_record
from trainer.stages.cache import StageStore


class Feed:
    """Runs of one sweep, in order, each handed out once."""

    def __init__(self, sweep: Sweep, queue: RunQueue, store: StageStore, num_ranks: int):
        self._sweep, self._queue, self._store, self._num_ranks = sweep, queue, store, num_ranks
        self._out: dict[str, tuple[RunRequest, str]] = {}
        self._waiting: deque[RunRequest] = deque()

    def next(self) -> RunRequest | object:
        """A run to compute; WAIT while none may be asked yet; FINISHED when the sweep is complete."""
        if self._waiting:
            return self._waiting.popleft()
        while True:
            run = self._queue.next_run()
            if run is WAIT or run is FINISHED:
                return run
            assert isinstance(run, Run)
            request = RunRequest.of(run.run_id, self._sweep.preset, run.recipe, self._sweep.record_path(run.run_id))
            record = adopt(request, self._store, self._num_ranks)
            if record is None:
                self._out[run.run_id] = (request, now())
                return request
            keep_record(request, record)
            self._queue.finished(run.run_id, record)

    def peek_finished(self) -> bool:
        """Whether nothing is left to compute. The run this finds, if any, is handed out by the coming `next`."""
        found = self.next()
        if isinstance(found, RunRequest):
            self._waiting.append(found)
        return found is FINISHED

    def ended(self, run_id: str, lost: str = "") -> Record | None:
        """A run ended: its record goes to the queue. `lost` says why none was written, and becomes a failed record.

        Without a record and without a reason the run was interrupted: it is no result and stays to be resumed.
        """
        request, started_at = self._out[run_id]
        record = self._sweep.record(run_id)
        if record is None and lost:
            recipe = request.load_recipe()
            keep_record(request, make_record(request, recipe, {}, (), started_at, self._num_ranks, lost))
            record = self._sweep.record(run_id)
        if record is not None:
            self._queue.finished(run_id, record)
            del self._out[run_id]
        return record
