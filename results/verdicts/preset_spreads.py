"""How far runs of a preset spread, measured before: what a plan goes by in a store that has no run of it yet.

Read from `data/spreads.csv`. Those of lineage presets follow from the scores that their sources published, as the
preset's file holds them; that of `tiny` from sweeps of our own.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

from results.stats.t_tests import Block


@dataclass(frozen=True)
class PresetSpread:
    """A standard deviation in bits per byte, with its degrees of freedom and where it was measured."""

    sd_bpb: float
    df: float
    source: str


def spread_of_preset(preset: str, block: Block | None) -> PresetSpread | None:
    """Between seeds, or between pairs that share a block; None where nothing is known."""
    between = f"{block} pairs" if block else "seeds"
    return _spreads().get((preset, between))


@functools.cache
def _spreads() -> dict[tuple[str, str], PresetSpread]:
    """By preset and what it is between."""
    with files("results").joinpath("data", "spreads.csv").open(encoding="utf-8") as file:
        return {
            (row["preset"], row["between"]): PresetSpread(float(row["sd_bpb"]), float(row["df"]), row["source"])
            for row in csv.DictReader(file)
        }
