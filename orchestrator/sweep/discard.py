"""A sweep that could not start leaves nothing: no folder, and no seeds in the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.sweep.sweep import Sweep
from results.rows.layout import SWEEPS
from trainer.spec.errors import UserError
from trainer.store.mirror import bucket_of


@contextmanager
def discarded_unless_begun(sweep: Sweep) -> Iterator[None]:
    """Removes the sweep when the block fails before the first configuration was asked, which declares seeds.

    Only under the sweep's lock. A sweep that was interrupted stays, to be resumed.
    """
    try:
        yield
    except (UserError, OSError):
        if not sweep.asked():
            discard(sweep)
        raise


def discard(sweep: Sweep) -> None:
    """Removes the folder of a sweep, from its bucket too."""
    if bucket := bucket_of(sweep.store):
        bucket.remove(list(bucket.list(f"{SWEEPS}/{sweep.folder.name}")))
    shutil.rmtree(sweep.folder, ignore_errors=True)
