"""Drives one sweep to its end: reads what is finished, then runs the rest inline or on Ray.

Neither torch nor Ray is imported before something must be computed. Ctrl-C and SIGTERM set a flag; runs then stop at
their next check of it, everything finished is kept, and `resume` goes on from there.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Literal

from rich.console import Console

from orchestrator.run.drive_options import DriveOptions
from orchestrator.run.feed import Feed
from orchestrator.run.inline import run_inline
from orchestrator.run.on_ray import run_on_ray
from orchestrator.run.placement import expected_ranks
from orchestrator.run.preflight import preflight
from orchestrator.run.prepare_texts import TextsAhead
from orchestrator.run.signals import stop_on_signals
from orchestrator.run.tracking import Trackers
from orchestrator.search.run_queue import FINISHED, RunQueue
from orchestrator.status.progress import Overview
from orchestrator.status.screen import make_screen
from orchestrator.sweep.sweep import Sweep
from trainer.spec.runnable import by_the_clock
from trainer.store.shared import stage_store

End = Literal["complete", "interrupted", "stranded"]
"""`stranded`: every machine that is left is quarantined."""


def knows_machine(sweep: Sweep, options: DriveOptions) -> bool:
    """Whether this process knows, before it joins a cluster, how the stages are named: not under a wall clock."""
    return options.address is None or not by_the_clock(sweep.space.base)


def drive(sweep: Sweep, queue: RunQueue, options: DriveOptions, console: Console, may_be_finished: bool = True) -> End:
    """Runs what is missing and returns how it ended. Everything finished is kept in each case.

    may_be_finished:  whether nothing may be left to compute; if not, no configuration is asked, which would declare its
                      seeds, before checks have passed and Ray has started
    """
    from orchestrator.run.optuna_study import StudyFile  # late: Optuna, which only a driver pays for

    store = stage_store(sweep.store)
    study = StudyFile(sweep, queue)
    alone = options.inline and sweep.space.program is None  # a program inline has all GPUs, as in a slot
    feed = Feed(sweep, queue, store, 1 if alone else expected_ranks(options.workers), study.update)
    all_recorded = len(queue.records) == queue.total_runs
    if all_recorded or (may_be_finished and knows_machine(sweep, options) and feed.is_finished()):
        _log_what_was_read(feed, sweep, options.trackers, console)
        return "complete"
    # on a cluster slots compute, whose data need not be here; inline, this process
    texts = TextsAhead(sweep, store.root) if options.address is None and not options.inline else None
    check = partial(preflight, sweep, store.root, skip=not options.check, texts=texts)
    stop = threading.Event()
    overview = Overview(sweep, queue)
    try:
        if options.inline:
            check(console)
            with stop_on_signals(stop), make_screen(console) as screen:
                stranded = run_inline(feed, store, options, overview, screen, stop)
            _log_what_was_read(feed, sweep, options.trackers, console)
        else:
            stranded = run_on_ray(
                feed, sweep, store, options, overview, stop, console, check, then=texts.finish if texts else None
            )
    finally:
        overview.close()
    if queue.next_run() is FINISHED:
        return "complete"
    return "stranded" if stranded else "interrupted"


def _log_what_was_read(feed: Feed, sweep: Sweep, trackers: Trackers, console: Console) -> None:
    """Runs that got their record without Ray: from the store alone, or inline."""
    recorded = feed.take_recorded()
    if not trackers.wanted:
        return
    if not recorded:
        console.print(
            f"no run is new, so nothing was logged; to log what is recorded: {sweep.command('export')}", soft_wrap=True
        )
        return
    from orchestrator.run.tuner import export_runs  # late: Ray, whose callbacks write to trackers

    export_runs(trackers, sweep, recorded)
