"""The sections of a search space file: metric, comparison, limits, spending, race, rungs, and the machine check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError
from pydantic import Field as PydanticField

from orchestrator.space.parameter import Number
from results.rows.columns import COLUMN_TYPES
from results.rows.ranking import Bounds
from results.stats.t_tests import Variance
from trainer.spec.errors import ProblemsError, did_you_mean
from trainer.spec.section import Section


def listed(value: Any) -> Any:
    """One value stands for a list of one."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str | int | float) else value


TERMS = "the terms of the comparison"
"""What complaints about terms of the command line are about."""


class SpaceError(ProblemsError):
    """A search space that is not valid, or that cannot be run."""


class Metric(Section):
    """The column that configurations are compared by."""

    name: str = "val_bpb"
    """A numeric column of the row."""
    goal: Literal["minimize", "maximize"] = "minimize"
    """Which way is better."""


class Condition(Section):
    """What the mean of a column must be shown to be, for a faster configuration to count as good enough."""

    mean_below: Number | None = None
    """The mean must be shown to be below this."""
    mean_above: Number | None = None
    """The mean must be shown to be above this."""
    alpha: float = 0.01
    """Largest p-value that counts as shown."""

    def complaints(self) -> Iterator[str]:
        if (self.mean_below is None) == (self.mean_above is None):
            yield "needs one of mean_below and mean_above; for example: {mean_below: 3.28}"
        if not 0 < self.alpha < 1:
            yield f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01"


TIMED = ("train_s", "eval_s")
"""Columns that depend on the machine and the hour."""


MOST_MARGIN = {"bpb": 0.3, "nats": 1.0}
"""Margins above these are slips: whole records are 0.001 to 0.03 bits per byte apart."""


def too_large(margin: float, unit: str) -> Iterator[str]:
    """A complaint about a margin in nats or bits per byte that offers it divided by a power of ten."""
    if margin <= MOST_MARGIN[unit]:
        return
    nearest = margin
    while 0.02 < nearest < math.inf:
        nearest /= 10
    yield (
        f"margin = {margin:g} {unit} is more than any configuration gains, so nothing could ever be better; "
        f"did you mean {nearest:g}?"
    )


class Compare(Section):
    """What the winner is compared with, and what counts as better."""

    baseline: Mapping[str, Any] = {}
    """Values that turn the preset into the baseline; empty is the preset itself. What `parameters` fixes is not part of
    it: what holds for both stands under `set`."""
    margin: float = 0.005
    """Gain to be shown beyond noise."""
    unit: Literal["nats", "bpb"] = "nats"
    """Unit of the margin: nats per token, or bits per byte."""
    alpha: float = 0.01
    """Largest p-value that counts as shown."""
    attempts: PositiveInt = 1
    """How often this search space may be tested, fresh seeds and confirmations included. Attempt k of N has
    alpha / 2^k, the last as much as the one before it; further ones are exploratory. Fixed by the first attempt."""
    variance: Variance = "own"
    """Whose spread a configuration is judged by: its own, with one degree of freedom borrowed from the sweep, or one
    that the sweep shares. Shared shows smaller gains, and errs where configurations spread differently."""
    blocks: Literal["auto", "artifact", "seed", "none"] = "auto"
    """What pairs the runs of two configurations: the trained artifact, else the seed, or nothing. `auto` pairs by
    artifact, and by seed where earlier sweeps of this preset or program show that seeds move configurations alike; it
    is decided before the first run and kept."""

    metric: Literal["train_s", "eval_s", "steps"] | None = None
    """A column of which less is claimed, in place of a better score: is it faster? Runs are then made one after another
    on one machine, the configurations taking turns, and compared with their neighbours. The margin is in its unit, and
    0 unless it is given."""
    subject_to: Mapping[str, Condition] = {}
    """Beside `metric`: what must hold of the mean of other columns: {val_loss: {mean_below: 3.28, alpha: 0.01}}."""

    @property
    def is_timed(self) -> bool:
        """Whether seconds are compared, so that configurations take turns on one machine."""
        return self.metric in TIMED

    @property
    def margin_of_metric(self) -> float:
        """The margin in the unit of `metric`."""
        return self.margin if "margin" in self.model_fields_set else 0.0

    def complaints(self) -> Iterator[str]:
        if not 0 < self.alpha < 1:
            yield f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01"
        if self.margin < 0:
            yield f"margin = {self.margin:g} must be at least 0; usual: 0.005"
        if self.subject_to and self.metric is None:
            yield "subject_to is a condition on a claim of speed; say which: {metric: train_s, subject_to: ...}"
        for column in self.subject_to:
            if COLUMN_TYPES.get(column) not in ("number", "integer"):
                yield f"subject_to.{column} is no column with numbers{did_you_mean(column, COLUMN_TYPES)}"

    def changed(self, margin: float | None, unit: str | None, alpha: float | None) -> Compare:
        """The same terms with those changed that are given. Raises SpaceError for terms that are not valid."""
        given = {"margin": margin, "unit": unit, "alpha": alpha}
        changes = {name: value for name, value in given.items() if value is not None}
        try:
            return Compare.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            problems = [
                str(item["ctx"]["error"])
                if item["type"] == "value_error"
                else f"{item['loc'][0]} = {item['input']!r}: " + item["msg"]
                for item in error.errors(include_url=False)
            ]
            raise SpaceError(TERMS, problems) from None


