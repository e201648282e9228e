"""The stage store: one folder per stage and fingerprint, computed once, for every run and sweep.

A folder appears atomically (written aside, then renamed); half a stage does not exist, and a damaged one counts as
missing: its seal tells. A claim is a lock that the
operating system drops with its holder, so a killed claimer blocks nobody. Importing this needs no torch: a plan, or a
sweep with nothing missing, only reads here.

    STORE/stages/STAGE/FINGERPRINT/            what the stage left, `result.json` and the seal `files.json`
    STORE/stages/STAGE/FINGERPRINT.exceeded    seconds at which the stage was cut short
    STORE/stages/STAGE/FINGERPRINT.claim       lock of whoever computes it now
    STORE/stages/STAGE/FINGERPRINT.snapshot    where an unfinished stage would go on
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import Timeout

from trainer.spec.errors import StoreError, StoreFull
from trainer.spec.record import StageOutcome
from trainer.store import locks
from trainer.store.atomic_write import write_synced
from trainer.store.checksums import CHECKSUMS_FILE, checksums_json, damaged_files, sizes_match

RESULT = "result.json"
PROBE_BYTES = 2**20


class Claim(Protocol):
    """Held by whoever computes a stage."""

    def release(self) -> None: ...


@dataclass(frozen=True)
class DiskUse:
    """What the store keeps of one stage."""

    disk_bytes: int
    used_at_s: float
    """Seconds since 1970 at which a run last found it or wrote to it."""

    @classmethod
    def of(cls, parts: Iterable[tuple[int, float]]) -> DiskUse | None:
        """Of parts, each with its size and last use; None where there are none."""
        known = list(parts)
        return cls(sum(size for size, _ in known), max(used_at_s for _, used_at_s in known)) if known else None


class StageStore:
    """Finished stages under `root`/stages."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self._stages = self.root / "stages"

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where the stage's files lie once it is finished."""
        return self._stages / stage / fingerprint

    def find(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """What the stage left, or None while nobody has finished it. A folder that is not whole counts as missing."""
        folder = self.folder(stage, fingerprint)
        if not sizes_match(folder):
            return None
        try:
            return StageOutcome.model_validate_json((folder / RESULT).read_bytes())
        except (OSError, ValueError):
            return None

    def find_intact(self, stage: str, fingerprint: str) -> StageOutcome | None:
        """As `find`, with every byte held against the seal: for whoever builds on the stage. Counts as a use."""
        found, folder = self.find(stage, fingerprint), self.folder(stage, fingerprint)
        if found is None or damaged_files(folder):
            return None
        with contextlib.suppress(OSError):  # a store that may only be read is fine
            os.utime(folder)
        return found

    def read_file(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        """One small file of a finished stage for whoever only looks, or None."""
        try:
            return (self.folder(stage, fingerprint) / name).read_bytes()
        except OSError:
            return None

    def recent_seconds(self, stage: str, workload: str, newest: int = 50) -> list[float]:
        """Seconds that the stage took in the newest finished folders of this workload, for estimates."""
        results = sorted(self._stages.glob(f"{stage}/*/{RESULT}"), key=lambda path: path.stat().st_mtime)
        found = (self.find(stage, path.parent.name) for path in reversed(results))
        alike = (outcome.seconds for outcome in found if outcome is not None and outcome.workload == workload)
        return list(itertools.islice(alike, newest))

    def recent_bytes(self, stage: str, newest: int) -> list[int]:
        """Bytes of the newest finished folders of the stage, for estimates."""
        folders = [folder for folder in (self._stages / stage).glob("[!.]*") if folder.is_dir()]
        found = sorted(folders, key=lambda folder: -folder.stat().st_mtime)[:newest]
        return [_folder_bytes(folder) for folder in found]

    def claim(self, stage: str, fingerprint: str) -> Claim | None:
        """The held lock of whoever computes the stage, to be released; None while somebody else holds it."""
        path = self._stages / stage / f"{fingerprint}.claim"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return locks.acquire(path, timeout_s=0)
        except Timeout:
            return None

    @contextmanager
    def writing(self, stage: str, fingerprint: str) -> Iterator[Path]:
        """A folder aside to fill; `publish` makes it appear. Whatever was not published is removed.

        Only under the stage's claim: what an earlier holder, killed, had left aside is removed first. Raises StoreFull
        for whatever fails while the disk is full, which is told before the removal makes room again.
        """
        parent = self._stages / stage
        parent.mkdir(parents=True, exist_ok=True)
        for left_over in parent.glob(f".{fingerprint}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-{socket.gethostname()}-", dir=parent))
        aside.chmod(0o755)
        try:
            yield aside
        except Exception:
            self.check_writable()
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def publish(self, aside: Path, outcome: StageOutcome) -> StageOutcome:
        """Turns a filled folder into the finished stage; the first one to publish wins."""
        stage, fingerprint = outcome.stage, outcome.fingerprint
        write_synced(aside / RESULT, outcome.model_dump_json(indent=1).encode())
        target = self.folder(stage, fingerprint)
        write_synced(aside / CHECKSUMS_FILE, checksums_json(aside))
        if target.exists() and self.find_intact(stage, fingerprint) is None:
            shutil.rmtree(target)
        try:
            aside.rename(target)
        except OSError:
            earlier = self.find(stage, fingerprint)
            if earlier is None:
                raise StoreError(f"{target}: cannot be written; is the store full or read-only?") from None
            return earlier
        self._exceeded(stage, fingerprint).unlink(missing_ok=True)
        for left_over in target.parent.glob(f"{fingerprint}.snapshot*"):
            left_over.unlink(missing_ok=True)
        return outcome

    def snapshot_path(self, stage: str, fingerprint: str) -> Path:
        """Where whoever holds the claim keeps a snapshot; it goes when the stage is published."""
        return self._stages / stage / f"{fingerprint}.snapshot"

    def fingerprints(self, stage: str) -> list[str]:
        """Every fingerprint of which the store holds anything, finished or not."""
        names = (path.name for path in (self._stages / stage).glob("*"))
        known = {re.split(r"[.-]", name.lstrip("."), maxsplit=1)[0] for name in names if not name.endswith(".claim")}
        return sorted(known)

    def damaged_files(self, stage: str, fingerprint: str) -> list[str]:
        """Files of a finished stage that are not what they were."""
        return damaged_files(self.folder(stage, fingerprint))

    def finished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """What a stage takes once it is finished, whole or not."""
        folder = self.folder(stage, fingerprint)
        return DiskUse.of([_part(folder)] if folder.exists() else [])

    def unfinished_disk_use(self, stage: str, fingerprint: str) -> DiskUse | None:
        """What a computation of the stage that did not end left behind: a snapshot, or files written aside."""
        return DiskUse.of(_part(path) for path in self._left_over(stage, fingerprint))

    def _left_over(self, stage: str, fingerprint: str) -> list[Path]:
        parent = self._stages / stage
        return [*parent.glob(f"{fingerprint}.snapshot*"), *parent.glob(f".{fingerprint}-*")]

    def remove(self, stage: str, fingerprint: str) -> bool:
        """Takes the stage and its left-overs away, whole; False while somebody computes it."""
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
            folder.rename(folder.with_name(f".{fingerprint}-removed"))  # at once, so that nobody finds half of it
        for path in self._left_over(stage, fingerprint):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def check_writable(self) -> None:
        """Raises StoreFull when the store does not take another megabyte."""
        try:
            with tempfile.TemporaryFile(dir=self._stages) as probe:
                probe.write(bytes(PROBE_BYTES))
                probe.flush()
        except OSError as fault:
            raise StoreFull(f"{self.root}: cannot be written ({fault.strerror}); free space, then go on") from None

    def exceeded_s(self, stage: str, fingerprint: str) -> float | None:
        """The limit at which the stage was cut short, or None; it is worth another try only under a larger one."""
        try:
            return float(self._exceeded(stage, fingerprint).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def mark_exceeded(self, stage: str, fingerprint: str, limit_s: float) -> None:
        """Remembers that the stage did not end within `limit_s` seconds."""
        path = self._exceeded(stage, fingerprint)
        write_synced(path.with_suffix(".exceeded-aside"), f"{limit_s!r}\n".encode())
        path.with_suffix(".exceeded-aside").rename(path)

    def _exceeded(self, stage: str, fingerprint: str) -> Path:
        return self._stages / stage / f"{fingerprint}.exceeded"


def _part(path: Path) -> tuple[int, float]:
    """Size of a file or of all files of a folder, and when it was last used."""
    return (_folder_bytes(path) if path.is_dir() else path.stat().st_size), path.stat().st_mtime


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
