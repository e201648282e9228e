"""The store of finished stages in a local folder: one subfolder for each stage and fingerprint, computed once.

    STORE/stages/STAGE/FINGERPRINT/            files of the stage, its outcome `result.json`, its checksums `files.json`
    STORE/stages/STAGE/FINGERPRINT.exceeded    the time limit in seconds that the stage did not meet
    STORE/stages/STAGE/FINGERPRINT.claim       lock file of the process that computes the stage now
    STORE/stages/STAGE/FINGERPRINT.snapshot    state of an unfinished training
    STORE/stages/STAGE/FINGERPRINT.failed.log  what a program printed in this stage before it failed
    STORE/stages/STAGE/.FINGERPRINT-HOST-...   staging folder of the process that computes the stage now

A stage is written to a staging folder and renamed, so its folder appears atomically. A folder whose files do not match
its checksums counts as missing. Claims are file locks, which the operating system releases when their process ends or
is killed. Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import Timeout

from trainer.spec.errors import StoreError
from trainer.spec.record import StageOutcome
from trainer.store import locks
from trainer.store.atomic_write import write_synced
from trainer.store.checksums import compute_checksums, damaged_files, read_checksums, sizes_match, write_checksums
from trainer.store.unreadable import listed, listed_names, not_written, refuse_unreadable

RESULT = "result.json"
PROBE_BYTES = 2**20


class Claim(Protocol):
    """The exclusive right to compute one stage, until it is released or its process ends."""

    def release(self) -> None: ...


@dataclass(frozen=True)
class DiskUse:
    """Bytes that the store keeps for one stage, and their last use."""

    disk_bytes: int
    used_at_s: float
    """Seconds since 1970 at which a run last built on the stage or wrote to it."""

    @classmethod
    def total(cls, parts: Iterable[DiskUse]) -> DiskUse | None:
        """Sum of the bytes and the latest use; None if there are no parts."""
        known = list(parts)
        return cls(sum(part.disk_bytes for part in known), max(part.used_at_s for part in known)) if known else None

    @classmethod
    def of(cls, path: Path) -> DiskUse:
        """Of a file, or of a folder with everything in it."""
        disk_bytes = _folder_bytes(path) if path.is_dir() else path.stat().st_size
        return cls(disk_bytes, path.stat().st_mtime)


class StageStore:
    """Finished stages under `root`/stages."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self._stages = self.root / "stages"

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where the stage's files are once it is finished."""
        return self._stages / stage / fingerprint

    def find(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """Outcome of a finished stage; None if it is missing or a file has another size than its checksum says.

        Raises StoreUnreachable for a stage that is there and cannot be read: it must not be computed again.
        """
        folder = self.folder(stage, fingerprint)
        if not sizes_match(folder):
            return None
        try:
            return StageOutcome.model_validate_json((folder / RESULT).read_bytes())
        except OSError as fault:
            refuse_unreadable(folder / RESULT, fault)
            return None
        except ValueError:
            return None

    def find_intact(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As `find`, but verifies the SHA-256 of every file. For a run that builds on the stage; counts as a use."""
        outcome, folder = self.find(stage, fingerprint), self.folder(stage, fingerprint)
        if outcome is None or damaged_files(folder):
            return None
        with contextlib.suppress(OSError):  # a read-only store
            os.utime(folder)
        return outcome

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """Content of one small file of a finished stage, or None without such a stage. Does not count as a use.

        Raises StoreError for a file that is not what the stage wrote.
        """
        path = self.folder(stage, fingerprint) / name
        listed = read_checksums(path.parent).get(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = None
        except OSError as fault:
            raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
        if listed is not None and (content is None or hashlib.sha256(content).hexdigest() != listed.sha256):
            raise StoreError(
                f"{path}: {'is missing' if content is None else 'its content differs from its checksum'}; "
                "`orchestrator cache prune` removes damaged stages, and `resume` computes them again"
            )
        return content

    def recent_seconds(self, stage: str, workload: str, newest: int = 50) -> list[float]:
        """Durations of the newest finished stages of this workload, for time estimates."""
        outcomes = (self.find(stage, path.name) for path in self._newest_first(stage))
        seconds = (outcome.seconds for outcome in outcomes if outcome is not None and outcome.workload == workload)
        return list(itertools.islice(seconds, newest))

    def recent_bytes(self, stage: str, newest: int) -> list[int]:
        """Sizes of the newest finished folders of the stage, for disk estimates."""
        return [_folder_bytes(folder) for folder in itertools.islice(self._newest_first(stage), newest)]

    def _newest_first(self, stage: str) -> Iterator[Path]:
        """Folders of its finished runs, damaged or not."""
        parent, aged = self._stages / stage, list[tuple[int, str]]()
        for name in listed_names(parent):
            with contextlib.suppress(FileNotFoundError):  # it was removed since the folder was listed
                known = os.stat(f"{parent}/{name}")  # noqa: PTH116  a Path each doubles the time of 10,000 folders
                if name[0] != "." and stat.S_ISDIR(known.st_mode):
                    aged.append((-known.st_mtime_ns, name))
        return (parent / name for _, name in sorted(aged))

    def claim(self, stage: str, fingerprint: str) -> Claim | None:
        """Claims the stage for this process; the caller releases it. None while another process holds the claim."""
        path = self._stages / stage / f"{fingerprint}.claim"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return locks.acquire(path, timeout_s=0)
        except Timeout:
            return None

    @contextmanager
    def writing(self, stage: str, fingerprint: str) -> Iterator[Path]:
        """A staging folder for the stage's files. What `publish` did not rename is removed at the end of the block.

        Requires the stage's claim: staging folders that a killed holder left are removed first. If the block fails and
        the disk is full, raises StoreFull instead; this is checked before the removal frees space.
        """
        parent = self._stages / stage
        parent.mkdir(parents=True, exist_ok=True)
        for left_over in parent.glob(f".{fingerprint}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-{socket.gethostname()}-", dir=parent))
        staging.chmod(0o755)
        try:
            yield staging
        except Exception:
            self.check_writable()
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def publish(self, staging: Path, outcome: StageOutcome) -> StageOutcome:
        """Adds the outcome and the checksums to a filled staging folder and renames it to the finished stage.

        Returns the outcome that the store holds afterwards: if the stage was finished already, the earlier one. A
        damaged earlier stage is replaced. Removes the stage's snapshot and the note of an exceeded limit.
        """
        stage, fingerprint = outcome.stage, outcome.fingerprint
        write_synced(staging / RESULT, outcome.model_dump_json(indent=1).encode())
        write_checksums(staging, compute_checksums(staging))
        target = self.folder(stage, fingerprint)
        if target.exists() and self.find_intact(stage, fingerprint) is None:
            shutil.rmtree(target)
        try:
            staging.rename(target)
        except OSError:
            earlier = self.find(stage, fingerprint)
            if earlier is None:
                raise StoreError(f"{target}: cannot be written; is the store full or read-only?") from None
            return earlier
        self._exceeded(stage, fingerprint).unlink(missing_ok=True)
        self.failed_log(stage, fingerprint).unlink(missing_ok=True)
        for snapshot in target.parent.glob(f"{fingerprint}.snapshot*"):
            snapshot.unlink(missing_ok=True)
        return outcome

    def snapshot_path(self, stage: str, fingerprint: str) -> Path:
        """Where the holder of the claim keeps the snapshot of an unfinished stage; `publish` removes it."""
        return self._stages / stage / f"{fingerprint}.snapshot"

    def failed_log(self, stage: str, fingerprint: str) -> Path:
        """Where the output of a program's stage that failed is kept; `publish` removes it."""
        return self._stages / stage / f"{fingerprint}.failed.log"

    def stages(self) -> list[str]:
        """Names of the stages for which the store has a folder."""
        return [path.name for path in listed(self._stages) if path.is_dir()]

    def fingerprints(self, stage: str) -> list[str]:
        """Fingerprints of the stage for which the store holds any file but a claim, finished or not."""
        names = (path.name for path in listed(self._stages / stage))
        known = {re.split(r"[.-]", name.lstrip("."), maxsplit=1)[0] for name in names if not name.endswith(".claim")}
        return sorted(known)

    def damaged_files(self, stage: str, fingerprint: str) -> list[str]:
        """Names of files of a finished stage that do not match their SHA-256. Reads every byte."""
        return damaged_files(self.folder(stage, fingerprint))

    def finished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """Disk use of the stage's folder, damaged or not; None if there is none."""
        folder = self.folder(stage, fingerprint)
        return DiskUse.of(folder) if folder.exists() else None

    def unfinished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """Disk use of snapshots and staging folders of the stage; None if there are none."""
        return DiskUse.total(DiskUse.of(path) for path in self._left_over(stage, fingerprint))

    def _left_over(self, stage: str, fingerprint: str) -> list[Path]:
        parent = self._stages / stage
        patterns = (f"{fingerprint}.snapshot*", f"{fingerprint}.failed.log", f".{fingerprint}-*")
        return [path for pattern in patterns for path in parent.glob(pattern)]

    def remove(self, stage: str, fingerprint: str) -> bool:
        """Removes the stage, its snapshots and staging folders. Returns False, and removes nothing, if claimed."""
        claim = self.claim(stage, fingerprint)
        if claim is None:
            return False
        try:
            self._clear(stage, fingerprint)
        finally:
            claim.release()
        return True

    def _clear(self, stage: str, fingerprint: str) -> None:
        folder = self.folder(stage, fingerprint)
        if folder.exists():
            folder.rename(folder.with_name(f".{fingerprint}-removed"))  # atomic, so no reader sees a part of it
        for path in self._left_over(stage, fingerprint):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def check_writable(self) -> None:
        """Raises StoreFull if one more megabyte cannot be written to the store."""
        try:
            self._stages.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._stages) as probe:
                probe.write(bytes(PROBE_BYTES))
                probe.flush()
        except OSError as fault:
            raise not_written(self.root, fault) from None

    def exceeded_s(self, stage: str, fingerprint: str) -> float | None:
        """The time limit in seconds that the stage did not meet, or None. It is computed again under a larger one."""
        try:
            return float(self._exceeded(stage, fingerprint).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def mark_exceeded(self, stage: str, fingerprint: str, limit_s: float) -> None:
        """Records that the stage did not end within `limit_s` seconds."""
        path = self._exceeded(stage, fingerprint)
        temporary = path.with_suffix(".exceeded-aside")
        write_synced(temporary, f"{limit_s!r}\n".encode())
        temporary.rename(path)

    def _exceeded(self, stage: str, fingerprint: str) -> Path:
        return self._stages / stage / f"{fingerprint}.exceeded"


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
