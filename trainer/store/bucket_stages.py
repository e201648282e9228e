"""Finished stages in a bucket. Files are uploaded first, the manifest last, so a partial upload is never visible.

    URL/stages/STAGE/FINGERPRINT/SHA256-NAME    a file
    URL/stages/STAGE/FINGERPRINT/seal.json      the manifest: {"outcome": {...}, "files": {"NAME": {"bytes", "sha256"}}}
    URL/stages/STAGE/FINGERPRINT/used           empty; rewritten at most once a day when a run builds on the stage

A stage exists if its manifest does and every file that it lists exists with its size. Claims and mirrors are not
handled here.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from trainer.spec.record import StageOutcome
from trainer.spec.stage_table import STAGES
from trainer.store.bucket import Bucket, ObjectInfo
from trainer.store.checksums import FileChecksum, damaged_files, read_checksums, write_checksums

MANIFEST_OBJECT, USED_OBJECT = "seal.json", "used"
"""The manifest of a stage, under the name that version 0.1.0 gave it, since its buckets must open; and its last use."""
LISTING_S = 2.0
"""Seconds for which a listing is reused by `find` and `newest`; `read_manifest` never uses one."""
READ_AHEAD = 500
"""How many of the newest manifests `find` and `newest` read in one request."""
DAY_S = 86_400.0
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A name in the bucket becomes a local path, so one with other characters (`../x`) is refused."""

Objects = Mapping[str, ObjectInfo]
"""Objects of one stage in the bucket, by name."""


class Manifest(BaseModel):
    """Content of `seal.json`: what a stage left, and the checksum of each of its files."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    outcome: StageOutcome
    files: Mapping[FileName, FileChecksum]

    @classmethod
    def of(cls, folder: Path, outcome: StageOutcome) -> Manifest:
        """The manifest of a stage that is finished in a local folder."""
        return cls(outcome=outcome, files=read_checksums(folder))

    @property
    def object_names(self) -> Mapping[str, str]:
        """Name of each file's object, by the file's name."""
        return {name: f"{file.sha256}-{name}" for name, file in self.files.items()}

    @property
    def disk_bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def sizes_match(self, objects: Objects) -> bool:
        """Whether every listed file is among the objects, with its size."""
        sizes = {name: info.bytes for name, info in objects.items()}
        return all(sizes.get(self.object_names[name]) == file.bytes for name, file in self.files.items())


class _Listing(NamedTuple):
    """Objects of one stage, by fingerprint."""

    listed_at_s: float
    stages: Mapping[str, Objects]


class _ReadManifest(NamedTuple):
    """A manifest that was read, and the object's listing at that time: while that is the same, it is not read again."""

    info: ObjectInfo
    manifest: Manifest | None
    """None if the object could not be parsed."""


