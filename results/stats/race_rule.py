"""A race over seeds: all configurations start, seeds are added to those still undecided, the error rate is kept.

After each round (one more seed for each configuration still running) three tests are made, each at this look's part of
alpha divided by the number of configurations:
- Is a configuration better than the baseline by more than the margin? Then that is shown and stays so.
- Is it worse than the leader, or can it no longer clear the margin? Then it is eliminated: it cannot win.
- Can no remaining configuration beat the leader by more than the margin? Then the race is over.
So of all races at most alpha call a configuration better that is not, and at most alpha eliminate or pass over one that
beats the named winner by more than the margin. What a round decides is a function of the completed rounds alone, never
of which run finished first. Assumes normal scores; lower is better.
Source: Maron and Moore 1994 (racing); Birattari 2002 (F-race); the spending of alpha is in `sequential`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.stats.sequential import Looks, p_less

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Status = Literal["running", "winner", "eliminated", "left", "failed"]


@dataclass(frozen=True)
class RaceRule:
    """Margin, error rate and looks of a race."""

    margin: float
    """In the unit of the scores."""
    alpha: float
    looks: Looks
    paired: bool = False
    """Whether the n-th scores of all arms come from one trained artifact."""


@dataclass
class RaceBatch:
    """Many races of the same shape at once: one in the product, thousands in a simulation.

    S races · A arms, the baseline first · n seeds so far
    """

    rule: RaceRule
    running_SA: Mask
    """Arms that get the next seed, the baseline included."""
    alive_SA: Mask
    """Candidates that may still win, or that were not eliminated before the end."""
    better_SA: Mask
    """Arms shown better than the baseline."""
    seeds_SA: NDArray[np.int_]
    """Seeds that each arm has run."""
    failed_SA: Mask
    winner_S: NDArray[np.int_]
    """The named winner; 0, the baseline, while or when there is none."""

    @classmethod
    def start(cls, rule: RaceRule, num_races: int, num_arms: int) -> RaceBatch:
        """All arms run up to the first look."""
        shape = num_races, num_arms
        all_arms, no_arms = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
        candidates = all_arms.copy()
        candidates[:, 0] = False
        seeds = np.full(shape, rule.looks.first)
        return cls(rule, all_arms, candidates, no_arms, seeds, no_arms.copy(), np.zeros(num_races, dtype=int))

    def look(self, scores_SAn: Array) -> None:
        """Decides after round n; scores of arms that do not run are not read, NaN is a failed seed."""
        n, rule = scores_SAn.shape[-1], self.rule
        self.failed_SA |= self.running_SA & ~np.isfinite(scores_SAn).all(-1)
        alive: Mask = np.asarray(self.alive_SA & ~self.failed_SA & ~self.failed_SA[:, :1])
        unfinished: Mask = np.asarray(self.running_SA.any(1))
        share, others = rule.looks.share(n), scores_SAn.shape[1] - 1
        level = rule.alpha * share / others

        baseline = scores_SAn[:, :1]
        self.better_SA |= self.running_SA & alive & self._shown(scores_SAn, baseline, rule.margin, level)
        leader = np.where(alive, scores_SAn.mean(-1), np.inf).argmin(1)
        rows = np.arange(len(leader))
        best = scores_SAn[rows, leader][:, None]
        is_leader = np.zeros_like(alive)
        is_leader[rows, leader] = True
        worse = self._shown(best, scores_SAn, 0.0, level / 2) & ~is_leader
        hopeless = self._shown(baseline, scores_SAn, -rule.margin, level) & ~self.better_SA
        cannot_beat = self._shown(best, scores_SAn, -rule.margin, level / 2) | is_leader
        alive = np.where(unfinished[:, None], alive & ~worse & ~hopeless, self.alive_SA).astype(bool)
        won = unfinished & alive[rows, leader] & self.better_SA[rows, leader] & (cannot_beat | ~alive).all(1)
        self.winner_S = np.where(won, leader, self.winner_S)
        over = ~unfinished | won | (n == rule.looks.last)
        self.alive_SA = alive
        self.running_SA = alive & ~over[:, None]
        self.running_SA[:, 0] = (self.running_SA & ~self.better_SA).any(1)
        self.seeds_SA += self.running_SA

    def _shown(self, ours: Array, theirs: Array, margin: float, level: float) -> Mask:
        return np.asarray(p_less(ours, theirs, margin, self.rule.paired) < level)


@dataclass(frozen=True)
class Standing:
    """State of one race after its last complete round."""

    seeds: Mapping[str, int]
    """How many of the declared seeds each arm needs by now, the baseline included."""
    statuses: Mapping[str, Status]
    """Of each candidate; 'left' is one that was neither named nor eliminated when the seeds were used up."""
    better: frozenset[str]
    """Candidates shown better than the baseline by more than the margin."""
    winner: str
    """The candidate that no other beats by more than the margin; empty while or when there is none."""
    over: bool


def standing(scores: Mapping[str, Sequence[float]], baseline: str, rule: RaceRule) -> Standing:
    """Replays the race from its first look as far as the scores go.

    scores:  of each arm in the order of the declared seeds, up to the first that is missing; NaN is a failed seed
    """
    arms = [baseline, *(arm for arm in scores if arm != baseline)]
    batch = RaceBatch.start(rule, 1, len(arms))
    for n in range(rule.looks.first, rule.looks.last + 1):
        running = [arm for arm, runs in zip(arms, batch.running_SA[0], strict=True) if runs]
        if not running or any(len(scores[arm]) < n for arm in running):
            break
        table = np.full((1, len(arms), n), np.nan)
        for place, arm in enumerate(arms):
            if arm in running:
                table[0, place] = scores[arm][:n]
        batch.look(table)
    winner = arms[batch.winner_S[0]] if batch.winner_S[0] else ""
    over = not batch.running_SA.any()
    statuses = {arm: _status(batch, place, over, arm == winner) for place, arm in enumerate(arms) if place}
    return Standing(
        seeds={arm: int(count) for arm, count in zip(arms, batch.seeds_SA[0], strict=True)},
        statuses=statuses,
        better=frozenset(arm for arm, shown in zip(arms, batch.better_SA[0], strict=True) if shown),
        winner=winner,
        over=over,
    )


def _status(batch: RaceBatch, place: int, over: bool, is_winner: bool) -> Status:
    if batch.failed_SA[0, place]:
        return "failed"
    if is_winner:
        return "winner"
    if not batch.alive_SA[0, place]:
        return "eliminated"
    return "left" if over else "running"
