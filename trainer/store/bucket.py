"""Objects of an object store by key, through fsspec (imported here only, and late).

An object appears whole or not at all, which object stores guarantee. Credentials and endpoints are configured as the
back end expects (for S3 the usual AWS settings). Errors are raised as StoreUnreachable: permanent ones (permission,
missing bucket) at once, others after retries for `RETRY_FOR_S`, but without retries while this process has not reached
the bucket even once.
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
"""Protocols whose back end is installed by this package's extra 's3'."""
S3_OPTIONS = {"config_kwargs": {"retries": {"total_max_attempts": 2}, "connect_timeout": 5, "read_timeout": 15}}
"""Attempts and timeouts of one request. By default each layer of S3's back end retries, which takes minutes in all."""
RETRY_FOR_S = 120.0
"""How long requests are retried at a bucket that this process has reached before."""
RETRY_EVERY_S = 2.0
PERMANENT = (FileNotFoundError, PermissionError, ValueError, TypeError)
TEMPORARY_4XX = frozenset({408, 409, 429})
"""HTTP statuses 4xx that are worth a retry: timeout, conflict, too many requests."""
LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class ObjectInfo:
    """Size and age of an object, as listings report them."""

    bytes: int
    changed_at_s: float
    """Seconds since 1970, by the bucket's clock."""


@dataclass(frozen=True)
class Bucket:
    """Objects under one URL. Holds no connection, so it can be pickled."""

    url: str

    def create(self, key: str, content: bytes) -> bool:
        """Creates the object unless it exists (a conditional write). Returns whether this call created it.

        Also False if this call created it, the response was lost, and the retry found it: read the object to be sure.
        """

        def make(files: Any, root: str) -> bool:
            try:
                files.pipe_file(f"{root}/{key}", content, mode="create")
            except FileExistsError:
                return False
            except OSError as fault:
                if _s3_error(fault).get("Code") != "PreconditionFailed":  # not every server maps to FileExistsError
                    raise
                return False
            return True

        return self._request(make)

    def put(self, key: str, content: bytes, *, retry: bool = True) -> None:
        """Creates or replaces the object."""
        self._request(lambda files, root: files.pipe_file(f"{root}/{key}", content), retry=retry)

    def upload(self, path: Path, key: str) -> None:
        """Creates or replaces the object from a file of any size; an interrupted upload leaves nothing."""
        self._request(lambda files, root: files.put_file(str(path), f"{root}/{key}"))

    def read(self, key: str) -> bytes | None:
        """Content of the object, or None if it does not exist."""
        return self.read_all([key]).get(key)

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Contents of those of the objects that exist, read concurrently."""
        wanted = list(keys)

        def fetch(files: Any, root: str) -> dict[str, bytes]:
            paths = [f"{root}/{key}" for key in wanted]
            # whole objects: for ranges fsspec would request the sizes first, a second round trip
            contents = files.cat_ranges(paths, None, None, on_error="return", max_concurrency=1)
            for content in contents:
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
            return {key: content for key, content in zip(wanted, contents, strict=True) if isinstance(content, bytes)}

        return self._request(fetch) if wanted else {}

    def download(self, key: str, path: Path) -> bool:
        """Writes the object to a file. Returns False if the object does not exist."""

        def fetch(files: Any, root: str) -> bool:
            try:
                files.get_file(f"{root}/{key}", str(path))
            except FileNotFoundError:
                return False
            return True

        return self._request(fetch)

    def list(self, folder: str) -> dict[str, ObjectInfo]:
        """The objects under `folder`, by key."""

        def find(files: Any, root: str) -> dict[str, ObjectInfo]:
            parent, _, name = f"{root}/{folder}".rpartition("/")
            # by prefix: for a folder without objects fsspec would make two more requests
            infos = files.find(parent, prefix=f"{name}/", detail=True)
            keys = {path.removeprefix(root).lstrip("/"): info for path, info in infos.items()}
            return {
                key: ObjectInfo(int(info["size"]), _changed_at_s(info))
                for key, info in keys.items()
                if key.startswith(f"{folder}/")  # some back ends ignore the prefix
            }

        return self._request(find)

    def remove(self, keys: Iterable[str], *, retry: bool = True) -> None:
        """Deletes objects; ignores those that do not exist."""

        def remove(files: Any, root: str) -> None:
            for key in to_remove:
                with contextlib.suppress(FileNotFoundError):
                    files.rm_file(f"{root}/{key}")

        if to_remove := list(keys):
            self._request(remove, retry=retry)

    def now_s(self) -> float:
        """Seconds since 1970, by the bucket's clock. Needs permission to write."""
        self.put("clock/now", b"")
        return self.list("clock")["clock/now"].changed_at_s

    def note_reachable(self) -> None:
        """Makes this process retry its requests as if it had reached the bucket before."""
        _REACHED.add(self.url)

    def _request(self, act: Callable[[Any, str], T], *, retry: bool = True) -> T:
        """Calls `act(file_system, root_path)` and returns its result, with retries; raises StoreUnreachable."""
        ends_s = time.monotonic() + (RETRY_FOR_S if retry and self.url in _REACHED else 0)
        warned = False
        while True:
            try:
                result = act(*_file_system(self.url, os.getpid()))
            except StoreError:
                raise
            except Exception as fault:
                if _is_permanent(fault) or time.monotonic() > ends_s:
                    raise StoreUnreachable(_message(self.url, fault)) from None
                if not warned:
                    LOG.warning("%s: %s; retrying for up to %.0f s", self.url, _first_line(fault), RETRY_FOR_S)
                warned = True
            else:
                _REACHED.add(self.url)
                return result
            time.sleep(RETRY_EVERY_S)


