"""A mirror: the local folder of a store that is kept in a bucket.

    runs/.mirrors/NAME/bucket.json    {"url": "s3://..."}, the bucket; a folder without this file is a local store

Code reads and writes stores as folders; shared files are published from a mirror to its bucket and fetched back.
A mirror may be deleted at any time: everything that was published is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from trainer.spec.errors import StoreError
from trainer.spec.json_text import parse_json
from trainer.store.bucket import Bucket

USUAL_STORE = Path("runs")
"""The store where people name none: a folder here."""
MIRRORS = USUAL_STORE / ".mirrors"
BUCKET_FILE = "bucket.json"
FILES_AT_ONCE = 500


RAY_COPIES = "working_dir_files"
"""Folder of Ray's session in which the files of jobs are copied (`--working-dir`), and in time removed."""


def store_folder(place: str | Path) -> Path:
    """The folder of the store that `--store` names: a path, or the mirror of a URL, created if it does not exist.

    Raises StoreError for a URL without a bucket; for a path at which a file stands, or below one: what only reads
    would else find it empty; and for a folder in a Ray job's copy of its files, with which it would be removed.
    """
    text = str(place).removeprefix("file://")
    if "://" not in text:
        folder = Path(text)
        if file := next((one for one in (folder, *folder.parents) if os.path.isfile(one)), None):  # noqa: PTH113
            where = "" if file == folder else f": {file}"
            raise StoreError(f"store {text}{where} is a file; expected a folder, or a URL such as s3://BUCKET/PREFIX")
        if RAY_COPIES in folder.absolute().parts:
            raise StoreError(
                f"store {text} lies in this Ray job's copy of the folder, which Ray removes after the job; "
                "name one that stays: --store /shared/runs, or --store s3://BUCKET/PREFIX"
            )
        return folder
    url = text.rstrip("/")
    if url.endswith(":"):
        raise StoreError(f"{text} names no bucket; expected a folder, or a URL such as s3://BUCKET/PREFIX")
    folder = MIRRORS / f"{re.sub(r'[^A-Za-z0-9._]+', '-', url)}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    make_mirror(folder, Bucket(url))
    return folder


def make_mirror(folder: Path, bucket: Bucket) -> None:
    """Makes the folder a mirror of the bucket; does nothing if it is a mirror already."""
    if bucket_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{BUCKET_FILE}-{os.getpid()}"
        temporary.write_text(json.dumps({"url": bucket.url}) + "\n", encoding="utf-8")
        temporary.replace(folder / BUCKET_FILE)


def bucket_of(folder: Path) -> Bucket | None:
    """The bucket that a store's folder mirrors, or None for a local store."""
    try:
        return Bucket(parse_json((folder / BUCKET_FILE).read_text(encoding="utf-8"))["url"])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def store_name(folder: Path) -> str:
    """What `--store` names this folder: the bucket's URL or the path. The inverse of `store_folder`."""
    bucket = bucket_of(folder)
    return bucket.url if bucket else str(folder)


def store_option(folder: Path) -> str:
    """The `--store` option that a command about this store needs; empty for the default, `./runs`."""
    return "" if folder.absolute() == USUAL_STORE.absolute() else f" --store {shlex.quote(store_name(folder))}"


def publish_file_once(path: Path) -> None:
    """Publishes a small file of a mirror unless its bucket has it; does nothing in a local store."""
    if located := _object_of(path):
        bucket, key = located
        bucket.create(key, path.read_bytes())


def publish_file(path: Path) -> None:
    """Publishes a small file of a mirror, replacing its object; does nothing in a local store."""
    if located := _object_of(path):
        bucket, key = located
        bucket.put(key, path.read_bytes())


def fetch_file(path: Path) -> bool:
    """Fetches a small file of a mirror from its bucket. Returns whether the local file exists afterwards."""
    if located := _object_of(path):
        bucket, key = located
        fetch_files(path.parents[len(Path(key).parts) - 1], bucket, [key])
    return path.exists()


def fetch_files(root: Path, bucket: Bucket, keys: Sequence[str]) -> None:
    """Fetches many small files into the mirror at `root`, each written atomically; skips objects that do not exist."""
    for start in range(0, len(keys), FILES_AT_ONCE):
        for key, content in bucket.read_all(keys[start : start + FILES_AT_ONCE]).items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}-{os.getpid()}")
            temporary.write_bytes(content)
            temporary.replace(path)


def _object_of(path: Path) -> tuple[Bucket, str] | None:
    """Bucket and key of a file that lies at most four folders deep in a mirror; None in a local store."""
    for root in path.parents[:4]:
        if bucket := bucket_of(root):
            return bucket, path.relative_to(root).as_posix()
    return None
