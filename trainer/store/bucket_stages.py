"""Finished stages in a bucket: files under their checksums first, the seal last, so that nothing is half visible.

    URL/stages/STAGE/FINGERPRINT/SHA256-NAME    a file
    URL/stages/STAGE/FINGERPRINT/seal.json      what the stage left, and of each file its size and SHA-256
    URL/stages/STAGE/FINGERPRINT/used           written when a run builds on the stage, once a day

A stage exists when its seal does and every file it names is there in its size. Knows nothing of claims or mirrors.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from trainer.spec.record import StageOutcome
from trainer.spec.stage_table import STAGES
from trainer.store.bucket import Bucket, ObjectInfo
from trainer.store.checksums import CHECKSUMS_FILE, damaged_files, read_checksums

MANIFEST_OBJECT, USED_OBJECT = "seal.json", "used"
LISTING_S = 2.0
"""How old a listing may be for a look; whoever computes or builds on a stage asks anew."""
READ_AHEAD = 500
"""Seals that one look reads together: each alone would cost a round trip."""
DAY_S = 86_400.0
Plain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""What the bucket names becomes a path here, so no other names are believed."""


class FileChecksum(BaseModel):
    """One file of a finished stage."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: Plain


class Manifest(BaseModel):
    """What a seal in the bucket says."""

    model_config = ConfigDict(frozen=True)

    outcome: StageOutcome
    files: Mapping[Plain, FileChecksum]

    @classmethod
    def of(cls, folder: Path, outcome: StageOutcome) -> Manifest:
        """The seal of a stage that is finished in a folder."""
        return cls.model_validate({"outcome": outcome, "files": read_checksums(folder)})

    @property
    def objects(self) -> dict[str, str]:
        """The object of each file, by the file's name."""
        return {name: f"{file.sha256}-{name}" for name, file in self.files.items()}

    @property
    def plain_files(self) -> dict[str, dict[str, int | str]]:
        """As a local seal says it."""
        return {name: file.model_dump() for name, file in self.files.items()}

    @property
    def disk_bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


