"""Tokenizers, trained here and published by the challenge; shards of small files, and a mirror that holds them."""

import builtins
import json
import keyword
import shutil
from pathlib import Path

import pytest

from tests.trainer.cli import trainer
from trainer.data.corpus import read_stdlib
from trainer.data.tokenizer import train_tokenizer

NAME = "fineweb10B"
WORDS = sorted([*keyword.kwlist, *dir(builtins)])
TEXTS = [f"Document {n}: " + " ".join(WORDS[(n * k) % len(WORDS)] for k in range(60)) for n in range(60)]


@pytest.fixture(scope="session")
def lossless_model() -> bytes:
    return train_tokenizer([document.text for document in read_stdlib().train[:80]], 1024)


@pytest.fixture(scope="session")
def fineweb_model() -> Path:
    return Path(__file__).parents[2] / "data" / "fineweb_8192_bpe.model"


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """Shards and tokenizer of sixty small files, made by the command."""
    folder = tmp_path_factory.mktemp("built")
    for number, text in enumerate([*TEXTS, TEXTS[0]]):
        (folder / f"{number}.txt").write_text(text)
    done = trainer("data", "build", "--from", folder, "--vocab-size", 320, "--out", folder / "data", "--name", NAME)
    assert done.exit_code == 0, done.output
    return folder / "data"


@pytest.fixture
def mirror(built, tmp_path) -> Path:
    """The published layout around the built shards."""
    root = tmp_path / "mirror"
    shutil.copytree(built / "fineweb10B_sp320", root / "datasets" / "fineweb10B_sp320")
    (root / "tokenizers").mkdir()
    shutil.copy(built / "tokenizers" / f"{NAME}_320_bpe.model", root / "tokenizers" / "fineweb_320_bpe.model")
    for digests in (root / "datasets").glob("*/SHA256.json"):
        digests.write_text(digests.read_text().replace(f"{NAME}_320_bpe", "fineweb_320_bpe"))
    stats = {"files_train": 1, "files_val": 1}
    (root / "manifest.json").write_text(json.dumps({"datasets": [{"name": "fineweb10B_sp320", "stats": stats}]}))
    return root
