"""A bucket: objects by key under a URL. The one file that knows fsspec; imports it when a bucket is asked for.

Every object appears whole or not at all, which object stores promise. Credentials and endpoints are the back end's own
affair (for S3 the usual AWS settings). A refusal is told to people at once, and so is a bucket that never answered; one
that did is asked again for `RETRY_FOR_S`. Either ends as StoreUnreachable.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from trainer.spec.errors import StoreError, StoreUnreachable, did_you_mean

S3 = frozenset({"s3", "s3a"})
"""Protocols whose back end the extra 's3' of this package brings."""
S3_OPTIONS = {"config_kwargs": {"retries": {"total_max_attempts": 2}, "connect_timeout": 5, "read_timeout": 15}}
"""Seconds and tries of one question. Left to itself, S3's back end multiplies its layers' tries to minutes."""
RETRY_FOR_S = 120.0
"""How long a bucket that has answered this process before is asked again before it counts as unreachable."""
RETRY_EVERY_S = 2.0
REFUSALS = (FileNotFoundError, PermissionError, ValueError, TypeError)
BUSY = frozenset({408, 409, 429})
"""Among the statuses of refused requests those that pass by themselves."""
LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it."""

    bytes: int
    changed_at_s: float
    """Seconds since 1970, by the store's clock."""


@dataclass(frozen=True)
class Bucket:
    """Objects under one URL; a plain value that travels between processes."""

    url: str

    def create(self, key: str, content: bytes) -> bool:
        """Makes the object unless it exists; of several at once one succeeds. Returns whether this call did.

        False also when the answer to this very call was lost and it was made again: whoever cares reads the object.
        """

        def make(files: Any, root: str) -> bool:
            try:
                files.pipe_file(f"{root}/{key}", content, mode="create")
            except FileExistsError:
                return False
            except OSError as fault:
                if _refusal(fault).get("Code") != "PreconditionFailed":  # not every server says which condition
                    raise
                return False
            return True

        return self._ask(make)

    def put(self, key: str, content: bytes, *, patient: bool = True) -> None:
        """Makes the object, or replaces it."""
        self._ask(lambda files, root: files.pipe_file(f"{root}/{key}", content), patient=patient)

    def upload(self, path: Path, key: str) -> None:
        """Makes the object from a file of any size; an upload that breaks off leaves nothing."""
        self._ask(lambda files, root: files.put_file(str(path), f"{root}/{key}"))

    def read(self, key: str) -> bytes | None:
        """The object, or None where there is none."""
        return self.read_all([key]).get(key)

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The objects that are there, fetched at once."""
        wanted = list(keys)

        def fetch(files: Any, root: str) -> dict[str, bytes]:
            paths = [f"{root}/{key}" for key in wanted]
            # in one piece: for pieces, sizes would be asked first, a round trip more
            contents = files.cat_ranges(paths, None, None, on_error="return", max_concurrency=1)
            found = dict(zip(wanted, contents, strict=True))
            for content in found.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
            return {key: content for key, content in found.items() if isinstance(content, bytes)}

        return self._ask(fetch) if wanted else {}

    def download(self, key: str, path: Path) -> bool:
        """Writes the object to a file. Returns whether there was one."""

        def fetch(files: Any, root: str) -> bool:
            try:
                files.get_file(f"{root}/{key}", str(path))
            except FileNotFoundError:
                return False
            return True

        return self._ask(fetch)

    def list(self, folder: str) -> dict[str, ObjectInfo]:
        """The objects whose key begins with `folder` and a slash."""

        def look(files: Any, root: str) -> dict[str, ObjectInfo]:
            parent, _, name = f"{root}/{folder}".rpartition("/")
            # by a prefix: an empty folder would be asked for as a file, two round trips more
            found = files.find(parent, prefix=f"{name}/", detail=True)
            keys = {path.removeprefix(root).lstrip("/"): info for path, info in found.items()}
            return {
                key: ObjectInfo(int(info["size"]), _changed_at_s(info))
                for key, info in keys.items()
                if key.startswith(f"{folder}/")  # some back ends know no prefix
            }

        return self._ask(look)

    def remove(self, keys: Iterable[str], *, patient: bool = True) -> None:
        """Takes objects away; one that is gone already is fine."""

        def remove(files: Any, root: str) -> None:
            for key in going:
                with contextlib.suppress(FileNotFoundError):
                    files.rm_file(f"{root}/{key}")

        if going := list(keys):
            self._ask(remove, patient=patient)

    def now_s(self) -> float:
        """Seconds since 1970, by the store's clock. Raises StoreUnreachable for who may only read."""
        self.put("clock/now", b"")
        return self.list("clock")["clock/now"].changed_at_s

    def note_reachable(self) -> None:
        """Says that the bucket is one that answers, to a process that has not asked it yet."""
        _ANSWERED.add(self.url)

    def _ask(self, act: Callable[[Any, str], T], *, patient: bool = True) -> T:
        """What `act` makes of the back end and the path of the URL there; each of its many faults leaves as one."""
        ends_s = time.monotonic() + (RETRY_FOR_S if patient and self.url in _ANSWERED else 0)
        told = False
        while True:
            try:
                answer = act(*_file_system(self.url, os.getpid()))
            except StoreError:
                raise
            except Exception as fault:
                if _is_refusal(fault) or time.monotonic() > ends_s:
                    raise StoreUnreachable(_complaint(self.url, fault)) from None
                if not told:
                    LOG.warning("%s: no answer (%s); asking again for %.0f s", self.url, _words(fault), RETRY_FOR_S)
                told = True
            else:
                _ANSWERED.add(self.url)
                return answer
            time.sleep(RETRY_EVERY_S)


