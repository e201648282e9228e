"""Checks the files of a folder of shards against what its record says: digests, missing files, the tokenizer, counts.

The records are the folder's `SHA256.json`, that of the tokenizer's folder, and the data set's `manifest.json` beside or
above the folder. Problems are sentences that name the file and the remedy; nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.data.fetch import file_digest, recorded_digests
from trainer.data.shard_files import DIGESTS, MANIFEST, SPLITS, Split, present_shards, shard_name
from trainer.spec.json_text import parse_json

MODEL = ".model"
"""End of the name under which a folder of shards records the digest of the tokenizer that made them."""
RESTORE = "fetch or build the data again (`python -m trainer data fetch`, `data build`)"
SHORT = 12
"""Hex digits of a digest in a message."""


def file_problems(folder: Path, tokenizer: Path) -> Iterator[str]:
    """What differs from the records: changed, missing, unrecorded and skipped shards, and another tokenizer."""
    recorded = recorded_digests(folder)
    present = {path.name for split in SPLITS for path in present_shards(folder, split)}
    for name, digest in recorded.items():
        if name.endswith(MODEL):
            yield from _other_tokenizer(tokenizer, digest, f"the tokenizer that {folder / DIGESTS} records ({name})")
        elif not (folder / name).is_file():
            yield f"{folder / name} is missing, though {DIGESTS} records it; {RESTORE}"
        elif (found := file_digest(folder / name)) != digest:
            yield (
                f"{folder / name} has SHA-256 {found[:SHORT]}, which differs from the SHA-256 {digest[:SHORT]} that "
                f"{DIGESTS} records: it was changed or cut; {RESTORE}"
            )
    for name in sorted(present - recorded.keys()) if recorded else ():
        yield f"{folder / name} is not among the files that {DIGESTS} records; remove it, or {RESTORE}"
    for split in SPLITS:
        for name in _skipped(split, [path.name for path in present_shards(folder, split)]):
            if name not in recorded:
                yield f"{folder / name} is missing between other shards of the split; {RESTORE}"
    digest = recorded_digests(tokenizer.parent).get(tokenizer.name, "")
    if digest and not any(name.endswith(MODEL) for name in recorded):
        yield from _other_tokenizer(tokenizer, digest, f"what {tokenizer.parent / DIGESTS} records")


def file_notes(folder: Path) -> Iterator[str]:
    """What cannot be checked, or is not read."""
    if not recorded_digests(folder):
        yield (
            f"{folder} has no {DIGESTS}, so a changed, cut or missing shard cannot be noticed; "
            "`data fetch` and `data build` write one"
        )
    if side_cars := sorted(folder.glob("fineweb_val_bytes_*.bin")):
        yield f"{side_cars[0].name} is not read: bytes are counted from the tokens by the tokenizer"


def manifest_problems(folder: Path, counted: Mapping[str, int]) -> Iterator[str]:
    """Numbers of the manifest's entry for this folder that the files do not meet.

    counted:  files_train, files_val, docs_val, tokens_val as found; train shards may be fewer, never more
    """
    path, stats = _manifest_stats(folder)
    for name, found in counted.items():
        expected = stats.get(name)
        if not isinstance(expected, int) or found == expected or (name == "files_train" and found < expected):
            continue
        yield (
            f"{folder} has {name} = {found:,}, but {path} says {expected:,} of {folder.name}; {RESTORE}, or remove the "
            "manifest if it is not that of these shards"
        )


def _skipped(split: Split, names: Sequence[str]) -> Iterator[str]:
    """Names between the first and the last shard that are not among them; some programs count from 1."""
    numbers = [int(name.removesuffix(".bin").rpartition("_")[2]) for name in names]
    if numbers:
        yield from (shard_name(split, number) for number in sorted({*range(numbers[0], numbers[-1])} - {*numbers}))


def _other_tokenizer(tokenizer: Path, digest: str, source: str) -> Iterator[str]:
    if (found := file_digest(tokenizer)) != digest:
        yield (
            f"tokenizer '{tokenizer}' has SHA-256 {found[:SHORT]}, but {source} has {digest[:SHORT]}; "
            f"name the tokenizer that made the shards in data.tokenizer, or {RESTORE}"
        )


def _manifest_stats(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The manifest beside or above the folder, and its numbers for this folder; empty where there are none."""
    for path in (folder.parent / MANIFEST, folder.parent.parent / MANIFEST):
        if path.is_file():
            try:
                datasets = parse_json(path.read_bytes())["datasets"]
            except (ValueError, LookupError, TypeError):
                return path, {}
            return path, next((entry.get("stats") or {} for entry in datasets if entry.get("name") == folder.name), {})
    return folder, {}
