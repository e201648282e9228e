"""Runs a sweep's missing runs one after another in this process, without a cluster."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial

from orchestrator.run.drive_options import DriveOptions
from orchestrator.run.feed import Feed
from orchestrator.status.progress import Overview, describe
from orchestrator.status.screen import Screen
from trainer.program.run_program import run_program
from trainer.spec.errors import Interrupted
from trainer.spec.messages import Progress
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore


def run_inline(
    feed: Feed, store: StageStore, options: DriveOptions, overview: Overview, screen: Screen, stop: threading.Event
) -> bool:
    """One run after another in this process, without a cluster. Returns whether this machine is quarantined."""
    compute: Callable[..., object] = partial(run_program, num_ranks=feed.num_ranks)
    if not feed.runs_program:
        from trainer.stages.pipeline import run_pipeline  # late: starts torch

        compute = partial(run_pipeline, snapshot_every_s=options.snapshot_every_s)

    while socket.gethostname() not in feed.quarantined and isinstance(request := feed.next(), RunRequest):

        def report(progress: Progress) -> None:
            overview.show(screen, (describe(0, progress, overview),))

        try:
            compute(request, store, report=report, stopping=stop.is_set)
        except Interrupted:
            return False
        feed.ended(request.run_id)
        if stop.is_set():
            return False
    return socket.gethostname() in feed.quarantined
