"""A learning curve as its stage left it: a row per step."""

from __future__ import annotations

import io

import pandas as pd

from trainer.spec.errors import StoreError

COLUMNS = ("step", "train_loss", "elapsed_s")


def read_curve(content: bytes, whose: str) -> pd.DataFrame:
    """The curve in a stage's file. Raises StoreError for another content.

    whose:  the stage and its fingerprint, for the message
    """
    try:
        curve = pd.read_csv(io.BytesIO(content))
    except (ValueError, OverflowError):  # also what pandas raises for no table, and for no text
        curve = pd.DataFrame()
    if not all(name in curve and pd.api.types.is_numeric_dtype(curve[name]) for name in COLUMNS):
        raise StoreError(
            f"the learning curve of {whose} is no table of {', '.join(COLUMNS)}; "
            "`orchestrator cache prune` removes damaged stages"
        )
    return curve
