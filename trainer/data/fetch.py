"""Shards and tokenizer of a FineWeb variant, from the challenge's data set or from a mirror of the same layout.

    ROOT/manifest.json
    ROOT/datasets/fineweb10B_sp1024/fineweb_{train,val}_000000.bin ...
    ROOT/tokenizers/fineweb_1024_bpe.model

Files are written atomically and kept if they exist and are intact. The digest of every file is recorded beside it, so
that `data check` can detect later changes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.data.shard_files import DIGESTS, MANIFEST, Split, shard_name
from trainer.data.shards import HEADER_BYTES, read_shard
from trainer.spec.errors import DataError
from trainer.spec.json_text import parse_json
from trainer.spec.units import human_bytes

REPOSITORY, ROOT = "willdepueoai/parameter-golf", "datasets"
"""The published data set on the Hugging Face hub, and the folder of it that holds the layout above."""
FULL_SHARD_BYTES = HEADER_BYTES + 2 * 100_000_000
CHUNK_BYTES = 2**24
SHA256 = re.compile(r"[0-9a-f]{64}")

Report = Callable[[str, int, int], None]
"""(file, files done, files in all)"""


class Source(Protocol):
    """A source of files."""

    def fetch(self, name: str, target: Path) -> None:
        """Writes the file `name` of the layout to `target` atomically; resumes an interrupted attempt."""


@dataclass(frozen=True)
class Mirror:
    """A folder of the same layout: a mounted disk, a copy of the data set."""

    root: Path

    def fetch(self, name: str, target: Path) -> None:
        origin = self.root / name
        if not origin.is_file():
            raise DataError(f"{origin} is missing; the mirror at {self.root} does not hold this variant or shard")
        part = target.with_suffix(f"{target.suffix}.part")
        num_bytes = part.stat().st_size if part.exists() else 0
        with origin.open("rb") as source, part.open("ab") as partial:
            source.seek(num_bytes)
            shutil.copyfileobj(source, partial, CHUNK_BYTES)
        part.rename(target)


@dataclass(frozen=True)
class Hub:
    """The published data set; `huggingface_hub` resumes, retries and shows its progress."""

    repository: str = REPOSITORY

    def fetch(self, name: str, target: Path) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # late: only a download needs it
        from huggingface_hub.errors import LocalEntryNotFoundError

        path, staging = f"{ROOT}/{name}", target.parent / ".fetching"
        try:
            downloaded = Path(hf_hub_download(self.repository, path, repo_type="dataset", local_dir=staging))
            expected = get_hf_file_metadata(hf_hub_url(self.repository, path, repo_type="dataset")).etag or ""
        except LocalEntryNotFoundError as error:
            raise DataError(
                f"{name} cannot be fetched: the hub that holds {self.repository} is not reached; check the network and "
                "try again, the download resumes; or take the files from a folder: --mirror FOLDER"
            ) from error
        except Exception as error:  # the types of error differ between versions of the client
            raise DataError(
                f"{name} cannot be fetched from {self.repository}: {error}; try again, the download resumes"
            ) from error
        if SHA256.fullmatch(expected) and file_digest(downloaded) != expected:  # small files have a git hash instead
            downloaded.unlink()
            raise DataError(
                f"{name} of {self.repository} was damaged on the way: its SHA-256 is not {expected}; try again"
            )
        downloaded.rename(target)


@dataclass(frozen=True)
class Fetched:
    """Paths of a variant's shards and tokenizer, for `data.folder` and `data.tokenizer`."""

    folder: Path
    tokenizer: Path


def fetch_variant(variant: str, train_shards: int, out: Path, source: Source, report: Report) -> Fetched:
    """Fetches a variant's tokenizer, validation split and first train shards to `out`; intact files are kept.

    variant:  'sp1024' and the like: its number is the vocabulary
    Raises DataError for a variant or shard count the manifest does not have, too little disk, or a damaged file.
    """
    vocab_size = _vocab_size(variant)
    folder, tokenizer = out / f"fineweb10B_{variant}", out / "tokenizers" / f"fineweb_{vocab_size}_bpe.model"
    for parent in (folder, tokenizer.parent):
        parent.mkdir(parents=True, exist_ok=True)
    val_shards = _val_shards(out, folder.name, train_shards, source)
    _refuse_small_disk(folder, train_shards)
    wanted = [] if _is_intact(tokenizer.parent, tokenizer.name) else [(f"tokenizers/{tokenizer.name}", tokenizer)]
    splits: tuple[tuple[Split, int], ...] = (("val", val_shards), ("train", train_shards))
    names = [shard_name(split, index) for split, count in splits for index in range(count)]
    wanted += [(f"datasets/{folder.name}/{name}", folder / name) for name in names if not _is_intact(folder, name)]
    for done, (name, target) in enumerate(wanted):
        report(target.name, done, len(wanted))
        source.fetch(name, target)
        if target.suffix == ".bin":
            read_shard(target, vocab_size)  # raises for a damaged file or another vocabulary
        record_digest(target)
    record_digest(tokenizer, folder)
    return Fetched(folder, tokenizer)


def record_digest(path: Path, folder: Path | None = None) -> None:
    """Records the digest of a file in its folder, so that later changes can be detected.

    folder:  another folder to record it in: that of the shards which this tokenizer made
    """
    folder = folder or path.parent
    digests = recorded_digests(folder) | {path.name: file_digest(path)}
    temporary = folder / f".{DIGESTS}"
    temporary.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.rename(folder / DIGESTS)


def recorded_digests(folder: Path) -> dict[str, str]:
    """Digests recorded in the folder, by file name; empty if there are none. Raises DataError if unreadable."""
    path = folder / DIGESTS
    try:
        digests = parse_json(path.read_bytes()) if path.exists() else {}
        if not isinstance(digests, dict):
            raise ValueError(f"it holds no object, but {type(digests).__name__}")
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({error}); fetch or build the data again") from error
    return digests


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_intact(folder: Path, name: str) -> bool:
    path = folder / name
    return path.exists() and recorded_digests(folder).get(name) == file_digest(path)


def _vocab_size(variant: str) -> int:
    if not (match := re.fullmatch(r"sp(\d+)", variant)):
        raise DataError(f"variant '{variant}' is unknown; expected sp and a vocabulary, such as sp1024 or sp8192")
    return int(match[1])


def _val_shards(out: Path, dataset: str, train_shards: int, source: Source) -> int:
    """Validation shards of the data set, by the manifest; refuses more train shards than it has."""
    path = out / MANIFEST
    path.unlink(missing_ok=True)
    source.fetch(MANIFEST, path)
    try:
        listed = {entry["name"]: entry.get("stats") for entry in parse_json(path.read_bytes())["datasets"]}
        stats = listed.get(dataset) or {}
        available, validation = (int(stats[key]) for key in ("files_train", "files_val")) if stats else (0, 0)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no manifest of data sets with their numbers of files: {error!r}") from None
    if not stats:
        raise DataError(f"the manifest has no {dataset}; it has {', '.join(sorted(map(str, listed))) or 'nothing'}")
    if train_shards > available:
        raise DataError(f"--train-shards {train_shards} exceeds the {available} that {dataset} has")
    return validation


def _refuse_small_disk(folder: Path, train_shards: int) -> None:
    present = sum(path.stat().st_size for path in folder.glob("fineweb_*.bin"))
    needed = max((train_shards + 1) * FULL_SHARD_BYTES - present, 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{train_shards} train shards need about {human_bytes(needed)} more; {folder} has {human_bytes(free)}; "
            "lower --train-shards or choose another --out"
        )
