"""Does a rerun reproduce what was published, and what do both say together?

The answer to the first is a prediction interval: a published mean of few runs is uncertain, and so is a new run. For
the second the runs are pooled and held against a baseline; a seed that was run in both counts twice in such a pool,
which is said, and the test is made with each seed once as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from results.rows.score_text import score_text
from results.stats.prediction import Prediction, Summary, SummaryTest, prediction, welch_of_summaries
from trainer.spec.errors import UserError

ALPHA = 0.05
"""Of a 95 % prediction interval."""


@dataclass(frozen=True)
class Runs:
    """Runs of one arm: one by one, or their summary alone. Lower is better."""

    name: str
    scores: Sequence[float] = ()
    seeds: Sequence[int | None] = ()
    """Of each score, where it is known."""
    published: Summary | None = None
    """In place of scores."""

    @property
    def summary(self) -> Summary:
        """Mean, sd and number. Raises NoVerdict where there is no spread."""
        return self.published or Summary.of(self.scores)


@dataclass(frozen=True)
class Pool:
    """Original and rerun together, against a baseline."""

    baseline: str
    runs: Summary
    of_baseline: Summary
    test: SummaryTest
    """With every run."""
    doubled_seeds: tuple[int, ...]
    once: SummaryTest | None = None
    """With each seed once, as the mean of its runs; None where no seed was run twice."""
    once_n: int = 0


@dataclass(frozen=True)
class Reproduction:
    """Whether a rerun agrees with the original, and what the pool of both shows."""

    original: str
    rerun: str
    prediction: Prediction
    unit: str
    sign: float
    """-1 where higher is better: scores were turned."""
    shared_seeds: tuple[int, ...]
    pool: Pool | None = None
    notes: Sequence[str] = field(default=())

    @property
    def reproduces(self) -> bool:
        """Whether the rerun lies within the 95 % prediction interval."""
        return self.prediction.p >= ALPHA

    @property
    def sentences(self) -> list[str]:
        """In words, the answer first."""
        seen, published = self.prediction, self.prediction.published
        text = partial(score_text, unit=self.unit)
        low, high = sorted((self.sign * seen.low, self.sign * seen.high))
        off = seen.rerun_mean - published.mean
        answer = "agrees with" if self.reproduces else "does not reproduce"
        runs = f"{seen.rerun_n} new run" + ("" if seen.rerun_n == 1 else "s, in the mean,")
        lines = [
            f"{self.rerun} {answer} {self.original}: its mean over {seen.rerun_n} is "
            f"{text(self.sign * seen.rerun_mean)} {self.unit}, {text(abs(off))} {'worse' if off > 0 else 'better'}; "
            f"t = {seen.t:.2f} with {seen.df:g} degrees of freedom, two-sided p = {seen.p:.2g}.",
            f"Published: mean {text(self.sign * published.mean)}, sd {text(published.sd)} of {published.n} runs, so "
            f"{runs} should lie between {text(low)} and {text(high)} (95 % prediction interval).",
        ]
        if self.shared_seeds:
            lines.append(
                f"Seed {_listed(self.shared_seeds)} was run in both: such a rerun shares what the seed brings, so it "
                "says less about other seeds."
            )
        return [*lines, *self._pool_lines(), *self.notes]

    def _pool_lines(self) -> list[str]:
        pool = self.pool
        if pool is None:
            return []
        gain, text = -pool.test.difference, partial(score_text, unit=self.unit)
        ours, theirs = (
            f"mean {text(self.sign * runs.mean)}, sd {text(runs.sd)}" for runs in (pool.runs, pool.of_baseline)
        )
        lines = [
            f"Both together, {pool.runs.n} runs ({ours}), against {pool.baseline} ({theirs}, {pool.of_baseline.n} "
            f"runs): {text(abs(gain))} {'better' if gain > 0 else 'worse'}; {_in_words(pool.test)}."
        ]
        if pool.once is not None:
            lines.append(
                f"Seed {_listed(pool.doubled_seeds)} counts twice among these, and two runs of one seed are not two "
                f"draws. With each seed once ({pool.once_n}): {_in_words(pool.once)}."
            )
        return lines


def _in_words(test: SummaryTest) -> str:
    return f"Welch's t = {-test.t:.3f} with {test.df:.3g} degrees of freedom, one-sided p = {test.p:.3g}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def reproduction(original: Runs, rerun: Runs, against: Runs | None, unit: str, sign: float = 1.0) -> Reproduction:
    """Whether the rerun agrees with the original, and with a baseline what the pool of both shows.

    sign:  -1 where the scores were turned because higher is better
    Raises NoVerdict where the original has no spread.
    """
    shared = tuple(sorted({seed for seed in original.seeds if seed is not None} & set(rerun.seeds)))
    pool = None if against is None else _pooled(original, rerun, against)
    return Reproduction(original.name, rerun.name, prediction(original.summary, rerun.scores), unit, sign, shared, pool)


def _pooled(original: Runs, rerun: Runs, against: Runs) -> Pool:
    if original.published is not None:
        raise UserError(f"{original.name} is a summary, whose runs cannot be pooled with others; give them one by one")
    scores, seeds = [*original.scores, *rerun.scores], [*original.seeds, *rerun.seeds]
    runs, theirs = Summary.of(scores), against.summary
    doubled = tuple(sorted(seed for seed, count in Counter(seeds).items() if seed is not None and count > 1))
    test = welch_of_summaries(runs, theirs)
    if not doubled:
        return Pool(against.name, runs, theirs, test, ())
    by_seed: dict[object, list[float]] = {}
    for place, (seed, score) in enumerate(zip(seeds, scores, strict=True)):
        by_seed.setdefault(("unknown", place) if seed is None else seed, []).append(score)
    means = [float(np.mean(one)) for one in by_seed.values()]
    return Pool(against.name, runs, theirs, test, doubled, welch_of_summaries(Summary.of(means), theirs), len(means))