class Limit(Section):
    """Bounds of a column; a configuration outside is infeasible, however good its score."""

    max: Number | None = None
    """Largest value allowed."""
    min: Number | None = None
    """Smallest value allowed."""

    def complaints(self) -> Iterator[str]:
        if self.max is None and self.min is None:
            yield "max or min is missing; for example: {max: 600}"

    @property
    def bounds(self) -> Bounds:
        """The bounds as `results.rows.ranking` takes them."""
        return Bounds(self.min, self.max)


class Spending(Section):
    """What the sweep may cost; `orchestrator plan` compares its estimate with it."""

    gpu_hours: PositiveFloat | None = None
    """Most GPU-hours that the sweep may take."""
    usd_per_gpu_hour: PositiveFloat | None = None
    """Price of one GPU for one hour."""


class Race(Section):
    """Seeds are added in rounds; after each, configurations that cannot win are eliminated."""

    rule: Literal["race"]
    """After each round of seeds, configurations that cannot win are eliminated."""
    margin: float | None = None
    """Gain that counts, in the unit of `compare`; left out, that of `compare`."""
    alpha: float | None = None
    """Largest probability of a false 'better' in the whole sweep; left out, that of `compare`."""
    first_look: PositiveInt = 3
    """Seeds that every configuration runs before the first test."""

    def complaints(self) -> Iterator[str]:
        if self.margin is not None and self.margin < 0:
            yield f"margin = {self.margin:g} must be at least 0; usual: 0.005"
        if self.alpha is not None and not 0 < self.alpha < 1:
            yield f"alpha = {self.alpha:g} must lie between 0 and 1; usual: 0.01"
        if self.first_look < 2:
            yield "first_look = 1 must be at least 2: one seed shows no spread; usual: 3"


class Rungs(Section):
    """Short schedules first: a configuration with a bad score there is pruned, if short runs rank like full ones.

    Every mean is over all seeds at one length of schedule.
    """

    rule: Literal["asha", "median"]
    """asha keeps the best 1/eta of a rung so far, median those that are no worse than half of it."""
    rungs: Annotated[tuple[Number, ...], BeforeValidator(listed)] = (0.25,)
    """Parts of the schedule that are trained first, each whole, with its own cooldown; ascending."""
    eta: Annotated[int, PydanticField(ge=2)] | None = None
    """Of asha: one in how many is promoted; left out, 3."""
    calibrate: Annotated[int, PydanticField(ge=4)] = 8
    """First configurations that run at every rung and in full, to see whether short runs rank like full ones."""
    trust: float = 0.5
    """What the lower end of the 90% interval of the rank correlation must exceed before a rung prunes any."""

    def complaints(self) -> Iterator[str]:
        listing = ", ".join(f"{rung:g}" for rung in self.rungs)
        if not self.rungs or list(self.rungs) != sorted(set(self.rungs)) or not 0 < self.rungs[0] <= self.rungs[-1] < 1:
            yield f"rungs = [{listing}] must ascend between 0 and 1, parts of the full schedule; usual: [0.25]"
        if not -1 <= self.trust < 1:
            yield f"trust = {self.trust:g} must lie between -1 and 1, a rank correlation; usual: 0.5"
        if self.rule == "median" and self.eta is not None:
            yield f"eta = {self.eta} belongs to rule asha; leave it out"


Fact = Literal["shards", "attention", "versions", "driver", "hardware"]


Facts = Annotated[tuple[Fact, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]


class Guard(Section):
    """What the machines of one sweep must have in common; one that differs is quarantined, its runs are repeated."""

    same: Facts = ("shards", "attention", "versions", "driver")
    """Facts in which every machine must agree with the first one that finished a run; others are only reported."""
    min_speed: NonNegativeFloat | None = None
    """Least tokens per second of a training, as a part of the reference; left out, 0.9 on GPUs and none on CPUs."""
    reference: Literal["peers", "preset"] = "peers"
    """Whose speed counts: the fastest other machine of the same hardware, or what the preset declares."""
    max_recompiles: NonNegativeInt = 0
    """Most graphs that a compiled training may make inside its clock."""

    def complaints(self) -> Iterator[str]:
        if len(set(self.same)) < len(self.same):
            yield f"same = {list(self.same)} names a fact twice"
        if self.reference == "peers" and (self.min_speed or 0.0) > 1:
            yield f"min_speed = {self.min_speed:g} must lie between 0 and 1: a part of the fastest; usual: 0.9"
