"""A configuration, and its outcome over all its seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.space.search_space import SearchSpace
from trainer.spec.field_index import FIELDS, flat
from trainer.spec.fingerprint import configuration_id
from trainer.spec.load import spelled
from trainer.spec.record import run_id_of


@dataclass(frozen=True)
class Configuration:
    """One set of values, as the journal keeps it; index 0 is the baseline."""

    index: int
    id: str
    values: Mapping[str, Any]
    is_baseline: bool = False
    rung: float = 1.0
    """Part of the schedule that its runs train; runs below 1 steer the search and are no rows of the table."""

    def run_id(self, seed: int) -> str:
        """Name of its run with this seed. Equal configurations have equal runs."""
        return run_id_of(self.id, seed)


@dataclass(frozen=True)
class Outcome:
    """Score, violations and short means of a configuration over all its seeds."""

    score: float | None
    """Mean of the metric, or None when a seed has none: a failed seed is never averaged over."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """How far the worst seed is outside the limits of each constrained column; 0 inside."""
    short: tuple[tuple[float, float], ...] = ()
    """Parts of the schedule that it ran first, ascending, and the mean of the metric there. Without a score: it was
    pruned there; empty for one that failed."""


@dataclass(frozen=True)
class Precedent:
    """A finished configuration of an earlier sweep, read as a configuration of this search space."""

    sweep: str
    config: str
    values: Mapping[str, Any]
    """The values under which this search space produces it."""
    outcome: Outcome


def identify(
    space: SearchSpace, index: int, values: Mapping[str, Any], is_baseline: bool = False, rung: float = 1.0
) -> Configuration:
    """A configuration with the identity of its recipe. Raises RecipeError if no recipe accepts the values."""
    return Configuration(index, configuration_id(space.recipe(values)), dict(values), is_baseline, rung)


def baseline_of(space: SearchSpace) -> Configuration:
    """The configuration that every other one is compared with."""
    return identify(space, 0, space.compare.baseline, is_baseline=True)


def grid_of(space: SearchSpace) -> list[Configuration]:
    """Every configuration of a grid, in order, without the baseline."""
    return list(_grid_from(space, 0))


def _grid_from(space: SearchSpace, first: int) -> Iterator[Configuration]:
    chosen = itertools.islice(space.combinations(), first, space.num_configurations)
    return (identify(space, index, values) for index, values in enumerate(chosen, start=first + 1))


def in_turns(configurations: Sequence[Configuration], seeds: Sequence[int]) -> Iterator[tuple[Configuration, int]]:
    """Each configuration once per seed, every other round backwards (A B, B A, ...): a steady drift of the machine then
    moves all alike."""
    distinct = list({item.id: item for item in configurations}.values())
    for number, seed in enumerate(seeds):
        yield from ((item, seed) for item in (reversed(distinct) if number % 2 else distinct))


def num_rivals(space: SearchSpace, asked: Sequence[Configuration] = ()) -> int:
    """Distinct configurations other than the baseline: exact for a grid, which may contain it; else an upper bound."""
    baseline = baseline_of(space).id
    num_asked = sum(not item.is_baseline for item in asked)
    to_come = {item.id for item in _grid_from(space, num_asked)} if space.method == "grid" else set()
    others = {item.id for item in asked} | to_come
    left = (space.num_configurations or 0) - num_asked
    return len(others - {baseline}) + (0 if space.method == "grid" else left)


def total_runs(space: SearchSpace, asked: Sequence[Configuration] = ()) -> int:
    """Runs of the whole sweep: exact for a grid without stopping, else at most this many."""
    lengths = 1 + (len(space.rungs.rungs) if space.rungs else 0)
    return (1 + num_rivals(space, asked) * lengths) * len(space.seeds)


def fewest_runs(space: SearchSpace, most: int) -> int:
    """Runs if every race ends at its first look, or rungs prune all they may; `most` without stopping."""
    if space.race is not None:
        return most // len(space.seeds) * space.race.first_look
    if space.rungs is None:
        return most
    rule, others = space.rungs, most // len(space.seeds) - 1
    later = others // (1 + len(rule.rungs)) - rule.calibrate
    return (1 + rule.calibrate * (1 + len(rule.rungs)) + later) * len(space.seeds)


def outcome_of(space: SearchSpace, rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """The outcome of a configuration from the rows of its seeds, in the order of the seeds.

    A seed whose metric is missing or not finite has failed, and so has its configuration; so has one that is infinitely
    far outside a limit. One that has no value in a limited column breaks no limit.
    """
    ranking = space.ranking()
    score = ranking.mean(rows)
    if score is None:
        return Outcome(None)
    violations = ranking.violations(rows)
    return Outcome(score, violations) if all(map(math.isfinite, violations.values())) else Outcome(None)


def label(configuration: Configuration, space: SearchSpace | None = None) -> str:
    """'ttt.lr=0.00312 ttt.epochs=3', parameters with one value left out; or 'baseline'."""
    if configuration.is_baseline:
        return "baseline"
    constant = {key for key, item in space.parameters.items() if not item.varies} if space else set()
    shown = {key: value for key, value in configuration.values.items() if key not in constant} or configuration.values
    return " ".join(f"{key}={short(value)}" for key, value in shown.items())


def short(value: object) -> str:
    """A value for display: whole numbers as such, others with a point at four significant digits."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e7 else f"{value:.4g}"
    return spelled(list(value) if isinstance(value, tuple) else value)


SCALED = (*(key for key, info in FIELDS.items() if info.unit == "steps"), "budget.train_s")
"""Fields that are multiplied by the rung in a short run."""


def short_of(space: SearchSpace, configuration: Configuration, rung: float) -> Configuration:
    """The configuration with its schedule cut to a part of its length; a recipe of its own, diagnosis left out.

    Raises RecipeError if such a schedule is not valid.
    """
    recipe = flat(space.recipe(configuration.values))
    shorter = {key: _shrunk(recipe[key], rung) for key in SCALED if recipe[key]}
    values = {**configuration.values, **shorter, "evaluation.diagnose": False}
    return identify(space, configuration.index, values, rung=rung)


def _shrunk(value: float, rung: float) -> float:
    return max(1, round(value * rung)) if isinstance(value, int) else value * rung
