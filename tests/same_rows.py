"""Whether two sweeps came out the same: what two tables of rows disagree about."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.rows.columns import LEADING

MEASURED = frozenset({"train_s", "eval_s", "tokens_per_s", "mfu", "peak_memory_bytes", "started_at", "stages_run"})
"""What the clock, the machine's load and the state of the cache decide: two equal tables may differ here."""


def differences(a: pd.DataFrame, b: pd.DataFrame, at_most: int = 5) -> list[str]:
    """What two tables disagree about, measured columns apart; the first few cells by name. Order of rows matters."""
    kept_a, kept_b = (frame.drop(columns=[name for name in MEASURED if name in frame]) for frame in (a, b))
    if list(kept_a) != list(kept_b):
        return [f"columns: {list(kept_a)} against {list(kept_b)}"]
    if len(a) != len(b):
        return [f"rows: {len(a)} against {len(b)}"]
    lines: list[str] = []
    for name in kept_a:
        for position, (left, right) in enumerate(zip(kept_a[name], kept_b[name], strict=True)):
            if not _same(left, right):
                lines.append(f"{_which(a, position)}: {name} = {left!r} against {right!r}")
    return lines if len(lines) <= at_most else [*lines[:at_most], f"and {len(lines) - at_most} more"]


def _same(left: Any, right: Any) -> bool:
    if pd.isna(left) or pd.isna(right):
        return bool(pd.isna(left) and pd.isna(right))
    return bool(left == right)


def _which(frame: pd.DataFrame, position: int) -> str:
    named = [f"{name} {frame[name].iloc[position]}" for name in LEADING if name in frame and name != "status"]
    return " ".join([f"row {position}", *named])
