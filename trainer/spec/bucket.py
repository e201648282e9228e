"""A bucket: objects by key under a URL. The one file that knows fsspec; imports it when a bucket is asked for.

Every object appears whole or not at all, which object stores promise. Credentials and endpoints are the back end's own
affair (for S3 the usual AWS settings). Whatever keeps the bucket from answering is a StoreUnreachable, told to people.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from trainer.spec.errors import StoreError, StoreUnreachable, did_you_mean

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Which extra of this package brings the back end of a protocol."""


@dataclass(frozen=True)
class Stored:
    """An object as a listing shows it."""

    bytes: int
    changed_at_s: float
    """Seconds since 1970, by the store's clock."""


@dataclass(frozen=True)
class Bucket:
    """Objects under one URL; a plain value that travels between processes."""

    url: str

    def create(self, key: str, content: bytes) -> bool:
        """Makes the object unless it exists; of several at once one succeeds. Returns whether this call did."""
        with self._reaching() as (files, root):
            try:
                files.pipe_file(f"{root}/{key}", content, mode="create")
            except FileExistsError:
                return False
        return True

    def put(self, key: str, content: bytes) -> None:
        """Makes the object, or replaces it."""
        with self._reaching() as (files, root):
            files.pipe_file(f"{root}/{key}", content)

    def upload(self, path: Path, key: str) -> None:
        """Makes the object from a file of any size; an upload that breaks off leaves nothing."""
        with self._reaching() as (files, root):
            files.put_file(str(path), f"{root}/{key}")

    def read(self, key: str) -> bytes | None:
        """The object, or None where there is none."""
        return self.read_all([key]).get(key)

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The objects that are there, fetched at once."""
        with self._reaching() as (files, root):
            found: dict[str, bytes] = {}
            if paths := {f"{root}/{key}": key for key in keys}:
                contents = files.cat(list(paths), on_error="return")
                for path, content in contents.items():
                    if isinstance(content, bytes):
                        found[paths[path]] = content
                    elif not isinstance(content, FileNotFoundError):
                        raise content
            return found

    def download(self, key: str, path: Path) -> bool:
        """Writes the object to a file. Returns whether there was one."""
        with self._reaching() as (files, root):
            try:
                files.get_file(f"{root}/{key}", str(path))
            except FileNotFoundError:
                return False
        return True

    def list(self, prefix: str) -> dict[str, Stored]:
        """The objects whose key begins with `prefix`, a folder's name without its slash."""
        with self._reaching() as (files, root):
            found = files.find(f"{root}/{prefix}", detail=True)
            return {
                path.removeprefix(root).lstrip("/"): Stored(int(info["size"]), _changed_at_s(info))
                for path, info in found.items()
            }

    def remove(self, keys: Iterable[str]) -> None:
        """Takes objects away; one that is gone already is fine."""
        with self._reaching() as (files, root):
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    files.rm_file(f"{root}/{key}")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        """The back end and the path of the URL there; each of its many kinds of fault leaves as one."""
        try:
            yield _opened(self.url, os.getpid())
        except StoreError:
            raise
        except Exception as fault:
            told = str(fault).strip() or type(fault).__name__
            raise StoreUnreachable(
                f"{self.url}: {told}; check the name, the credentials and the network. "
                "What is finished is kept on this machine; the same command goes on from there"
            ) from None


@functools.cache
def _opened(url: str, process: int) -> tuple[Any, str]:
    """Once in each process: connections do not survive a fork."""
    from fsspec.core import url_to_fs  # late: a local store should not pay for it
    from fsspec.registry import known_implementations

    protocol = url.split("://", 1)[0]
    if protocol not in known_implementations:
        raise StoreError(
            f"{url}: '{protocol}' is no kind of store; expected a folder, or a URL such as s3://BUCKET/PREFIX"
            f"{did_you_mean(protocol, known_implementations)}"
        )
    try:
        files, root = url_to_fs(url, use_listings_cache=False)  # others write to it too
    except ImportError as fault:
        hint = f"pip install -e '.[{EXTRAS[protocol]}]' in the checkout" if protocol in EXTRAS else str(fault)
        raise StoreError(f"{url}: a package is missing for {protocol}://; {hint}") from None
    return files, root.rstrip("/")


def _changed_at_s(info: dict[str, Any]) -> float:
    """Back ends differ in the name and the type of it; where none is told, now: nothing then looks old."""
    changed = next((info[name] for name in ("LastModified", "mtime", "last_modified", "created") if name in info), None)
    if isinstance(changed, datetime):
        return changed.timestamp()
    return float(changed) if isinstance(changed, int | float) else time.time()
