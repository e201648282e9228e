"""Whether a machine sees the store of a driver: the driver leaves a file there, and the machine looks for it.

STORE/checks/visible-NONCE      contains its own name; removed when the driver ends
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.spec.errors import StoreError
from trainer.store.mirror import bucket_of, fetch_file, publish_file, store_name

CHECKS = "checks"
SPEED_BYTES = 8 << 20
SHARE_THE_STORE = "use a folder that every node mounts at the same path, or a bucket: --store s3://BUCKET/PREFIX"


@contextmanager
def visible_file(store: Path) -> Iterator[Path]:
    """Keeps a new file in the store, in its bucket too, for the length of the block."""
    path = store.absolute() / CHECKS / f"visible-{secrets.token_hex(8)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name, encoding="utf-8")
    try:
        publish_file(path)
        yield path
    finally:
        path.unlink(missing_ok=True)
        if bucket := bucket_of(store):
            with contextlib.suppress(StoreError):
                bucket.remove([f"{CHECKS}/{path.name}"])


def is_visible(path: Path) -> bool:
    """Whether this machine sees a driver's file, in its bucket or in the folder."""
    try:
        return fetch_file(path) and path.read_text(encoding="utf-8") == path.name
    except OSError:
        return False


def not_visible(path: Path) -> str:
    """What to say of a machine that does not see a driver's file, and what to do."""
    store = path.parents[1]
    return f"it does not see the store of this sweep, {store_name(store)}; {SHARE_THE_STORE}"


def write_speed(store: Path) -> float:
    """Bytes per second at which this machine writes a file of SPEED_BYTES into the store, synced, or its bucket."""
    path = store / CHECKS / f"speed-{secrets.token_hex(8)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = secrets.token_bytes(SPEED_BYTES)
    bucket = bucket_of(store)
    started_s = time.monotonic()
    try:
        if bucket:
            bucket.put(f"{CHECKS}/{path.name}", content)
        else:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        return SPEED_BYTES / max(time.monotonic() - started_s, 1e-6)
    finally:
        path.unlink(missing_ok=True)
        if bucket:
            bucket.remove([f"{CHECKS}/{path.name}"])
