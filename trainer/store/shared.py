"""The store of finished stages that several machines share: a local mirror and a bucket.

    MIRROR/stages/...                         as in a local store, with snapshots, which stay on their machine
    MIRROR/fetched/STAGE-FINGERPRINT[.lock]   staging folder of a download, and its lock
    URL/stages/...                            finished stages, see `bucket_stages`
    URL/claims/STAGE/FINGERPRINT/...          claims among machines, see `claims`
    URL/exceeded/STAGE/FINGERPRINT            the time limit in seconds that the stage did not meet

A stage is computed and finished in the mirror, then published. A fetched stage is verified against its checksums before
a run builds on it. A stage that could not be published (network) stays finished in the mirror and is published when it
is next used.
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
from trainer.store.bucket import Bucket, ObjectInfo
from trainer.store.bucket_stages import MANIFEST_OBJECT, USED_OBJECT, BucketStages, Manifest
from trainer.store.checksums import damaged_files, read_checksums
from trainer.store.claims import BucketClaims, HeartbeatClaim
from trainer.store.local import Claim, DiskUse, StageStore
from trainer.store.mirror import bucket_of, make_mirror


def stage_store(root: Path) -> StageStore:
    """The store in this folder: a shared one if the folder mirrors a bucket, else a local one."""
    bucket = bucket_of(root)
    return StageStore(root) if bucket is None else SharedStageStore(root, bucket)


class SharedStageStore(StageStore):
    """Finished stages of a bucket; those that runs of this machine used are also under `root`/stages."""

    def __init__(self, root: Path, bucket: Bucket):
        super().__init__(root)
        self._bucket = bucket
        self._bucket_stages = BucketStages(bucket)
        make_mirror(self.root, bucket)
        self._claims = BucketClaims(bucket, mirror_id(self.root))
        self._published: set[tuple[str, str]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the path and the URL only; unpickling on another machine opens or makes that machine's mirror."""
        return _unpickled, (self.root, self._bucket)

    def find(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As a local store; for a stage that only the bucket has, reads its manifest and fetches no file."""
        outcome = super().find(stage, fingerprint)
        if outcome is None and (manifest := self._bucket_stages.find(stage, fingerprint)):
            outcome = manifest.outcome
        return outcome

    def find_intact(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As a local store; fetches what is missing or damaged here, and publishes what the bucket does not have."""
        outcome = super().find_intact(stage, fingerprint)
        if outcome is not None and (stage, fingerprint) in self._published:
            return outcome
        if outcome is not None:
            outcome = self._publish_to_bucket(outcome, computed_now=False)
        else:
            outcome = self._fetch(self._bucket_stages.read_manifest(stage, fingerprint))
        if outcome is not None:
            self._bucket_stages.note_use(stage, fingerprint)
        return outcome

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """As a local store; from a stage that only the bucket has, fetches this file alone."""
        content = super().read_file(stage, fingerprint, name)
        return self._bucket_stages.read_file(stage, fingerprint, name) if content is None else content

    def recent_seconds(self, stage: str, workload: str, newest: int = 50) -> list[float]:
        """As a local store, over the newest stages of the bucket."""
        outcomes = (manifest.outcome for manifest in self._bucket_stages.newest(stage))
        return [outcome.seconds for outcome in outcomes if outcome.workload == workload][:newest]

    def recent_bytes(self, stage: str, newest: int) -> list[int]:
        """As a local store, over the newest stages of the bucket."""
        return [manifest.disk_bytes for manifest in self._bucket_stages.newest(stage)][:newest]

    def claim(self, stage: str, fingerprint: str) -> Claim | None:
        """As a local store, among all machines. The claim of a machine that died is given on once it has expired."""
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

    def publish(self, staging: Path, outcome: StageOutcome) -> StageOutcome:
        """As a local store, then in the bucket. If another machine published first, its stage is fetched instead."""
        return self._publish_to_bucket(super().publish(staging, outcome), computed_now=True)

    def fingerprints(self, stage: str) -> list[str]:
        """As a local store, with those of the bucket."""
        return sorted({*super().fingerprints(stage), *self._bucket_stages.listing(stage)})

    def finished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """Use of the bucket by a published stage; disk use here of one that is not published yet."""
        objects = self._bucket_stages.listing(stage).get(fingerprint, {})
        if MANIFEST_OBJECT not in objects:
            return super().finished_disk_use(stage, fingerprint)
        return DiskUse.total(_use_of(info) for info in objects.values())

    def unfinished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """Disk use of snapshots and staging folders here, or else bucket use of an interrupted upload."""
        objects = self._bucket_stages.listing(stage).get(fingerprint, {})
        interrupted = () if MANIFEST_OBJECT in objects else objects.keys() - {USED_OBJECT}
        in_bucket = DiskUse.total(_use_of(objects[name]) for name in interrupted)
        return super().unfinished_disk_use(stage, fingerprint) or in_bucket

    def damaged_files(self, stage: str, fingerprint: str) -> list[str]:
        """As a local store, in the bucket: downloads every byte of the stage to a temporary folder."""
        if MANIFEST_OBJECT not in self._bucket_stages.listing(stage).get(fingerprint, {}):
            return super().damaged_files(stage, fingerprint)
        manifest = self._bucket_stages.read_manifest(stage, fingerprint)
        if manifest is None:
            return [MANIFEST_OBJECT]
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".verify-") as folder:
            return self._bucket_stages.download(manifest, Path(folder))

    def exceeded_s(self, stage: str, fingerprint: str) -> float | None:
        """As a local store; includes limits that the stage exceeded on other machines."""
        with suppress(ValueError):
            return float(self._bucket.read(f"exceeded/{stage}/{fingerprint}") or b"")
        return super().exceeded_s(stage, fingerprint)

    def mark_exceeded(self, stage: str, fingerprint: str, limit_s: float) -> None:
        """As a local store, for all machines."""
        super().mark_exceeded(stage, fingerprint, limit_s)
        self._bucket.put(f"exceeded/{stage}/{fingerprint}", f"{limit_s!r}\n".encode())

    def _clear(self, stage: str, fingerprint: str) -> None:
        self._bucket_stages.remove(stage, fingerprint)
        self._published.discard((stage, fingerprint))
        super()._clear(stage, fingerprint)

    def _publish_to_bucket(self, outcome: StageOutcome, *, computed_now: bool) -> StageOutcome:
        """Publishes a stage that is finished here, or fetches the one that was published first, if it is intact.

        computed_now:  the stage was missing or damaged in the bucket a moment ago, so even an equal manifest there does
                       not show that its files are intact: they are uploaded again
        Returns the outcome that the bucket holds from now on.
        """
        stage, fingerprint = outcome.stage, outcome.fingerprint
        folder = self.folder(stage, fingerprint)
        ours = Manifest.of(folder, outcome)
        for last_attempt in (False, True):  # another machine may publish in between, or its manifest be malformed
            theirs = self._bucket_stages.read_manifest(stage, fingerprint)
            if theirs is not None and theirs.files != ours.files and (fetched := self._fetch(theirs)):
                outcome = fetched
                break
            if theirs is not None and theirs.files == ours.files and not computed_now:
                break
            if self._bucket_stages.publish(folder, ours, replace=last_attempt or theirs is not None):
                break
        self._bucket.remove([f"exceeded/{stage}/{fingerprint}"])
        self._published.add((stage, fingerprint))
        return outcome

    def _fetch(self, manifest: Manifest | None) -> StageOutcome | None:
        """Downloads and verifies a stage unless it is intact here. None without a manifest or if a file is damaged."""
        if manifest is None:
            return None
        stage, fingerprint = manifest.outcome.stage, manifest.outcome.fingerprint
        folder, staging = self.folder(stage, fingerprint), self.root / "fetched" / f"{stage}-{fingerprint}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.parent.mkdir(exist_ok=True)
        with locks.holding(staging.with_suffix(".lock")):  # one process of this machine downloads, the others wait
            if damaged_files(folder) or read_checksums(folder) != manifest.files:
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                if self._bucket_stages.download(manifest, staging):
                    shutil.rmtree(staging)
                    return None
                shutil.rmtree(folder, ignore_errors=True)
                staging.rename(folder)
        self._published.add((stage, fingerprint))
        return manifest.outcome


def _unpickled(root: Path, bucket: Bucket) -> SharedStageStore:
    bucket.note_reachable()  # the process that pickled the store had reached it
    return SharedStageStore(root, bucket)


def _use_of(info: ObjectInfo) -> DiskUse:
    return DiskUse(info.bytes, info.changed_at_s)


class LocalAndBucketClaim:
    """A local lock and a claim in the bucket, held together."""

    def __init__(self, local: Claim, shared: HeartbeatClaim):
        self._local, self._shared = local, shared

    def release(self) -> None:
        """Releases the bucket's claim first: a process of this mirror that gets the lock treats it as expired."""
        self._shared.release()
        self._local.release()


def mirror_id(root: Path) -> str:
    """Identifies a mirror among all machines by host, path and inode; a copy of the folder has another one."""
    return f"{socket.gethostname()}:{root}:{root.stat().st_ino}"
