"""A mark for tests that hold recorded scores: these are of Python's standard library, which each version changes."""

import pytest

from trainer.data.corpus import text_digests
from trainer.spec.load import load_preset

RECORDED = "f4a73b7afe41"
"""Begins the digest of the train text of the Python that the records were made with, 3.11.7."""

on_the_recorded_text = pytest.mark.skipif(
    not text_digests(load_preset("tiny").recipe.data).train.startswith(RECORDED),
    reason="the standard library of this Python is another text than that of 3.11.7, which the recorded scores are of",
)
