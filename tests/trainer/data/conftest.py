"""A lossless tokenizer trained on a slice of the embedded corpus, and the challenge's published one."""

from pathlib import Path

import pytest

from trainer.data.corpus import read_stdlib
from trainer.data.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def lossless_model() -> bytes:
    return train_tokenizer([document.text for document in read_stdlib().train[:80]], 1024)


@pytest.fixture(scope="session")
def fineweb_model() -> Path:
    return Path(__file__).parents[2] / "data" / "fineweb_8192_bpe.model"
