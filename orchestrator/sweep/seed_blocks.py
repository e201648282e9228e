"""What pairs the runs of a new sweep: chosen before its first run, kept in its journal, independent of its results.

`blocks: auto` pairs runs of one trained artifact. For the others it estimates the correlation
of configurations across seeds from earlier sweeps of the same preset, and pairs by seed or not at all, whichever has
the smaller minimum detectable effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.space.configuration import num_rivals
from orchestrator.space.search_space import SearchSpace
from results.rows.finished import finished_of
from results.rows.read import plain_rows
from results.stats.blocks import UNKNOWN_CORRELATION, SeedCorrelation, seed_correlation, smallest_gains
from results.verdicts.arms import scores_in_blocks
from results.verdicts.terms import Blocks

ONE_ARTIFACT = "every configuration scores the same trained artifact of each seed, so these runs are compared in pairs"
MOST_SWEEPS = 10
"""Newest earlier sweeps that are read."""


class EarlierSweep(Protocol):
    """The attributes that are read of an earlier sweep."""

    @property
    def space(self) -> SearchSpace: ...

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class BlocksChoice:
    """What pairs the runs of a sweep, and why."""

    blocks: Blocks
    reason: str


def choose_blocks(space: SearchSpace, earlier: Sequence[EarlierSweep]) -> BlocksChoice:
    """As declared; for `auto` from the store's sweeps of the same preset with the same overrides, or of the program.

    earlier:  oldest first
    """
    declared = space.compare.blocks
    if declared != "auto":
        return BlocksChoice(declared, f"declared: compare: {{blocks: {declared}}}")
    if len(space.seeds) < 2:
        return BlocksChoice(
            "artifact",
            "one seed shows no spread, so nothing can be called better; give 3 or more: --seeds 1337,42,2025",
        )
    if space.race:
        return BlocksChoice("artifact", "a race pairs by seed where the file says compare: {blocks: seed}")
    estimate = seed_correlation(_tables(space, earlier))
    correlation = UNKNOWN_CORRELATION if estimate is None else estimate.value
    by_seed, apart = smallest_gains(
        correlation,
        max(1, num_rivals(space)),
        len(space.seeds),
        space.compare.alpha,
        space.exploratory,
        space.compare.variance,
    )
    if by_seed is None or apart is None:
        return BlocksChoice("artifact", "too few seeds for any test")
    gains = (
        f"the smallest gain that can be shown is {_plain(by_seed)} standard deviations between seeds if runs of one "
        f"seed are paired, {_plain(apart)} if they are not"
    )
    return BlocksChoice("seed" if by_seed < apart else "artifact", f"{gains} ({_source_of(space, estimate)})")


def _plain(number: float) -> str:
    """Two digits, without an exponent."""
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


def _source_of(space: SearchSpace, estimate: SeedCorrelation | None) -> str:
    if estimate is None:
        of = "program" if space.program else "preset"
        return (
            f"nothing was known of this {of} when that was decided, so runs of one seed are taken to correlate by "
            f"{UNKNOWN_CORRELATION:g}"
        )
    sweeps = "an earlier sweep" if estimate.num_sweeps == 1 else f"{estimate.num_sweeps} earlier sweeps"
    return (
        f"runs of one seed correlate by {estimate.value:.2f} over {estimate.num_configurations} configurations of "
        f"{sweeps}"
    )


def _tables(space: SearchSpace, earlier: Sequence[EarlierSweep]) -> Iterator[NDArray[np.float64]]:
    """Scores of finished configurations by seed, a table per sweep."""
    same = [one for one in earlier if one.space.varied == space.varied]
    for sweep in same[-MOST_SWEEPS:]:
        rows, _ = plain_rows(sweep.folder, sweep.space.swept_keys)
        yield scores_in_blocks(finished_of(rows, space.measure.column))


def blocks_line(choice: BlocksChoice) -> str:
    """'runs that share a training or a seed are compared in pairs; runs of one seed correlate by 0.97 over ...'."""
    words = {
        "artifact": "runs that share a training are compared in pairs, others are not",
        "seed": "runs that share a training or a seed are compared in pairs",
        "none": "no runs are compared in pairs",
    }
    return f"{words[choice.blocks]}; {choice.reason}"
