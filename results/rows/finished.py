"""Finished runs, which alone say how far scores spread: of rows as they were read, or of a table of rows.

Needs no pandas, so that a plan can ask what the store has measured without paying for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from results.rows.row import Row
from results.rows.tables import is_finished

if TYPE_CHECKING:
    import pandas as pd


class Finished(NamedTuple):
    """A run with a finite score."""

    config: str
    seed: int
    artifact: str | None
    """Fingerprint of the trained artifact; None where there is none."""
    score: float


def finished_of(rows: Iterable[Row], score: str) -> list[Finished]:
    """In order of configurations and seeds, each once: the first finished one counts.

    score:  the column that is compared
    """
    found: dict[tuple[str, int], Finished] = {}
    for row in sorted(rows, key=lambda row: (row["config"], row["seed"])):
        value = row.get(score)
        if row["status"] == "done" and value is not None and math.isfinite(value):
            run = Finished(row["config"], row["seed"], row["artifact"], float(value))
            found.setdefault((run.config, run.seed), run)
    return list(found.values())


def finished_in(frame: pd.DataFrame, score: str) -> list[Finished]:
    """The finished rows of a table, in its order."""
    runs = frame[is_finished(frame, score)]
    artifacts = runs["artifact"].astype("object").where(runs["artifact"].notna(), None)
    cells = (runs["config"], runs["seed"], artifacts, runs[score].astype("float64"))
    return [Finished(*cell) for cell in zip(*(column.tolist() for column in cells), strict=True)]
