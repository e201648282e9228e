"""Rows become arms that may be compared, or the reason why not.

An arm is the finished scores of one configuration. Everything is read column by column, once for all configurations:
a table for each takes milliseconds, and a sweep has thousands. What is compared with what is decided in `compare`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.rows.columns import SCORED_TEXT
from results.rows.finished import Finished
from results.rows.tables import is_finished, swept_keys_of
from results.stats.t_tests import Block
from results.verdicts.verdict import SCORE_IN, Unit

if TYPE_CHECKING:
    import pandas as pd

ScoredText = tuple[float, float]
"""Bytes and documents of a scored text."""
SAME_TEXT = 0.01
"""Scored bytes may differ by this part: where a window ends depends on the tokenizer."""


@dataclass(frozen=True)
class Arm:
    """What a comparison needs of one configuration."""

    scores: NDArray[np.float64]
    """Of finished runs, in the unit of the margin."""
    by_artifact: Mapping[str, float]
    """Mean score on each trained artifact."""
    by_seed: Mapping[int, float]
    """Score of each finished seed."""
    tokens_per_byte: float
    """Scored tokens per counted byte, by val_bpb = val_loss / ln 2 x this; NaN when no row has both scores."""
    text: ScoredText = (math.nan, math.nan)
    """Bytes and documents of the scored text; NaN while unknown."""


def arms_of(runs: pd.DataFrame, unit: Unit) -> dict[str, Arm]:
    """By configuration, in the order of the rows."""
    scores = runs[SCORE_IN[unit]].to_numpy(dtype=np.float64)
    finished = is_finished(runs, SCORE_IN[unit]).to_numpy()
    artifacts, known = runs["artifact"].to_numpy(dtype=object), runs["artifact"].notna().to_numpy()
    seeds = runs["seed"].to_numpy()
    densities = (runs["val_bpb"] * math.log(2) / runs["val_loss"]).groupby(runs["config"]).median()
    sizes = np.column_stack([_numbers(runs, name) for name in SCORED_TEXT[1:]])
    arms = {}
    for config, positions in runs.groupby("config", sort=False).indices.items():
        places = np.asarray(positions)
        kept = places[finished[places]]
        by_artifact: dict[str, list[float]] = {}
        for place in kept:
            if known[place]:
                by_artifact.setdefault(artifacts[place], []).append(scores[place])
        means = {artifact: fmean(shared) for artifact, shared in by_artifact.items()}
        by_seed = dict(zip(seeds[kept].tolist(), scores[kept].tolist(), strict=True))
        text = (float(sizes[kept, 0].max()), float(sizes[kept, 1].max())) if len(kept) else (math.nan, math.nan)
        arms[str(config)] = Arm(scores[kept], means, by_seed, float(densities[str(config)]), text)
    return arms


def _numbers(runs: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column with NaN for an empty cell, and for all where there is no such column."""
    if column not in runs:
        return np.full(len(runs), np.nan)
    return runs[column].to_numpy(dtype=np.float64, na_value=np.nan)


def other_text(arm: Arm, reference: Arm) -> str:
    """Why two arms were not scored on the same text, or the empty string; what is unknown is no difference."""
    (num_bytes, documents), (other_bytes, others) = arm.text, reference.text
    unlike = not math.isclose(num_bytes, other_bytes, rel_tol=SAME_TEXT)  # True too where one is not known
    if not (known(num_bytes, other_bytes) and unlike) and not (known(documents, others) and documents != others):
        return ""
    return (
        f"scored on another text than the baseline ({_text_in_words(arm.text)}, and {_text_in_words(reference.text)}); "
        "scores on different texts cannot be compared"
    )


def known(*numbers: float) -> bool:
    """Whether none is NaN."""
    return not any(map(math.isnan, numbers))


def _text_in_words(text: ScoredText) -> str:
    counted = zip(text, ("bytes", "documents"), strict=True)
    return " in ".join(f"{number:,.0f} {unit}" for number, unit in counted if known(number))


