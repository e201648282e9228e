"""Opens the run queue of a sweep on disk."""

from __future__ import annotations

from orchestrator.search.run_queue import RunQueue
from orchestrator.sweep.sweep import Sweep


def queue_of(sweep: Sweep) -> RunQueue:
    """The queue of a sweep on disk, as its records say. It appends to the journal, so hold the sweep's lock."""
    from orchestrator.search.searcher import Searcher  # late: Optuna, which only a driver pays for

    for configuration in sweep.asked():
        sweep.declare(configuration)  # a crash may have come between the journal and the ledger
    searcher = Searcher(sweep.space, sweep.sweep_seed, sweep.precedents)
    return RunQueue(sweep.space, searcher, sweep, {**sweep.records(), **sweep.short_records()}, sweep.lag)
