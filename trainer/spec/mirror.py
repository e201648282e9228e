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
from pathlib import Path

from trainer.spec.bucket import Bucket

MIRRORS = Path("runs") / ".mirrors"
BUCKET_FILE = "bucket.json"


def store_folder(place: str | Path) -> Path:
    """The folder behind what people say for `--store`: a path, or a URL whose mirror is made if need be."""
    text = str(place).removeprefix("file://")
    if "://" not in text:
        return Path(text)
    url = text.rstrip("/")
    folder = MIRRORS / f"{re.sub(r'[^A-Za-z0-9._]+', '-', url)}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    if bucket_of(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{BUCKET_FILE}-{os.getpid()}"
        aside.write_text(json.dumps({"url": url}) + "\n", encoding="utf-8")
        aside.replace(folder / BUCKET_FILE)
    return folder


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