def flaws_of(runs: pd.DataFrame, unit: Unit, wanted: Collection[int], who: str) -> dict[str, str]:
    """Of each configuration why its rows may not be compared, or the empty string.

    wanted:  seeds that each must have finished
    """
    finished = is_finished(runs, SCORE_IN[unit])
    broken = _seeds_by_config(runs[~finished & runs["status"].isin(["done", "failed"])])
    done = _seeds_by_config(runs[finished])
    stopped = set(runs.loc[runs["status"] == "stopped", "config"])
    illegal = set(runs.loc[finished & ~runs["legal"].fillna(False).astype("bool"), "config"])
    keys = swept_keys_of(runs)
    mixed = runs.groupby("config", sort=False)[keys].nunique(dropna=False) > 1
    flaws = {}
    for config, differs in zip(mixed.index, mixed.to_numpy(), strict=True):
        flaw = ""
        if config in broken:
            flaw = f"{who} has no result for {seed_words(broken[config])}, and a failed seed is never averaged over"
        elif config in stopped:
            flaw = f"{who} was stopped early"
        elif missing := set(wanted) - done.get(config, set()):
            flaw = f"{who} has yet to finish {seed_words(missing)}"
        elif config in illegal:
            flaw = f"{who} was scored by an evaluation that is not known to be legal"
        elif differs.any():
            differing = ", ".join(key for key, differ in zip(keys, differs, strict=True) if differ)
            flaw = f"{who} mixes configurations: its runs differ in {differing}"
        flaws[str(config)] = flaw
    return flaws


def _seeds_by_config(runs: pd.DataFrame) -> dict[str, set[int]]:
    seeds: dict[str, set[int]] = {}
    for config, seed in zip(runs["config"], runs["seed"], strict=True):
        seeds.setdefault(config, set()).add(seed)
    return seeds


def independent_scores(finished: Iterable[Finished]) -> list[NDArray[np.float64]]:
    """Scores of each configuration; those of one trained artifact are one draw of the seed and count once."""
    return [np.array([run.score for run in runs]) for runs in _by_config(_trained_apart(finished)).values()]


def paired_differences(
    finished: Sequence[Finished], baseline: Collection[str], block: Block
) -> list[NDArray[np.float64]]:
    """Of each configuration to the baseline, on the artifacts they share; or on the seeds, if trained apart.

    Where several runs of the baseline share a block, each of a configuration's is paired with all of them; runs of the
    same blocks in the same order go by their places.
    """
    if block == "seed":
        apart = set(_trained_apart(finished))
        finished = [run for run in finished if run in apart or run.config in baseline]
    known = [run for run in finished if getattr(run, block) is not None]
    reference: dict[object, list[float]] = {}
    theirs = [run for run in known if run.config in baseline]
    for run in theirs:
        reference.setdefault(getattr(run, block), []).append(run.score)
    samples = []
    for config, ours in sorted(_by_config(known).items()):
        if config in baseline:
            continue
        if [getattr(run, block) for run in ours] == [getattr(run, block) for run in theirs]:
            pairs = [(mine.score, other.score) for mine, other in zip(ours, theirs, strict=True)]
        else:
            pairs = [(run.score, other) for run in ours for other in reference.get(getattr(run, block), ())]
        samples.append(np.array([mine - other for mine, other in pairs], dtype=np.float64))
    return samples


def scores_in_blocks(finished: Iterable[Finished]) -> NDArray[np.float64]:
    """The same as a table of configurations by seeds, of those configurations that have every seed."""
    apart = _trained_apart(finished)
    seeds = sorted({run.seed for run in apart})
    by_config = {config: {run.seed: run.score for run in runs} for config, runs in sorted(_by_config(apart).items())}
    complete = [scores for scores in by_config.values() if len(scores) == len(seeds)]
    return np.array([[scores[seed] for seed in seeds] for scores in complete]).reshape(len(complete), len(seeds))


def _by_config(finished: Iterable[Finished]) -> dict[str, list[Finished]]:
    runs: dict[str, list[Finished]] = {}
    for run in finished:
        runs.setdefault(run.config, []).append(run)
    return runs


def _trained_apart(finished: Iterable[Finished]) -> list[Finished]:
    """The first run of each trained artifact, and those without one."""
    seen: set[str] = set()
    apart = []
    for run in finished:
        if run.artifact is None or run.artifact not in seen:
            apart.append(run)
        if run.artifact is not None:
            seen.add(run.artifact)
    return apart


def seed_words(seeds: Collection[int]) -> str:
    """'seed 3', 'seeds 1, 2'."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(str(seed) for seed in sorted(seeds))}"
