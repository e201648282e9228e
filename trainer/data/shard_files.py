"""Names of shards: which files of a folder belong to a split. Opens no file.

Imports neither numpy nor torch, so that plans can compute fingerprints without them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

from trainer.spec.errors import DataError

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)
DIGESTS = "SHA256.json"
"""File with the digests of the fetched or built files of its folder, by name; beside shards, with their tokenizer's."""
MANIFEST = "manifest.json"
"""File with the numbers of a data set, above the folders of its shards."""


def shard_name(split: Split, index: int) -> str:
    """The challenge's name of a split's shard."""
    return f"fineweb_{split}_{index:06d}.bin"


def present_shards(folder: Path, split: Split) -> list[Path]:
    """The split's shards in name order, possibly none; the `fineweb_val_bytes_*` side-cars are not among them."""
    pattern = re.compile(rf"fineweb_{split}_\d+\.bin")
    return sorted(path for path in folder.glob(f"fineweb_{split}_*.bin") if pattern.fullmatch(path.name))


def split_files(folder: Path | str, split: Split) -> list[Path]:
    """The split's shards in name order. Raises DataError if the folder is missing or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"data.folder = '{folder}' is no folder; {HOW_TO_GET_SHARDS}")
    files = present_shards(folder, split)
    if not files:
        raise DataError(f"data.folder = '{folder}' holds no {shard_name(split, 0)} or later; {HOW_TO_GET_SHARDS}")
    return files


HOW_TO_GET_SHARDS = (
    "expected shards in the challenge's format: `python -m trainer data fetch` downloads FineWeb, "
    "`python -m trainer data build` makes them from your own text, or choose data.source = 'stdlib'"
)
