"""Whether shrinkage is right for the leader of a race, whose mean was selected and whose number of seeds was stopped.

The table is printed; `docs/statistics.md` keeps it.
"""

from __future__ import annotations

import numpy as np
import pytest

from results.stats.many_against_one import shrunken_means
from results.stats.race_rule import RaceBatch, RaceRule
from results.stats.sequential import Looks

pytestmark = pytest.mark.bench
RACES, LAST = 2_000, 20


def normal(sd: float):
    return lambda shape, random: sd * random.normal(size=shape)


def one_better(gain: float):
    return lambda shape, random: np.where(np.arange(shape[1]) == 0, gain, 0.0) * np.ones(shape)


TRUTHS = {
    "no differences": normal(0.0),
    "normal, sd 0.5": normal(0.5),
    "normal, sd 1": normal(1.0),
    "normal, sd 2": normal(2.0),
    "one better by 2": one_better(2.0),
}


def estimates(gains_SA: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the named winner or else the leader: whether it was named, and the errors of its plain and shrunken gain."""
    scores = random.normal(size=(RACES, gains_SA.shape[1] + 1, LAST))
    scores[:, 1:] -= gains_SA[..., None]
    batch = RaceBatch.start(RaceRule(0.0, 0.01, Looks(LAST)), *scores.shape[:2])
    for n in range(batch.rule.looks.first, LAST + 1):
        batch.look(scores[..., :n])
    named = batch.winner_S > 0
    errors = np.empty((2, RACES))
    for s, (arms, seeds) in enumerate(zip(scores, batch.seeds_SA, strict=True)):
        ran = [arm[:n] for arm, n in zip(arms, seeds, strict=True)]
        means = np.array([arm.mean() for arm in ran[1:]])
        shrunken = shrunken_means(means, float(np.mean([arm.var(ddof=1) / len(arm) for arm in ran[1:]])))
        best = batch.winner_S[s] - 1 if named[s] else int(np.where(batch.alive_SA[s, 1:], means, np.inf).argmin())
        gain = arms[0, : seeds[best + 1]].mean() - means[best]
        errors[:, s] = gain - gains_SA[s, best], gain + means[best] - shrunken[best] - gains_SA[s, best]
    return named, errors[0], errors[1]


@pytest.mark.parametrize("num_candidates", [10, 50])
def test_shrinkage_takes_out_what_selection_and_stopping_flatter(num_candidates):
    """Bias and root mean square error in standard deviations between seeds."""
    random = np.random.default_rng(8)
    print(f"\n| {num_candidates} configurations | who | races | plain mean | shrunken |\n|---|---|---|---|---|")
    for name, draw in TRUTHS.items():
        named, plain, shrunken = estimates(draw((RACES, num_candidates), random), random)
        for who, mask in (("winner", named), ("leader at the end", ~named)):
            if mask.sum() < 50:
                continue
            cells = (f"{e[mask].mean():+.2f}, {np.square(e[mask]).mean() ** 0.5:.2f}" for e in (plain, shrunken))
            print(f"| {name} | {who} | {mask.mean():.0%} | " + " | ".join(cells) + " |")
            if not name.startswith("one"):
                assert np.square(shrunken[mask]).mean() ** 0.5 < np.square(plain[mask]).mean() ** 0.5 + 0.02