_ANSWERED: set[str] = set()
"""URLs that answered this process."""


@functools.cache
def _file_system(url: str, process: int) -> tuple[Any, str]:
    """Once in each process: connections do not survive a fork."""
    from fsspec.core import url_to_fs  # late: a local store should not pay for it
    from fsspec.registry import known_implementations

    protocol = url.split("://", 1)[0]
    if protocol not in known_implementations:
        raise StoreError(
            f"{url}: '{protocol}' is no kind of store; expected a folder, or a URL such as s3://BUCKET/PREFIX"
            f"{did_you_mean(protocol, known_implementations)}"
        )
    is_s3 = protocol in S3
    try:
        # no cache of listings, since others write to it too; nor of back ends, since this one is told how often to try
        files, root = url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **(S3_OPTIONS if is_s3 else {})
        )
    except ImportError as fault:
        hint = "pip install -e '.[s3]' in the checkout" if is_s3 else str(fault)
        raise StoreError(f"{url}: a package is missing for {protocol}://; {hint}") from None
    if is_s3:
        files.retries = 1
    return files, root.rstrip("/")


def _is_refusal(fault: Exception) -> bool:
    """Whether asking again would get the same answer."""
    status = _refusal(fault).get("status")
    if status is not None:
        return 400 <= status < 500 and status not in BUSY
    return isinstance(fault, REFUSALS) or _lacks_credentials(fault)


def _refusal(fault: Exception) -> dict[str, Any]:
    """Of a fault that an S3 server told: its `Code`, `Message` and HTTP `status`; else nothing."""
    response = getattr(fault, "response", None) or getattr(fault.__cause__, "response", None)
    if not isinstance(response, dict):
        return {}
    return {**response.get("Error", {}), "status": response.get("ResponseMetadata", {}).get("HTTPStatusCode")}


def _lacks_credentials(fault: Exception) -> bool:
    return "Credentials" in type(fault).__name__  # of botocore, which is not imported for this


def _complaint(url: str, fault: Exception) -> str:
    """What went wrong, and where to look."""
    told = f"{url}: {_words(fault)}"
    if isinstance(fault, FileNotFoundError):
        return f"{told}; check the name: the bucket must exist"
    if isinstance(fault, PermissionError) or _lacks_credentials(fault):
        return (
            f"{told}; check the credentials (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) "
            "and what they allow"
        )
    told += "; check the network and the endpoint (for S3: AWS_ENDPOINT_URL)"
    kept = ". What is finished is kept on this machine; the same command goes on from there"
    return told + (kept if url in _ANSWERED else "")


def _words(fault: Exception) -> str:
    words = str(fault).strip().splitlines()
    return words[0] if words else type(fault).__name__


def _changed_at_s(info: dict[str, Any]) -> float:
    """Back ends differ in the name and the type of it; where none is told, now: nothing then looks old."""
    changed = next((info[name] for name in ("LastModified", "mtime", "last_modified", "created") if name in info), None)
    if isinstance(changed, datetime):
        return changed.timestamp()
    return float(changed) if isinstance(changed, int | float) else time.time()
