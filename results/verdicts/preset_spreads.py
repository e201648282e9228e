"""How far runs of a preset spread, measured before: what a plan goes by in a store that has no run of it yet.

Read from `data/spreads.csv`. Those of lineage presets follow from the scores that their sources published, as the
preset's file holds them; that of `tiny` from sweeps of our own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from results.stats.t_tests import Block


@dataclass(frozen=True)
class PresetSpread:
    """A standard deviation in bits per byte, with its degrees of freedom and where it was measured."""

    sd_bpb: float
    df: float
    source: str


def spread_of_preset(preset: str, block: Block | None) -> PresetSpread | None:
    """Between seeds, or between pairs that share a block; None where nothing is known."""
    table = _spreads()
    row = table[(table["preset"] == preset) & (table["between"] == (f"{block} pairs" if block else "seeds"))]
    if row.empty:
        return None
    first = row.iloc[0]
    return PresetSpread(float(first["sd_bpb"]), float(first["df"]), str(first["source"]))


@functools.lru_cache(maxsize=1)
def _spreads() -> pd.DataFrame:
    with files("results").joinpath("data", "spreads.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