_REACHED: set[str] = set()
"""URLs of buckets that this process has reached."""


@functools.cache
def _file_system(url: str, process: int) -> tuple[Any, str]:
    """The fsspec file system and root path of a URL; one per process, since connections do not survive a fork."""
    from fsspec.core import url_to_fs  # late: slow to import, and a local store does not need it
    from fsspec.registry import known_implementations

    protocol = url.split("://", 1)[0]
    if protocol not in known_implementations:
        raise StoreError(
            f"{url}: '{protocol}' is not a known protocol; expected a folder, or a URL such as s3://BUCKET/PREFIX"
            f"{did_you_mean(protocol, known_implementations)}"
        )
    is_s3 = protocol in S3
    try:
        # no cached listings: other machines write too; no cached file system: this one has its own retry settings
        files, root = url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **(S3_OPTIONS if is_s3 else {})
        )
    except ImportError as fault:
        hint = "pip install -e '.[s3]' in the checkout" if is_s3 else str(fault)
        raise StoreError(f"{url}: a package is missing for {protocol}://; {hint}") from None
    if is_s3:
        files.retries = 1
    return files, root.rstrip("/")


def _is_permanent(fault: Exception) -> bool:
    """Whether a retry would fail in the same way."""
    status = _s3_error(fault).get("status")
    if status is not None:
        return 400 <= status < 500 and status not in TEMPORARY_4XX
    return isinstance(fault, PERMANENT) or _lacks_credentials(fault)


def _s3_error(fault: Exception) -> dict[str, Any]:
    """`Code`, `Message` and HTTP `status` of an error that an S3 server returned; empty for any other error."""
    response = getattr(fault, "response", None) or getattr(fault.__cause__, "response", None)
    if not isinstance(response, dict):
        return {}
    return {**response.get("Error", {}), "status": response.get("ResponseMetadata", {}).get("HTTPStatusCode")}


def _lacks_credentials(fault: Exception) -> bool:
    return "Credentials" in type(fault).__name__  # botocore's errors, by name: botocore may not be installed


def _message(url: str, fault: Exception) -> str:
    """The error in one sentence, with what to check."""
    message = f"{url}: {_first_line(fault)}"
    if isinstance(fault, FileNotFoundError):
        return f"{message}; check the name: the bucket must exist"
    if isinstance(fault, PermissionError) or _lacks_credentials(fault):
        return (
            f"{message}; check the credentials (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) "
            "and what they allow"
        )
    message += "; check the network and the endpoint (for S3: AWS_ENDPOINT_URL)"
    resume = ". What is finished is kept on this machine; the same command goes on from there"
    return message + (resume if url in _REACHED else "")


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__


def _changed_at_s(info: dict[str, Any]) -> float:
    """Modification time, which back ends name differently; if missing, the present, so that nothing looks old."""
    changed = next((info[name] for name in ("LastModified", "mtime", "last_modified", "created") if name in info), None)
    if isinstance(changed, datetime):
        return changed.timestamp()
    return float(changed) if isinstance(changed, int | float) else time.time()
