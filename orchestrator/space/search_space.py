"""The search space: which values of which recipe fields are compared with a baseline, on which seeds.

A frozen value that prints well. `orchestrator.space.load_space` reads one from a file and reports what is wrong with
it; `orchestrator.search.searcher` chooses configurations from it.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import Field as PydanticField
from pydantic import NonNegativeInt, PositiveInt

from orchestrator.space.parameter import Parameter
from orchestrator.space.sections import (
    TERMS,
    Compare,
    Guard,
    Limit,
    Metric,
    Race,
    Rungs,
    SpaceError,
    Spending,
    too_large,
)
from results.rows.columns import COLUMN_TYPES
from results.rows.ranking import Measure, Ranking, unit_of
from results.verdicts.attempts import Tested
from trainer.spec.field_index import FIELDS, flat, value_at
from trainer.spec.fingerprint import digest
from trainer.spec.load import assigned, spelled, with_values
from trainer.spec.program import Program
from trainer.spec.recipe import Section
from trainer.spec.record import SCORES
from trainer.spec.runnable import Runnable

MOST_COUNTED = 100_000
"""Finite spaces are counted up to here; larger ones count as infinite."""


MOST_PROBES = 1000
"""Configurations tried when a space is checked."""


class SearchSpace(Section):
    """The values to compare, the preset they change, the metric, and the seeds."""

    name: str
    """Name of the sweep."""
    description: str = ""
    """The question that the sweep answers, in a sentence."""
    preset: str
    """The recipe that the parameters change; 'program NAME' where they change a program's knobs."""
    overrides: Mapping[str, Any] = {}
    """Keys of the preset changed by `set:` in the file and by `--set`."""
    base: Runnable
    """Preset and overrides, resolved; or the program with the knobs that do not vary."""
    program_keys: Mapping[str, Any] = {}
    """What the file says of its program, with the paths resolved; empty where it runs our trainer."""
    remarks: tuple[str, ...] = ()
    """What the file says that is left out, and what was taken where it says nothing."""
    method: Literal["grid", "random", "tpe", "cmaes", "gp"]
    """How configurations are chosen."""
    metric: Metric = Metric()
    """The column that configurations are compared by."""
    parameters: Mapping[str, Parameter] = {}
    """The swept keys."""
    seeds: tuple[NonNegativeInt, ...]
    """Seeds of every configuration, the baseline included."""
    run_cap: PositiveInt | None = None
    """Most configurations, the baseline not counted."""
    compare: Compare = Compare()
    """What the winner is compared with."""
    constraints: Mapping[str, Limit] = {}
    """Bounds of columns."""
    budget: Spending = Spending()
    """What it may cost."""
    guard: Guard = Guard()
    """What its machines must have in common."""
    stopping: Annotated[Race | Rungs, PydanticField(discriminator="rule")] | None = None
    """When seeds stop being added; without it every configuration runs on all of them."""
    warm_start: tuple[str, ...] = ()
    """Earlier sweeps of the store whose finished configurations the search starts from."""

    def at_price(self, usd_per_gpu_hour: float) -> SearchSpace:
        """The same search space at another price."""
        changed = self.budget.model_copy(update={"usd_per_gpu_hour": usd_per_gpu_hour})
        return self.model_copy(update={"budget": changed})

    @property
    def program(self) -> Program | None:
        """The program that is run, or None where it is our trainer."""
        return self.base if isinstance(self.base, Program) else None

    @property
    def varied(self) -> tuple[Any, ...]:
        """What is varied, equal for sweeps that show each other's spread: the preset with its changes; or the program,
        whatever was edited in it since, with its fixed knobs and the number it is judged by."""
        if self.program is None:
            return self.preset, dict(self.overrides)
        place = os.path.normpath(self.program.root), self.program.script, self.program.command
        return *place, self.program.stages, dict(self.program.values), self.metric.name

    @property
    def itself(self) -> str:
        """What the baseline is where it changes nothing."""
        return "the program with its own defaults" if self.program else "the preset itself"

    def value_text(self, value: Any) -> str:
        """The value of a key in words; a program is not given a knob that is null."""
        return "the program's own default" if self.program and value is None else spelled(value)

    @property
    def measured(self) -> tuple[str, ...]:
        """Numbers that the program tells, and what was used of its limits, that are none of our columns."""
        told = (*self.program.metrics, *self.program.limited) if self.program else ()
        return tuple(dict.fromkeys(name for name in told if name not in COLUMN_TYPES))

    @property
    def notes(self) -> tuple[str, ...]:
        """What in the file comes to something that a reader may not expect, and what of it was left out."""
        metric = self.metric
        worst = metric.goal == "maximize" and unit_of(metric.name) in ("bits per byte", "nats per token")
        told = (f"metric: goal: maximize looks for the worst {metric.name}: less of it is better",) if worst else ()
        ranges = (f"parameters.{key}: {item}: {item.note}" for key, item in self.parameters.items() if item.note)
        return self.remarks + told + tuple(ranges)

    @property
    def race(self) -> Race | None:
        """The race over seeds, if this is one."""
        return self.stopping if isinstance(self.stopping, Race) else None

    @property
    def rungs(self) -> Rungs | None:
        """The short runs before full ones; None too when there are too few configurations to prune any."""
        few = isinstance(self.stopping, Rungs) and (self.num_configurations or 0) <= self.stopping.calibrate
        return self.stopping if isinstance(self.stopping, Rungs) and not few else None

    @property
    def no_rungs_because(self) -> str:
        """Why the rungs that `stopping` declares are not used, or the empty string."""
        if not isinstance(self.stopping, Rungs) or self.rungs is not None:
            return ""
        return (
            f"short runs: left out and no configuration is pruned, for {self.stopping.calibrate} configurations would "
            f"have to run in full before the others, and there are {self.num_configurations}"
        )

    @property
    def takes_turns(self) -> bool:
        """Whether configurations run in turns, seed by seed, since their seconds are compared."""
        return self.compare.is_timed

    @property
    def exploratory(self) -> bool:
        """Whether scores on the declared seeds choose who is compared, so that p-values on them are not valid."""
        return self.adaptive or self.rungs is not None

    @property
    def adaptive(self) -> bool:
        """Whether results steer the choice of configurations."""
        return self.method in ("tpe", "cmaes", "gp")

    def ranking(self, baseline: str = "", enough: Mapping[str, int] | None = None) -> Ranking:
        """How its configurations are ranked.

        baseline, enough:  identity of the baseline; in a race, how many seeds each configuration needs by now
        """
        return Ranking(
            metric=self.metric.name,
            higher_first=self.metric.goal == "maximize",
            limits={name: limit.bounds for name, limit in self.constraints.items()},
            baseline=baseline,
            seeds=self.seeds,
            enough=enough or {},
        )

    @property
    def measure(self) -> Measure:
        """The number that the verdicts are about: of our trainer the score, of a program its metric."""
        if self.program is None:
            return Measure()
        name = self.metric.name
        return Measure(name, unit_of(name) or name, self.metric.goal == "maximize")

    @property
    def is_judged_by_a_score(self) -> bool:
        """Whether the verdicts are about nats or bits per byte: always of our trainer, of a program by the name."""
        return self.measure.column in SCORES

    @property
    def has_both_scores(self) -> bool:
        """Whether every run tells nats and bits per byte and is judged by them, so that a margin may be in either."""
        return self.program is None or tells_both_scores(self.program, self.metric)

    def terms(self, margin: float | None, unit: Literal["nats", "bpb"] | None, alpha: float | None) -> Compare:
        """The terms of its comparison, with those changed that are given. Raises SpaceError for terms not valid."""
        changed = self.compare.changed(margin, unit, alpha)
        problems = list(too_large(changed.margin, changed.unit)) if self.is_judged_by_a_score else []
        if problems:
            raise SpaceError(TERMS, problems)
        return changed

    @cached_property
    def ordered(self) -> tuple[tuple[str, Parameter], ...]:
        """The parameters, each after those its `when` names. Raises graphlib.CycleError if these form a circle."""
        conditions = {
            key: [other for other in item.when if other in self.parameters] for key, item in self.parameters.items()
        }
        return tuple((key, self.parameters[key]) for key in TopologicalSorter(conditions).static_order())

    @cached_property
    def size(self) -> int | None:
        """Number of configurations, or None when there are infinitely or too many."""
        if any(item.choices is None for item in self.parameters.values()):
            return None
        counted = sum(1 for _ in itertools.islice(self.combinations(), MOST_COUNTED + 1))
        return counted if counted <= MOST_COUNTED else None

    @property
    def num_configurations(self) -> int | None:
        """Most configurations of the sweep without the baseline; None only for an infinite space without run_cap."""
        ends = [end for end in (self.size, self.run_cap) if end is not None]
        return min(ends, default=None)

    def combinations(
        self, pick: Callable[[Parameter], Sequence[Any]] = lambda item: item.choices or ()
    ) -> Iterator[dict[str, Any]]:
        """Every combination of the picked values, the last parameter changing fastest; inactive ones left out."""

        def extend(chosen: dict[str, Any], position: int) -> Iterator[dict[str, Any]]:
            if position == len(self.ordered):
                yield chosen
                return
            key, item = self.ordered[position]
            options = pick(item) if self.active(item, chosen) else None
            if options is None:
                yield from extend(chosen, position + 1)
                return
            for value in options:
                yield from extend({**chosen, key: value}, position + 1)

        return extend({}, 0)

    def active(self, item: Parameter, chosen: Mapping[str, Any]) -> bool:
        """Whether a parameter exists beside the chosen values; keys not chosen have the preset's value.

        A key that no recipe has holds no value: the checks name it, and they count configurations before they do.
        """
        return item.active({key: chosen[key] if key in chosen else self._value_in_base(key) for key in item.when})

    def _value_in_base(self, key: str) -> Any:
        return value_at(self.base, key) if self.program or key in FIELDS else None

    def probes(self) -> list[dict[str, Any]]:
        """Configurations to check the space with: every combination of values and ends, or a sample of MOST_PROBES."""
        if math.prod(len(item.probes) for item in self.parameters.values()) <= MOST_PROBES:
            return list(self.combinations(lambda item: item.probes))
        dice = random.Random(0)  # noqa: S311 - not a secret
        drawn = (next(self.combinations(lambda item: [dice.choice(item.probes)])) for _ in range(MOST_PROBES))
        return list({digest(values): values for values in drawn}.values())

    def recipe(self, values: Mapping[str, Any], seed: int | None = None) -> Runnable:
        """The recipe, or the program, of a configuration, with a run's seed.

        Raises RecipeError if no recipe accepts the values.
        """
        seeded = {} if seed is None else {"seed": seed}
        return with_values(self.base, {**values, **seeded}, f"sweep {self.name}")

    @cached_property
    def swept_keys(self) -> tuple[str, ...]:
        """Keys that differ between configurations, or between them and the baseline."""
        return tuple(key for key in dict.fromkeys([*self.parameters, *self.compare.baseline]) if self._differs(key))

    def _differs(self, key: str) -> bool:
        base = value_at(self.base, key)
        item = self.parameters.get(key)
        searched = [base] if item is None else ([base] if item.when else []) + list(item.probes)
        return len({json.dumps(value) for value in [*searched, self.compare.baseline.get(key, base)]}) > 1

    def identity(self) -> dict[str, Any]:
        """The parts that make it another sweep when they change; names, prices and thresholds do not."""
        recipe = {key: value for key, value in flat(self.base).items() if key != "seed"}
        return {
            "recipe": recipe,
            "parameters": {key: item.model_dump() for key, item in self.parameters.items()},
            "method": self.method,
            "seeds": list(self.seeds),
            "run_cap": self.run_cap,
            "metric": self.metric.model_dump(),
            "constraints": {key: limit.model_dump() for key, limit in self.constraints.items()},
            "baseline": dict(self.compare.baseline),
            "stopping": self._stopping_identity(),
            "warm_start": list(self.warm_start),
            **({"in turns": True} if self.takes_turns else {}),
        }

    def tested(self, space: str = "") -> Tested:
        """What its verdicts test, whatever the sweep is called and on whichever seeds; attempts are counted by it.

        space:  digest of the search space that a confirmation confirms
        """
        parts = ("recipe", "parameters", "metric", "baseline")
        identity = self.identity()
        own = digest({part: identity[part] for part in parts})
        return Tested(space or own, not self.exploratory, self.compare.attempts, self.compare.alpha)

    def _stopping_identity(self) -> dict[str, Any] | None:
        """A race's thresholds, and declared pairs, decide what is run, so they are part of the identity.

        The unit is left out where it is the usual one: races that began before it was part of it stay the same.
        """
        if self.stopping is None:
            return None
        named = self.stopping.model_dump(mode="json")
        if self.race is None:
            return named
        pairs = {"blocks": self.compare.blocks} if self.compare.blocks in ("seed", "none") else {}
        terms = {name: getattr(self.compare, name) for name in ("margin", "alpha") if named[name] is None}
        unit = {"unit": self.compare.unit} if self.compare.unit != Compare.model_fields["unit"].default else {}
        return named | terms | pairs | unit

    def identity_digest(self) -> str:
        """Hash of `identity`, as the journal keeps it."""
        return digest(self.identity())

    def difference(self, other: SearchSpace) -> str:
        """The parts in which another search space differs, in words; empty when both belong to the same sweep."""
        mine, theirs = self.identity(), other.identity()
        parts = []
        for part in dict.fromkeys([*mine, *theirs]):
            if mine.get(part) == theirs.get(part):
                continue
            keys = dict.fromkeys([*mine[part], *theirs[part]]) if part in ("recipe", "parameters") else ()
            changed = [key for key in keys if mine[part].get(key) != theirs[part].get(key)]
            parts.append(f"{part} ({', '.join(changed)})" if changed else part)
        return ", ".join(parts)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.description}" if self.description else self.name]
        what = self.preset if self.program else f"preset {self.preset}"
        lines.append(f"  {what}, {self.method}, {_how_many(self)}, seeds {list(self.seeds)}")
        if self.overrides:
            lines.append(f"  with {assigned(self.overrides)}")
        for key, item in self.parameters.items():
            when = " and ".join(f"{other} is {wanted}" for other, wanted in item.when.items())
            lines.append(f"  {key}: {item}" + (f"  when {when}" if when else ""))
        baseline = assigned(self.compare.baseline) or self.itself
        lines.append(f"  against {baseline}, judged by {self.metric.name} ({self.metric.goal})")
        return "\n".join(lines)


def tells_both_scores(program: Program, metric: Metric) -> bool:
    """Whether a program tells nats and bits per byte and is judged by one of them."""
    return {*SCORES} <= set(program.metrics) and metric.name in SCORES and metric.goal == "minimize"


def _how_many(space: SearchSpace) -> str:
    count = space.num_configurations
    return f"{count} configuration{'s' if count != 1 else ''}"