class BucketStages:
    """Reads, writes and lists them; what it has read once it does not read again while the listing says the same."""

    def __init__(self, bucket: Bucket):
        self._bucket = bucket
        self._listings: dict[str, tuple[float, dict[str, dict[str, ObjectInfo]]]] = {}
        self._seals: dict[tuple[str, str], tuple[ObjectInfo, Manifest | None]] = {}

    def listing(self, stage: str) -> Mapping[str, Mapping[str, ObjectInfo]]:
        """Of each fingerprint, its objects by name; a moment old. The first look takes in every stage at once."""
        listed_s, _ = self._listings.get(stage, (-LISTING_S, {}))
        if time.monotonic() - listed_s > LISTING_S:
            self._list([stage] if self._listings else [*STAGES, stage])
        return self._listings[stage][1]

    def _list(self, stages: Sequence[str]) -> None:
        found: dict[str, dict[str, dict[str, ObjectInfo]]] = {stage: {} for stage in stages}
        for key, stored in self._bucket.list(f"stages/{stages[0]}" if len(stages) == 1 else "stages").items():
            match = re.fullmatch(r"stages/(\w+)/([A-Za-z0-9]+)/([^/]+)", key)
            if match and match[1] in found:
                found[match[1]].setdefault(match[2], {})[match[3]] = stored
        self._listings |= {stage: (time.monotonic(), objects) for stage, objects in found.items()}

    def find(self, stage: str, fingerprint: str) -> Manifest | None:
        """The seal of a finished stage, from a listing; None where there is none, or a file is not in its size."""
        if fingerprint not in self.listing(stage):
            return None
        return self._read(stage, [fingerprint, *self._newest(stage)]).get(fingerprint)

    def newest(self, stage: str) -> Iterable[Manifest]:
        """Finished stages, the newest first."""
        return self._read(stage, list(self._newest(stage))).values()

    def ask(self, stage: str, fingerprint: str) -> Manifest | None:
        """The seal as it is now, whatever a listing said."""
        content = self._bucket.read(f"stages/{stage}/{fingerprint}/{MANIFEST_OBJECT}")
        return None if content is None else _parsed(content, stage, fingerprint)

    def publish(self, folder: Path, sealed: Manifest, *, replace: bool) -> bool:
        """Uploads a finished stage, then its seal; the first seal stands, unless this is to `replace` it.

        Returns whether this one stands.
        """
        objects = {self._key(sealed, name): folder / file for file, name in sealed.objects.items()}
        for key, path in objects.items():
            self._bucket.upload(path, key)
        seal_key, seal = self._key(sealed, MANIFEST_OBJECT), sealed.model_dump_json(indent=1).encode()
        if replace:
            self._bucket.put(seal_key, seal)
        elif not self._bucket.create(seal_key, seal):
            return False
        uploaded = self._bucket.list(self._key(sealed, "").rstrip("/"))
        self._bucket.remove(uploaded.keys() - {seal_key, *objects})  # uploads that broke off, or came second
        self._listings.pop(sealed.outcome.stage, None)
        return True

    def download(self, sealed: Manifest, folder: Path) -> list[str]:
        """Brings the files and their seal into an empty folder. Returns the names of those that are damaged."""
        for name, object_name in sealed.objects.items():
            self._bucket.download(self._key(sealed, object_name), folder / name)
        (folder / CHECKSUMS_FILE).write_text(json.dumps(sealed.plain_files, indent=1), encoding="utf-8")
        return damaged_files(folder)

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """One small file of a finished stage, or None where it is missing or damaged."""
        sealed = self.find(stage, fingerprint)
        if sealed is None or name not in sealed.files:
            return None
        content = self._bucket.read(self._key(sealed, sealed.objects[name]))
        whole = content is not None and hashlib.sha256(content).hexdigest() == sealed.files[name].sha256
        return content if whole else None

    def note_use(self, stage: str, fingerprint: str) -> None:
        """Says that a run built on the stage, if nobody has said so for a day."""
        objects = self.listing(stage).get(fingerprint, {})
        said_s = [objects[name].changed_at_s for name in (MANIFEST_OBJECT, USED_OBJECT) if name in objects]
        if said_s and time.time() - max(said_s) > DAY_S:
            self._bucket.put(f"stages/{stage}/{fingerprint}/{USED_OBJECT}", b"")
            self._listings.pop(stage)

    def remove(self, stage: str, fingerprint: str) -> None:
        """Takes a stage away, its seal first: nobody finds half of it."""
        folder = f"stages/{stage}/{fingerprint}"
        self._bucket.remove([f"{folder}/{MANIFEST_OBJECT}"])
        self._bucket.remove(self._bucket.list(folder))
        self._listings.pop(stage, None)

    def _newest(self, stage: str) -> Iterable[str]:
        found = {
            mark: objects[MANIFEST_OBJECT]
            for mark, objects in self.listing(stage).items()
            if MANIFEST_OBJECT in objects
        }
        return itertools.islice(sorted(found, key=lambda mark: -found[mark].changed_at_s), READ_AHEAD)

    def _read(self, stage: str, marks: Iterable[str]) -> dict[str, Manifest]:
        """The seals of these fingerprints that are whole, in their order."""
        listing = self.listing(stage)
        listed = {mark: listing[mark][MANIFEST_OBJECT] for mark in marks if MANIFEST_OBJECT in listing[mark]}
        unread = {
            f"stages/{stage}/{mark}/{MANIFEST_OBJECT}": mark
            for mark, stored in listed.items()
            if self._seals.get((stage, mark), (None, None))[0] != stored
        }
        for key, content in self._bucket.read_all(unread).items():
            mark = unread[key]
            self._seals[stage, mark] = listed[mark], _parsed(content, stage, mark)
        found = {mark: self._seals.get((stage, mark), (None, None))[1] for mark in listed}
        return {mark: sealed for mark, sealed in found.items() if sealed and _in_size(sealed, listing[mark])}

    @staticmethod
    def _key(sealed: Manifest, name: str) -> str:
        return f"stages/{sealed.outcome.stage}/{sealed.outcome.fingerprint}/{name}"


def _in_size(sealed: Manifest, objects: Mapping[str, ObjectInfo]) -> bool:
    sizes = {name: stored.bytes for name, stored in objects.items()}
    return all(sizes.get(sealed.objects[name]) == file.bytes for name, file in sealed.files.items())


def _parsed(content: bytes, stage: str, fingerprint: str) -> Manifest | None:
    try:
        sealed = Manifest.model_validate_json(content)
    except ValidationError:
        return None
    return sealed if (sealed.outcome.stage, sealed.outcome.fingerprint) == (stage, fingerprint) else None