class BucketStages:
    """Reads, writes, lists and removes finished stages of a bucket; caches listings briefly and manifests for long."""

    def __init__(self, bucket: Bucket):
        self._bucket = bucket
        self._listings: dict[str, _Listing] = {}
        self._manifests: dict[tuple[str, str], _ReadManifest] = {}

    def listing(self, stage: str) -> Mapping[str, Objects]:
        """Objects of the stage by fingerprint, at most `LISTING_S` old. The first call lists all stages at once."""
        listing = self._listings.get(stage)
        if listing is None or time.monotonic() - listing.listed_at_s > LISTING_S:
            self._list([stage] if self._listings else [*STAGES, stage])
        return self._listings[stage].stages

    def _list(self, stages: Sequence[str]) -> None:
        listed: dict[str, dict[str, dict[str, ObjectInfo]]] = {stage: {} for stage in stages}
        for key, info in self._bucket.list(f"stages/{stages[0]}" if len(stages) == 1 else "stages").items():
            match = re.fullmatch(r"stages/(\w+)/([A-Za-z0-9]+)/([^/]+)", key)
            if match and match[1] in listed:
                listed[match[1]].setdefault(match[2], {})[match[3]] = info
        self._listings |= {stage: _Listing(time.monotonic(), objects) for stage, objects in listed.items()}

    def find(self, stage: str, fingerprint: str) -> Manifest | None:
        """Manifest of a finished stage, by a recent listing; None if it is missing or a file lacks its size."""
        if fingerprint not in self.listing(stage):
            return None
        return self._read(stage, [fingerprint, *self._newest(stage)]).get(fingerprint)

    def newest(self, stage: str) -> Iterable[Manifest]:
        """Manifests of finished stages, the newest first, by a recent listing."""
        return self._read(stage, list(self._newest(stage))).values()

    def read_manifest(self, stage: str, fingerprint: str) -> Manifest | None:
        """The manifest as the bucket has it now; None if it is missing or cannot be parsed. Uses no listing."""
        content = self._bucket.read(f"stages/{stage}/{fingerprint}/{MANIFEST_OBJECT}")
        return None if content is None else _parsed(content, stage, fingerprint)

    def publish(self, folder: Path, manifest: Manifest, *, replace: bool) -> bool:
        """Uploads the files of a finished stage, then its manifest. Returns whether the manifest was written.

        replace:  overwrite an existing manifest; otherwise an existing one is kept
        """
        objects = {self._key(manifest, name): folder / file for file, name in manifest.object_names.items()}
        for key, path in objects.items():
            self._bucket.upload(path, key)
        manifest_key, content = self._key(manifest, MANIFEST_OBJECT), manifest.model_dump_json(indent=1).encode()
        if replace:
            self._bucket.put(manifest_key, content)
        elif not self._bucket.create(manifest_key, content):
            return False
        uploaded = self._bucket.list(self._key(manifest, "").rstrip("/"))
        self._bucket.remove(uploaded.keys() - {manifest_key, *objects})  # of interrupted uploads and later publishers
        self._listings.pop(manifest.outcome.stage, None)
        return True

    def download(self, manifest: Manifest, folder: Path) -> list[str]:
        """Downloads the files into an empty folder, with their checksum file. Returns the names of damaged ones."""
        for name, object_name in manifest.object_names.items():
            self._bucket.download(self._key(manifest, object_name), folder / name)
        write_checksums(folder, manifest.files)
        return damaged_files(folder)

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """Content of one small file of a finished stage, or None if it is missing or damaged."""
        manifest = self.find(stage, fingerprint)
        if manifest is None or name not in manifest.files:
            return None
        content = self._bucket.read(self._key(manifest, manifest.object_names[name]))
        intact = content is not None and hashlib.sha256(content).hexdigest() == manifest.files[name].sha256
        return content if intact else None

    def note_use(self, stage: str, fingerprint: str) -> None:
        """Records that a run built on the stage, at most once a day."""
        objects = self.listing(stage).get(fingerprint, {})
        used_at_s = [objects[name].changed_at_s for name in (MANIFEST_OBJECT, USED_OBJECT) if name in objects]
        if used_at_s and time.time() - max(used_at_s) > DAY_S:
            self._bucket.put(f"stages/{stage}/{fingerprint}/{USED_OBJECT}", b"")
            self._listings.pop(stage)

    def remove(self, stage: str, fingerprint: str) -> None:
        """Deletes a stage, its manifest first, so that no reader sees a part of it."""
        folder = f"stages/{stage}/{fingerprint}"
        self._bucket.remove([f"{folder}/{MANIFEST_OBJECT}"])
        self._bucket.remove(self._bucket.list(folder))
        self._listings.pop(stage, None)

    def _newest(self, stage: str) -> Iterable[str]:
        """Fingerprints of the `READ_AHEAD` newest manifests."""
        listing = self.listing(stage)
        changed_at_s = {
            fingerprint: objects[MANIFEST_OBJECT].changed_at_s
            for fingerprint, objects in listing.items()
            if MANIFEST_OBJECT in objects
        }
        return itertools.islice(sorted(changed_at_s, key=lambda fingerprint: -changed_at_s[fingerprint]), READ_AHEAD)

    def _read(self, stage: str, fingerprints: Iterable[str]) -> dict[str, Manifest]:
        """Manifests of those of the fingerprints whose stage is finished, in the given order."""
        listing = self.listing(stage)
        infos = {
            fingerprint: listing[fingerprint][MANIFEST_OBJECT]
            for fingerprint in fingerprints
            if MANIFEST_OBJECT in listing[fingerprint]
        }
        unread = {
            f"stages/{stage}/{fingerprint}/{MANIFEST_OBJECT}": fingerprint
            for fingerprint, info in infos.items()
            if (read := self._manifests.get((stage, fingerprint))) is None or read.info != info
        }
        for key, content in self._bucket.read_all(unread).items():
            fingerprint = unread[key]
            manifest = _parsed(content, stage, fingerprint)
            self._manifests[stage, fingerprint] = _ReadManifest(infos[fingerprint], manifest)
        cached = {
            fingerprint: self._manifests[stage, fingerprint].manifest
            for fingerprint in infos
            if (stage, fingerprint) in self._manifests
        }
        return {key: manifest for key, manifest in cached.items() if manifest and manifest.sizes_match(listing[key])}

    @staticmethod
    def _key(manifest: Manifest, name: str) -> str:
        return f"stages/{manifest.outcome.stage}/{manifest.outcome.fingerprint}/{name}"


def _parsed(content: bytes, stage: str, fingerprint: str) -> Manifest | None:
    """The manifest; None if it is malformed or belongs to another stage."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError:
        return None
    return manifest if (manifest.outcome.stage, manifest.outcome.fingerprint) == (stage, fingerprint) else None
