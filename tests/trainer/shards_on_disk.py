"""Small folders of shards, sound and otherwise, and recipes that read them."""

import builtins
import keyword
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.trainer.stages.conftest import small
from trainer.data.build import build_from_files
from trainer.data.fetch import Fetched, record_digest
from trainer.data.shard_files import Split, shard_name
from trainer.data.shards import HEADER_BYTES, HEADER_WORDS, MAGIC, read_shard
from trainer.data.tokenizer import Tokenizer
from trainer.spec.recipe import Recipe

VOCAB_SIZE = 320
WORDS = [*keyword.kwlist, *dir(builtins)]
TEXTS = [f"Document {n}: {' '.join(WORDS[(n * k + n) % len(WORDS)] for k in range(60))}. Ü € 😀" for n in range(60)]


def build(folder: Path, texts: Sequence[str] = TEXTS) -> Fetched:
    """Shards and tokenizer of some texts, as `data build` leaves them."""
    source = folder / "texts"
    source.mkdir(parents=True)
    for number, text in enumerate(texts):
        (source / f"{number}.txt").write_text(text, encoding="utf-8")
    return build_from_files([source], VOCAB_SIZE, folder / "data", "fineweb10B").data


def copy(built: Fetched, target: Path) -> Fetched:
    """The folder and its tokenizer elsewhere, to be changed."""
    root = Path(shutil.copytree(built.folder.parent, target))
    return Fetched(root / built.folder.name, root / "tokenizers" / built.tokenizer.name)


def tokens_of(folder: Path, split: Split) -> np.ndarray:
    """The tokens of the first shard of a split."""
    return np.array(read_shard(folder / shard_name(split, 0), 65_536))


def texts_of(data: Fetched, split: Split) -> list[str]:
    """The documents of the first shard of a split."""
    tokens, tokenizer = tokens_of(data.folder, split), Tokenizer(data.tokenizer)
    return [tokenizer.decode(ids) for ids in np.split(tokens, np.flatnonzero(tokens == tokenizer.bos_id))[1:]]


def rewrite(folder: Path, split: Split, tokens: Sequence[int] | np.ndarray, index: int = 0) -> Path:
    """Another content of a shard, its header and its recorded digest consistent with it."""
    path = change(folder, split, tokens, index)
    record_digest(path)
    return path


def change(folder: Path, split: Split, tokens: Sequence[int] | np.ndarray, index: int = 0) -> Path:
    """Another content of a shard with a consistent header; the recorded digest stays that of the earlier content."""
    header = np.zeros(HEADER_WORDS, dtype="<i4")
    header[:3] = MAGIC, 1, len(tokens)
    path = folder / shard_name(split, index)
    path.write_bytes(header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes())
    assert path.stat().st_size == HEADER_BYTES + 2 * len(tokens)
    return path


def recipe_of(data: Fetched, **changes: object) -> Recipe:
    """The small recipe on this text."""
    return small(
        **{
            "data__source": "shards",
            "data__folder": str(data.folder),
            "data__tokenizer": str(data.tokenizer),
            "data__vocab_size": VOCAB_SIZE,
            "budget__train_steps": 2,
            "schedule__warmdown_steps": 2,
        }
        | changes
    )


Damage = Callable[[Fetched], object]
