"""What a race showed, as verdicts: the numbers of `compare` on the seeds each configuration ran, judged by the race.

The interval is the one that holds at every look together, wider than that of a fixed number of seeds; the p-value is
that of the last look alone, so it is printed and decides nothing. Who leads a race was selected as the best of all that
started, so a shrunken gain stands beside the measured one, each mean on the seeds that its arm ran: stopping early
flatters the winner a little more, and shrinkage takes that out too (`docs/statistics.md`).
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from results.rows.tables import per_run
from results.stats.late import special
from results.stats.race_rule import RaceRule, Standing
from results.verdicts.arms import arms_of
from results.verdicts.compare import compare, with_shrunken
from results.verdicts.matching import Match
from results.verdicts.terms import Blocks, Evidence, Terms
from results.verdicts.verdict import Effect, Unit, Verdict

IN_WORDS = {
    "winner": "no other candidate beats it by more than the margin",
    "eliminated": "eliminated after {n} seeds: it cannot win",
    "left": "neither named nor eliminated when all {n} seeds were used up",
    "running": "still in the race after {n} seeds",
    "failed": "a seed failed",
}


def race_verdicts(
    frame: pd.DataFrame,
    race: Standing,
    baseline: str,
    rule: RaceRule,
    unit: Unit,
    evidence: Evidence,
    blocks: Blocks = "artifact",
) -> list[Verdict]:
    """A verdict for every candidate of the race, in the order of the race.

    evidence:  with all declared seeds in their order; the race corrects for the number of comparisons itself
    blocks:    what paired the runs while the race ran
    """
    seeds = evidence.seeds or ()
    terms = Terms(rule.margin, unit, rule.alpha, blocks=blocks)
    verdicts, arms, matches = [], {}, {}
    for config, status in race.statuses.items():
        n = min(race.seeds[config], race.seeds[baseline])
        rows = frame[frame["config"].isin([config, baseline])]
        of_round = replace(evidence, seeds=seeds[:n], family=0)
        compared = compare(rows, baseline, terms, of_round)
        verdicts += [_judged(verdict, race, rule, status, n) for verdict in compared]
        if any(verdict.p is not None for verdict in compared):
            both = arms_of(per_run(rows, of_round.seeds), unit)
            arms[config], matches[config] = both[config], Match.of(both[config], both[baseline], terms, one_sweep=True)
    return with_shrunken(verdicts, matches, arms, unit)


def _judged(verdict: Verdict, race: Standing, rule: RaceRule, status: str, n: int) -> Verdict:
    if verdict.bpb is None:
        return replace(verdict, race=IN_WORDS[status].format(n=race.seeds[verdict.config]))
    level = rule.alpha * rule.looks.share(n) / len(race.statuses)
    critical, better = -float(special.stdtrit(verdict.df, level)), verdict.config in race.better
    return replace(
        verdict,
        conclusion="better" if better else "not shown",
        p_corrected=None,
        p_no_worse_corrected=None,
        interval_level=1 - 2 * level,
        num_comparisons=len(race.statuses),
        bpb=_widened(verdict.bpb, critical, better),
        nats=None if verdict.nats is None else _widened(verdict.nats, critical, better),
        race=IN_WORDS[status].format(n=race.seeds[verdict.config]),
        looks=(rule.looks.first, rule.looks.last),
    )


def _widened(effect: Effect, critical: float, better: bool) -> Effect:
    """Both ends at the level of this look: right at all looks and for all configurations together."""
    bound = -effect.difference - critical * effect.error
    return effect.with_ends(critical, max(bound, effect.margin) if better else bound)
