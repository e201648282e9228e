"""What `compare` may say of a race: the race's own verdict, and no other question's.

Who got more seeds was decided by looking, for one margin and one alpha against one baseline. Other thresholds are
refused; against anybody but the sweep's own baseline the verdict is exploratory.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestrator.journal import Sweep
from orchestrator.question import Compare
from orchestrator.racing import is_paired, rule_of
from results.compare import compare
from results.race_verdict import race_verdicts
from results.verdict import Verdict
from trainer.spec.errors import UserError


def demand_race_terms(sweep: Sweep, terms: Compare) -> None:
    """Raises UserError for other thresholds than the race was run for."""
    rule, unit = rule_of(sweep.space, paired=False), sweep.space.compare.unit
    if terms == sweep.space.compare or (terms.margin, terms.unit, terms.alpha) == (rule.margin, unit, rule.alpha):
        return
    raise UserError(
        f"sweep '{sweep.name}' raced for a margin of {rule.margin:g} {unit} at alpha = {rule.alpha:g}: who got more "
        "seeds was decided by these, so they cannot answer for other thresholds. Change `stopping` in its file and "
        "sweep again (finished runs are not paid twice), or put the winner to a fixed number of fresh seeds: "
        f"{sweep.command('confirm')}"
    )


def verdicts_of_race(
    sweep: Sweep, frame: pd.DataFrame, reference: str | pd.DataFrame, objections: Mapping[str, str]
) -> list[Verdict]:
    """Against its own baseline the race decides; anybody else is compared on the seeds that each arm has."""
    race, space = sweep.race(), sweep.space
    rule = rule_of(space, is_paired(space, sweep.asked(), sweep.records()))
    own = reference if isinstance(reference, str) else ""
    if own == sweep.asked()[0].id:
        return race_verdicts(frame, race, own, rule, space.compare.unit, space.seeds, objections)
    arms = [config for config in race.seeds if config != own]
    verdicts = []
    for config in arms:
        num_seeds = min(race.seeds[config], race.seeds.get(own, race.seeds[config]))
        verdicts += compare(
            frame[frame["config"].isin([config, own])],
            reference,
            rule.margin,
            space.compare.unit,
            rule.alpha,
            exploratory=True,
            seeds=space.seeds[:num_seeds],
            objections=objections,
            family=len(arms),
            shared_variance=False,
        )
    return verdicts
