"""A mirror: the local folder of a store that lies in a bucket.

    runs/.mirrors/NAME/bucket.json    which bucket the folder mirrors; a folder without it is a store of its own

Everything that reads or writes a store does so in a folder; what is shared goes to the bucket from there and comes from
there. A mirror may be deleted at any time: what was published comes again.
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
from trainer.store.bucket import Bucket

MIRRORS = Path("runs") / ".mirrors"
BUCKET_FILE = "bucket.json"
FILES_AT_ONCE = 500


def store_folder(place: str | Path) -> Path:
    """The folder behind what people say for `--store`: a path, or a URL whose mirror is made if need be.

    Raises StoreError for a URL without a bucket.
    """
    text = str(place).removeprefix("file://")
    if "://" not in text:
        return Path(text)
    url = text.rstrip("/")
    if url.endswith(":"):
        raise StoreError(f"{text} names no bucket; expected a folder, or a URL such as s3://BUCKET/PREFIX")
    folder = MIRRORS / f"{re.sub(r'[^A-Za-z0-9._]+', '-', url)}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    make_mirror(folder, Bucket(url))
    return folder


def make_mirror(folder: Path, bucket: Bucket) -> None:
    """Makes the folder a mirror of the bucket; changes nothing if it is one."""
    if bucket_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{BUCKET_FILE}-{os.getpid()}"
        aside.write_text(json.dumps({"url": bucket.url}) + "\n", encoding="utf-8")
        aside.replace(folder / BUCKET_FILE)


def bucket_of(folder: Path) -> Bucket | None:
    """The bucket that a store's folder mirrors, or None for a store that lies here."""
    try:
        return Bucket(json.loads((folder / BUCKET_FILE).read_text(encoding="utf-8"))["url"])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def store_name(folder: Path) -> str:
    """What people say for the store of this folder: the inverse of `store_folder`."""
    bucket = bucket_of(folder)
    return bucket.url if bucket else str(folder)


def store_option(folder: Path) -> str:
    """What a command line about this store must add: nothing for the usual one, `./runs`."""
    usual = Path("runs")
    return "" if folder.absolute() == usual.absolute() else f" --store {shlex.quote(store_name(folder))}"


def publish_file_once(path: Path) -> None:
    """Publishes a small file of a mirror unless its bucket has it; does nothing in a store that lies here."""
    if place := _place_of(path):
        bucket, key = place
        bucket.create(key, path.read_bytes())


def publish_file(path: Path) -> None:
    """Publishes a small file of a mirror as it is now."""
    if place := _place_of(path):
        bucket, key = place
        bucket.put(key, path.read_bytes())


def fetch_file(path: Path) -> bool:
    """Fetches a small file of a mirror that another machine published. Returns whether there is one here now."""
    if place := _place_of(path):
        fetch_files(path.parents[len(Path(place[1]).parts) - 1], place[0], [place[1]])
    return path.exists()


def fetch_files(root: Path, bucket: Bucket, keys: Sequence[str]) -> None:
    """Fetches many small files into the mirror at `root`; each appears whole."""
    for start in range(0, len(keys), FILES_AT_ONCE):
        for key, content in bucket.read_all(keys[start : start + FILES_AT_ONCE]).items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}-{os.getpid()}")
            aside.write_bytes(content)
            aside.replace(path)


def _place_of(path: Path) -> tuple[Bucket, str] | None:
    """The bucket and key of a file under a mirror, at most four folders deep."""
    for root in path.parents[:4]:
        if bucket := bucket_of(root):
            return bucket, path.relative_to(root).as_posix()
    return None
