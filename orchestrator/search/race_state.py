"""The race of a sweep with `stopping: {rule: race}`: which seeds each configuration needs, from the records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.space.configuration import Configuration
from orchestrator.space.search_space import SearchSpace
from results.rows.ranking import Measure, unit_of
from results.rows.row import row_of
from results.stats.race_rule import RaceRule, Standing, standing
from results.stats.sequential import Looks
from results.verdicts.verdict import SCORE_IN
from trainer.spec.record import Record
from trainer.spec.stage_table import artifact_stage


def rule_of(space: SearchSpace, paired: bool) -> RaceRule:
    """The rule that the space declares; margin and alpha are those of its comparison unless it says otherwise."""
    race = space.race
    assert race is not None
    return RaceRule(
        margin=space.compare.margin if race.margin is None else race.margin,
        alpha=space.compare.alpha if race.alpha is None else race.alpha,
        looks=Looks(last=len(space.seeds), first=race.first_look),
        paired=paired,
    )


def measure_of(space: SearchSpace) -> Measure:
    """The number that a race is about: the score in the unit of the margin, or a program's own metric."""
    column = SCORE_IN[space.compare.unit]
    return Measure(column, unit_of(column)) if space.has_both_scores else space.measure


def race_of(space: SearchSpace, configurations: Sequence[Configuration], records: Mapping[str, Record]) -> Standing:
    """The state of the race. All configurations must have been asked: later ones would change the error rate."""
    arms = {item.id: item for item in configurations}
    measure = measure_of(space)
    scores = {config: _scores(space, item, records, measure) for config, item in arms.items()}
    return standing(scores, configurations[0].id, rule_of(space, is_paired(space, configurations, records)))


def _scores(
    space: SearchSpace, configuration: Configuration, records: Mapping[str, Record], measure: Measure
) -> list[float]:
    """In the order of the declared seeds, up to the first that has no record yet."""
    scores = []
    for seed in space.seeds:
        record = records.get(configuration.run_id(seed))
        if record is None:
            break
        scores.append(_score(record, measure))
    return scores


def _score(record: Record, measure: Measure) -> float:
    """Lower is better. NaN for a run that failed, or is not known to be legal: it is never compared."""
    row = row_of(record.model_dump(mode="json"), "", ())
    usable = row["status"] == "done" and row["legal"] and row.get(measure.column) is not None
    return measure.sign * float(row[measure.column]) if usable else math.nan


def is_paired(space: SearchSpace, configurations: Sequence[Configuration], records: Mapping[str, Record]) -> bool:
    """Whether runs of one seed are pairs: declared so, or all arms score one artifact on the first seed.

    Every arm has the first seed before the first look.
    """
    if space.compare.blocks in ("seed", "none"):
        return space.compare.blocks == "seed"
    firsts = [records.get(item.run_id(space.seeds[0])) for item in configurations]
    stage = artifact_stage(space.base)
    artifacts = {record.stages[stage].fingerprint for record in firsts if record and stage and stage in record.stages}
    return len(artifacts) == 1
