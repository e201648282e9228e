"""Runs the winner of a sweep and the baseline again, on seeds that had no part in choosing it.

A confirmation is a sweep of its own with one configuration, so that it runs, resumes and reports like any other. Its
seeds are a function of the sweep's name and search space, so nobody can choose them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import pandas as pd

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.named_configuration import BEST, named_configuration
from orchestrator.analysis.sweep_table import ranking_of, table_of
from orchestrator.plan.detectable_effect import POWER, Spread, spread_of
from orchestrator.search.race_state import rule_of
from orchestrator.space.configuration import Configuration, label
from orchestrator.space.parameter import Parameter
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import Compare
from orchestrator.sweep.sweep import Sweep, list_sweeps, open_sweep
from orchestrator.sweep.sweep_attempts import level_of, planned_attempts
from results.rows.layout import RUNS
from results.rows.tables import breaches_of, why_none_is_ranked
from results.stats.power import seeds_needed
from results.stats.t_tests import Block
from results.verdicts.attempts import Attempt, further_attempt
from results.verdicts.verdict import Verdict
from trainer.spec.errors import UserError
from trainer.spec.fingerprint import digest

FEWEST, MOST = 3, 20
"""Seeds of a confirmation when no number is given."""


def winner_of(
    sweep: Sweep, frame: pd.DataFrame, config: str | None = None, table: pd.DataFrame | None = None
) -> Configuration:
    """The configuration to confirm: the best of the sweep, or the one that is named.

    table:  of `frame`, where it is known already

    Raises UserError if there is no such configuration, or none is complete.
    """
    asked = {item.id: item for item in sweep.asked()}
    if asked:  # the baseline comes first; a search may choose its recipe again
        del asked[sweep.asked()[0].id]
    if config not in (None, BEST):
        return named_configuration(sweep, config, "--config ", asked or ["none"])
    finish = f"finish it first: {sweep.command('resume')}"
    if not asked:
        raise UserError(f"sweep '{sweep.name}' has no winner to confirm: it has no configurations yet; {finish}")
    table = table_of(sweep, frame) if table is None else table
    ranked = table[table["rank"].notna() & table["config"].isin(list(asked))]
    if ranked.empty:
        why = why_none_is_ranked(table, breaches_of(frame, ranking_of(sweep)))
        hint = "" if len(table) and (table["status"] == "done").all() else f"; {finish}"
        raise UserError(f"sweep '{sweep.name}' has no winner to confirm: {why}{hint}")
    return asked[str(ranked.iloc[0]["config"])]


def confirmation_of(sweep: Sweep, winner: Configuration, num_seeds: int) -> SearchSpace:
    """The search space that repeats the winner and the sweep's baseline on fresh seeds."""
    known = sweep.ledger.outcomes([winner.id, sweep.asked()[0].id])
    declared = {outcome.seed for outcome in known if outcome.purpose == "sweep"}
    return sweep.space.model_copy(
        update={
            "name": f"{sweep.name}-confirm",
            "description": f"Does {label(winner, sweep.space)}, chosen in sweep {sweep.name}, hold on fresh seeds?",
            "method": "grid",
            "run_cap": None,
            "stopping": None,
            "compare": _terms(sweep.space),
            "warm_start": (),
            "parameters": {key: Parameter(value=value) for key, value in winner.values.items()},
            "seeds": fresh_seeds([sweep.name, sweep.space_digest, winner.id], num_seeds, declared),
        }
    )


def open_confirmation(sweep: Sweep, winner: Configuration, num_seeds: int) -> Sweep:
    """The sweep of this confirmation, opened or created; it counts as an attempt at what the source tests."""
    tested = sweep.space.tested(sweep.tested_space).space
    return open_sweep(sweep.store, confirmation_of(sweep, winner, num_seeds), purpose="confirm", tested_space=tested)


def fresh_seeds(source: Sequence[str], count: int, used: Collection[int]) -> tuple[int, ...]:
    """Seeds that follow from `source` alone, none of them used; more of them begin with the fewer."""
    fresh: list[int] = []
    for number in itertools.count():
        if len(fresh) == count:
            break
        seed = int(digest([*source, number])[:6], 16)
        if seed not in used and seed not in fresh:
            fresh.append(seed)
    return tuple(fresh)


def num_seeds_for(sweep: Sweep, frame: pd.DataFrame, winner: Configuration, verdict: Verdict | None = None) -> int:
    """Seeds that would show the gain to be expected, with the usual power; within reason.

    That is the gain seen so far, shrunken where the winner was the best of several.
    After a race the gain is that on the seeds the winner ran. A confirmation that was begun keeps its number.
    verdict:  on the winner, if it is known already
    """
    if begun := _begun(sweep, winner):
        return len(begun.space.seeds)
    verdict = verdict or next((one for one in verdicts_of(sweep, frame) if one.config == winner.id), None)
    if verdict is None or verdict.bpb is None:
        return max(FEWEST, len(sweep.state().seeds_of(winner)))
    block = verdict.block or None
    beyond = verdict.bpb.expected_gain - verdict.bpb.margin
    if (spread := spread_for(sweep, block)) is None:
        return max(FEWEST, len(sweep.state().seeds_of(winner)))
    needed = seeds_needed(beyond, block, 1, spread.planned, alpha_of_confirmation(sweep, winner), POWER)
    return min(MOST, max(FEWEST, needed or MOST))


def spread_for(sweep: Sweep, block: Block | None) -> Spread | None:
    """What a confirmation is planned with; of a program in a metric of its own what the store has measured."""
    return spread_of(sweep.space, block, sweep.store)


def alpha_of_confirmation(sweep: Sweep, winner: Configuration) -> float:
    """The level at which a confirmation that is begun now is tested: its part of alpha as a further attempt."""
    return level_of(_attempts(sweep, winner), "", _terms(sweep.space).alpha)


def is_alpha_spent(sweep: Sweep, winner: Configuration) -> bool:
    """Whether a confirmation that is begun now would be exploratory, since earlier attempts spent alpha."""
    return bool(further_attempt(_attempts(sweep, winner), ""))


def _attempts(sweep: Sweep, winner: Configuration) -> list[Attempt]:
    tested = sweep.space.tested(sweep.tested_space).space
    return planned_attempts(confirmation_of(sweep, winner, FEWEST), sweep.store, tested, (winner.id,))


def _begun(sweep: Sweep, winner: Configuration) -> Sweep | None:
    """The confirmation of this winner that lies in the store; of several the one with most records, then the first."""
    begun = [
        other
        for other in list_sweeps(sweep.store)
        if other.purpose == "confirm"
        and not other.space.difference(confirmation_of(sweep, winner, len(other.space.seeds)))
    ]
    return max(begun, key=lambda other: len(list(other.folder.glob(f"{RUNS}/*.json"))), default=None)


def _terms(space: SearchSpace) -> Compare:
    """Margin and alpha that the winner was named by: a race may declare its own."""
    if space.race is None:
        return space.compare
    rule = rule_of(space, paired=False)
    return space.compare.changed(rule.margin, None, rule.alpha)
