"""Sweeps of a store that lies in a bucket: published and fetched between machines, driven by one machine at a time.

The journal, the plan and the records of a sweep are published as they are written, and fetched before they are read.
The live file, logs and Optuna's file stay on the machine that drives. For a store on disk these functions do nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from results.rows.layout import (
    GROWING_FILES,
    JOURNAL,
    RUNS,
    SHORT,
    SWEEPS,
    is_shared,
    record_file,
    set_aside_run,
    sweep_folder,
)
from trainer.spec.errors import StoreError, StoreUnreachable
from trainer.store.bucket import ObjectInfo
from trainer.store.claims import EXPIRES_AFTER_S, HEARTBEAT_EVERY_S, BucketClaims
from trainer.store.mirror import bucket_of, fetch_file, fetch_files, publish_file, publish_file_once
from trainer.store.shared import mirror_id

GROWING = tuple(f"/{name}" for name in GROWING_FILES)
LOOK_EVERY_S = 0.5


def fetch_sweeps(store: Path) -> None:
    """Fetches what other machines published of their sweeps since the last call."""
    bucket = bucket_of(store)
    if bucket is None:
        return
    listed = bucket.list(SWEEPS)
    _forget_set_aside(store, listed)
    files = [key for key in listed if is_shared(key)]
    fetch_files(store, bucket, [key for key in files if not key.endswith(GROWING) and not (store / key).exists()])
    grown = [key for key in files if key.endswith(GROWING) and _num_bytes(store / key) < listed[key].bytes]
    fetch_files(store, bucket, grown)  # last: a sweep is listed once its journal is there


def _num_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _forget_set_aside(store: Path, listed: dict[str, ObjectInfo]) -> None:
    """Deletes the local record of a run that another machine set aside; its newer record is fetched later."""
    for key in listed:
        run = set_aside_run(key)
        if run and not (store / key).exists() and fetch_file(store / key):
            sweep, run_id = run
            for folder in (RUNS, SHORT):
                (sweep_folder(store, sweep) / folder / record_file(run_id)).unlink(missing_ok=True)


def publish_sweep(folder: Path) -> None:
    """Publishes the files of a sweep that the bucket lacks, because a driver lost the network."""
    bucket = bucket_of(folder.parents[1])
    if bucket is None:
        return
    known = bucket.list(f"{SWEEPS}/{folder.name}")
    for path in folder.rglob("*"):
        key = path.relative_to(folder.parents[1]).as_posix()
        if is_shared(key) and key not in known:
            publish_file_once(path)
    for name in GROWING_FILES:
        if (folder / name).exists():
            publish_file(folder / name)


def journal_stands(journal: Path) -> bool:
    """Publishes the journal of a new sweep. Returns False if another machine published one of this name first."""
    publish_file_once(journal)
    before = journal.read_bytes()
    return fetch_file(journal) and journal.read_bytes() == before


def set_aside(record: Path, aside: Path) -> None:
    """Publishes a record that was set aside with its reason, and removes it from the records in the bucket."""
    publish_file(aside)
    if bucket := bucket_of(record.parents[3]):
        bucket.remove([record.relative_to(record.parents[3]).as_posix()])


@contextlib.contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Holds the claim on driving a sweep. Raises StoreError naming the machine that holds it.

    The claim of a killed driver expires when its heartbeat has not changed for EXPIRES_AFTER_S.
    """
    store = folder.parents[1]
    bucket = bucket_of(store)
    if bucket is None:
        yield
        return
    claims, place = BucketClaims(bucket, mirror_id(store)), _claim_of(folder)
    ends_s = time.monotonic() + EXPIRES_AFTER_S + 2 * LOOK_EVERY_S
    while (claim := claims.acquire(place)) is None:
        if claims.heartbeat_seen(place) or time.monotonic() > ends_s:
            raise StoreError(
                f"sweep '{folder.name}' is being driven by {claims.holder(place)}; wait for it, or stop it there"
            )
        time.sleep(LOOK_EVERY_S)
    try:
        fetch_sweeps(store)
        fetch_file(folder / JOURNAL)
        publish_sweep(folder)
        yield
        publish_sweep(folder)
    finally:
        claim.release()


def driven_elsewhere(folder: Path) -> bool:
    """Whether a machine holds an unexpired claim on driving the sweep, by the bucket's clock."""
    bucket = bucket_of(folder.parents[1])
    claims = bucket.list(_claim_of(folder)).values() if bucket else ()
    if not bucket or not claims:
        return False
    now_s = time.time()
    with contextlib.suppress(
        StoreUnreachable
    ):  # without write access the bucket's clock cannot be read: use the local one
        now_s = bucket.now_s()
    return any(now_s - claim.changed_at_s < EXPIRES_AFTER_S + HEARTBEAT_EVERY_S for claim in claims)


def _claim_of(folder: Path) -> str:
    """Key of the claim on driving the sweep."""
    return f"claims/{SWEEPS}/{folder.name}"
