"""The stage store of several machines: a mirror here, and a bucket that finished stages are published to.

A stage is computed in the mirror, finished there, then published whole. What is fetched is held against its seal before
anybody builds on it. A stage that could not be published stays finished here and is published when it is next used.
Snapshots stay on the machine that took them.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.spec.record import StageOutcome
from trainer.store import locks
from trainer.store.bucket import Bucket
from trainer.store.bucket_stages import MANIFEST_OBJECT, USED_OBJECT, BucketStages, Manifest
from trainer.store.checksums import CHECKSUMS_FILE, damaged_files, read_checksums
from trainer.store.claims import BucketClaims, HeartbeatClaim
from trainer.store.local import Claim, DiskUse, StageStore
from trainer.store.mirror import bucket_of, make_mirror


def stage_store(root: Path) -> StageStore:
    """The store in this folder; a shared one if the folder mirrors a bucket."""
    bucket = bucket_of(root)
    return StageStore(root) if bucket is None else SharedStageStore(root, bucket)


class SharedStageStore(StageStore):
    """Finished stages of a bucket; those in use also lie under `root`/stages."""

    def __init__(self, root: Path, bucket: Bucket):
        super().__init__(root)
        self._bucket = bucket
        self._shared = BucketStages(bucket)
        make_mirror(self.root, bucket)
        self._claims = BucketClaims(bucket, mirror_id(self.root))
        self._published: set[tuple[str, str]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Arrives as the mirror of whichever machine it arrives on; nothing of this one's travels."""
        return _arrived, (self.root, self._bucket)

    def find(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As a local store does; of what lies only in the bucket, its seal tells, and nothing is fetched."""
        found = super().find(stage, fingerprint)
        if found is None and (sealed := self._shared.find(stage, fingerprint)):
            found = sealed.outcome
        return found

    def find_intact(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As a local store does; fetches what is not whole here, publishes what only is here."""
        found = super().find_intact(stage, fingerprint)
        if found is not None and (stage, fingerprint) in self._published:
            return found
        found = self._publish(found, anew=False) if found else self._fetch(self._shared.ask(stage, fingerprint))
        if found is not None:
            self._shared.note_use(stage, fingerprint)
        return found

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """As a local store does; of what lies only in the bucket, this file alone is fetched."""
        here = super().read_file(stage, fingerprint, name)
        return self._shared.read_file(stage, fingerprint, name) if here is None else here

    def recent_seconds(self, stage: str, workload: str, newest: int = 50) -> list[float]:
        """As a local store does, over the newest stages of the bucket."""
        alike = (sealed.outcome for sealed in self._shared.newest(stage) if sealed.outcome.workload == workload)
        return [outcome.seconds for outcome in alike][:newest]

    def recent_bytes(self, stage: str, newest: int) -> list[int]:
        """As a local store does, over the newest stages of the bucket."""
        return [sealed.disk_bytes for sealed in self._shared.newest(stage)][:newest]

    def claim(self, stage: str, fingerprint: str) -> Claim | None:
        """As a local store does among the processes here; a machine that died is waited for a while."""
        local = super().claim(stage, fingerprint)
        if local is None:
            return None
        try:
            shared = self._claims.acquire(f"claims/{stage}/{fingerprint}")
        except BaseException:
            local.release()
            raise
        if shared is None:
            local.release()
            return None
        return LocalAndBucketClaim(local, shared)

    def publish(self, aside: Path, outcome: StageOutcome) -> StageOutcome:
        """Finishes the stage here, then in the bucket; there the first one to publish wins, and is fetched."""
        return self._publish(super().publish(aside, outcome), anew=True)

    def fingerprints(self, stage: str) -> list[str]:
        """As a local store does, with those of the bucket."""
        return sorted({*super().fingerprints(stage), *self._shared.listing(stage)})

    def finished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """What a finished stage takes in the bucket; here, while it is not published."""
        objects = self._shared.listing(stage).get(fingerprint, {})
        if MANIFEST_OBJECT not in objects:
            return super().finished_disk_use(stage, fingerprint)
        return DiskUse.of((stored.bytes, stored.changed_at_s) for stored in objects.values())

    def unfinished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """What an unfinished computation left here, or else an upload that broke off."""
        objects = self._shared.listing(stage).get(fingerprint, {})
        broken_off = MANIFEST_OBJECT not in objects and objects.keys() - {USED_OBJECT}
        there = DiskUse.of((objects[name].bytes, objects[name].changed_at_s) for name in broken_off or ())
        return super().unfinished_disk_use(stage, fingerprint) or there

    def damaged_files(self, stage: str, fingerprint: str) -> list[str]:
        """Files of a finished stage that are not what they were, in the bucket; fetches every byte of them."""
        if MANIFEST_OBJECT not in self._shared.listing(stage).get(fingerprint, {}):
            return super().damaged_files(stage, fingerprint)
        sealed = self._shared.ask(stage, fingerprint)
        if sealed is None:
            return [CHECKSUMS_FILE]
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".verify-") as folder:
            return self._shared.download(sealed, Path(folder))

    def exceeded_s(self, stage: str, fingerprint: str) -> float | None:
        """As a local store does; a limit that another machine ran into counts too."""
        with suppress(ValueError):
            return float(self._bucket.read(f"exceeded/{stage}/{fingerprint}") or b"")
        return super().exceeded_s(stage, fingerprint)

    def mark_exceeded(self, stage: str, fingerprint: str, limit_s: float) -> None:
        """As a local store does, for every machine."""
        super().mark_exceeded(stage, fingerprint, limit_s)
        self._bucket.put(f"exceeded/{stage}/{fingerprint}", f"{limit_s!r}\n".encode())

    def _clear(self, stage: str, fingerprint: str) -> None:
        self._shared.remove(stage, fingerprint)
        self._published.discard((stage, fingerprint))
        super()._clear(stage, fingerprint)

    def _publish(self, outcome: StageOutcome, *, anew: bool) -> StageOutcome:
        """What the bucket says from now on of a stage that is finished here: what was sealed first, if it is whole.

        anew:  computed just now, since what the bucket had was missing or damaged
        """
        stage, fingerprint = outcome.stage, outcome.fingerprint
        folder = self.folder(stage, fingerprint)
        ours = Manifest.of(folder, outcome)
        for last_try in (False, True):  # somebody may be faster once, or leave a seal that says nothing
            theirs = self._shared.ask(stage, fingerprint)
            if theirs is not None and theirs.files != ours.files and (adopted := self._fetch(theirs)):
                outcome = adopted
                break
            if theirs is not None and theirs.files == ours.files and not anew:
                break
            if self._shared.publish(folder, ours, replace=last_try or theirs is not None):
                break
        self._bucket.remove([f"exceeded/{stage}/{fingerprint}"])
        self._published.add((stage, fingerprint))
        return outcome

    def _fetch(self, sealed: Manifest | None) -> StageOutcome | None:
        """Brings a stage here, whole; None where there is none, or what came is not what was sealed."""
        if sealed is None:
            return None
        stage, fingerprint = sealed.outcome.stage, sealed.outcome.fingerprint
        folder, aside = self.folder(stage, fingerprint), self.root / "fetched" / f"{stage}-{fingerprint}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.parent.mkdir(exist_ok=True)
        with locks.holding(aside.with_suffix(".lock")):  # one process fetches, its neighbours find it here
            if damaged_files(folder) or read_checksums(folder) != sealed.plain_files:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir()
                if self._shared.download(sealed, aside):
                    shutil.rmtree(aside)
                    return None
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)
        self._published.add((stage, fingerprint))
        return sealed.outcome


def _arrived(root: Path, bucket: Bucket) -> SharedStageStore:
    bucket.note_reachable()  # whoever sent it had asked
    return SharedStageStore(root, bucket)


class LocalAndBucketClaim:
    """A lock of this mirror and a claim in its bucket, held together."""

    def __init__(self, local: Claim, shared: HeartbeatClaim):
        self._local, self._shared = local, shared

    def release(self) -> None:
        """The claim first: whoever gets the lock may take a claim of this mirror for one of the dead."""
        self._shared.release()
        self._local.release()


def mirror_id(root: Path) -> str:
    """Tells a folder of this machine from every other mirror; a copy of it is another one."""
    return f"{socket.gethostname()}:{root}:{root.stat().st_ino}"
