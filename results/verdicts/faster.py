"""Is it faster and still good enough? A claim on seconds or steps, under conditions on mean scores.

Seconds depend on the machine and on the hour, so runs are compared in blocks: a candidate's run with the baseline's
next to it on the same machine, whose drift then moves both alike. The claim holds when the paired t-test of the seconds
passes and every condition passes too; since all of them must, none needs a correction for the others. Over several
candidates the p-values of the seconds are corrected by Holm.
Source: Fisher 1935 (blocks); Berger 1982 (intersection-union tests); modded-nanogpt README, rule 4, and its pull
request 366.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd

from results.rows.ranking import unit_of
from results.rows.tables import is_finished, per_run
from results.stats.many_against_one import decide
from results.stats.t_tests import NoVerdict, TTest, one_sample_t, paired_t
from trainer.spec.errors import UserError

STAGE_OF = {"train_s": "train"}
"""The stage that a run must have computed itself, for its seconds to be of this machine and hour."""


@dataclass(frozen=True)
class Condition:
    """What the mean of a column must be shown to be."""

    column: str
    mean_below: float | None = None
    mean_above: float | None = None
    alpha: float = 0.01

    def __str__(self) -> str:
        """'mean val_loss below 3.28 at alpha = 0.01'"""
        bound = f"below {self.mean_below:g}" if self.mean_below is not None else f"above {self.mean_above:g}"
        return f"mean {self.column} {bound} at alpha = {self.alpha:g}"


@dataclass(frozen=True)
class ConditionMet:
    """Whether a condition is shown to hold for one configuration."""

    condition: Condition
    mean: float
    n: int
    p: float | None
    shown: bool
    reason: str = ""

    def __str__(self) -> str:
        """'mean val_loss 3.27851 of 12 runs is below 3.28: p = 0.0047'"""
        if self.p is None:
            return f"{self.condition}: cannot say, {self.reason}"
        verb = "is shown" if self.shown else "is not shown"
        return f"{self.condition} {verb}: {self.mean:.6g} over {self.n} runs, p = {self.p:.2g}"


@dataclass(frozen=True)
class Faster:
    """What can be said about one configuration: less of the metric, and still good enough?"""

    config: str
    baseline: str
    metric: str
    conclusion: Literal["faster", "not shown", "cannot say"]
    alpha: float
    conditions: tuple[ConditionMet, ...] = ()
    baseline_conditions: tuple[ConditionMet, ...] = ()
    """The same of the baseline, as a measure: they decide nothing."""
    reason: str = ""
    n: int | None = None
    """Pairs of neighbouring runs."""
    machines: int | None = None
    mean: float | None = None
    baseline_mean: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval of `difference`, candidate minus baseline; negative is faster."""
    t: float | None = None
    df: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    assumption: str = ""

    @property
    def sentence(self) -> str:
        """In words for readers without statistics."""
        against = f"{self.config} against {self.baseline}"
        if self.difference is None:
            return f"{against}: cannot say which has less {self.metric}: {self.reason}."
        unit = f" {unit_of(self.metric)}" if unit_of(self.metric) not in ("", self.metric) else ""
        gain = -self.difference
        assert self.low is not None
        assert self.high is not None
        measured = (
            f"{against}: {self.metric} {self.mean:.6g}{unit} against {self.baseline_mean:.6g}{unit}, "
            f"{abs(gain):.4g}{unit} {'less' if gain >= 0 else 'more'} (95 % interval of the gain "
            f"{-self.high:.4g} to {-self.low:.4g})"
        )
        p = f"p = {self.p:.2g}" + ("" if self.p_corrected == self.p else f", {self.p_corrected:.2g} after correction")
        shown = {"faster": "is shown", "not shown": "is not shown"}.get(self.conclusion, "cannot be said")
        listed = "; ".join(map(str, self.conditions)) or "none was given, so nothing is said of the scores"
        claim = f"less {self.metric}" + (", and still good enough" if self.conditions else "")
        return (
            f"{measured}. At alpha = {self.alpha:g} '{claim}' {shown}: paired t-test "
            f"over {self.n} pairs of neighbouring runs on {self.machines} machine{'s' if self.machines != 1 else ''}, "
            f"{p}. Conditions: {listed}."
        )

    def named(self, labels: Mapping[str, str]) -> Faster:
        """The same under the labels of its configurations, for people."""
        config, baseline = (labels.get(one, one) for one in (self.config, self.baseline))
        return replace(self, config=config, baseline="the baseline" if baseline == "baseline" else baseline)


Key = tuple[str, int]
"""A configuration and a seed."""


@dataclass(frozen=True)
class Neighbours:
    """Where and next to what each run was made, by configuration and seed."""

    machine_of: Mapping[Key, str]
    block_of: Mapping[Key, str]
    """Runs of one block were run next to each other."""
    unknown: str = ""
    """Why it is not known which runs were neighbours, where it is not."""

    @classmethod
    def in_order(cls, keys: Sequence[Key], machine_of: Mapping[Key, str]) -> Neighbours:
        """From the order in which runs were made: the k-th of each configuration on a machine are neighbours, if no
        configuration ran much before another. Source of the order: the start of runs, or the rows of a file."""
        counts: dict[tuple[str, str], int] = {}
        configs_on: dict[str, set[str]] = {}
        for config, seed in keys:
            configs_on.setdefault(machine_of.get((config, seed), ""), set()).add(config)
        blocks: dict[Key, str] = {}
        unknown = ""
        for config, seed in keys:
            machine = machine_of.get((config, seed), "")
            counts[machine, config] = counts.get((machine, config), 0) + 1
            blocks[config, seed] = str(counts[machine, config])
            lead = counts[machine, config] - min(counts.get((machine, other), 0) for other in configs_on[machine])
            if lead > 1:
                unknown = (
                    f"{config} ran {lead} times before another configuration did, so a drift of the machine is not "
                    "cancelled; interleave the runs, or name neighbours in a column 'block'"
                )
        return cls(machine_of, blocks, unknown)

    @classmethod
    def by_start(cls, started: Mapping[Key, str], machine_of: Mapping[Key, str]) -> Neighbours:
        """From when each run started: ISO 8601, in UTC where no zone is said, or a number of seconds."""
        moments = {key: _moment(text) for key, text in started.items()}
        unread = next((started[key] for key, moment in moments.items() if moment is None), None)
        ordered = sorted(started, key=lambda key: moments[key] or 0.0)
        known = cls.in_order(ordered, machine_of)
        if unread is None:
            return known
        why = f"started_at = '{unread}' is neither a time as 2026-01-31T13:05:00+00:00 nor a number of seconds"
        return replace(known, unknown=f"{why}, so the order of the runs is not known")


def _moment(text: str) -> float | None:
    """Seconds, to be compared with those of other texts of its kind; None for what is no time."""
    with contextlib.suppress(ValueError):
        return float(text)
    with contextlib.suppress(ValueError):
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return None


def faster(
    frame: pd.DataFrame,
    baseline: str,
    metric: str,
    conditions: Sequence[Condition],
    neighbours: Neighbours,
    alpha: float = 0.01,
    margin: float = 0.0,
) -> list[Faster]:
    """A verdict for every configuration but the baseline.

    frame:   rows of one sweep, with the metric and the columns of the conditions
    margin:  gain that counts, in the unit of the metric
    """
    for column in (metric, *(condition.column for condition in conditions)):
        if column not in frame or frame[column].isna().all():
            raise UserError(f"no run has a number in column {column}, which is compared")
    runs = per_run(frame)
    broken = set(runs.loc[~is_finished(runs, metric) & (runs["status"] != "drifted"), "config"])
    own = {config: _flaw(rows, broken, metric) for config, rows in runs.groupby("config", sort=False)}
    met = {config: _conditions(rows, conditions) for config, rows in runs.groupby("config", sort=False)}
    asked = []
    for config in own:
        if config != baseline:
            start = Faster(str(config), baseline, metric, "cannot say", alpha, met[config], met[baseline])
            flaw = own[config] or own[baseline] or neighbours.unknown
            asked.append(replace(start, reason=flaw) if flaw else _timed(start, runs, neighbours, margin))
    decisions = decide([1.0 if one.p is None else one.p for one in asked], [one.df or 1.0 for one in asked], alpha)
    return [_concluded(one, decision.p_corrected) for one, decision in zip(asked, decisions, strict=True)]


def _flaw(rows: pd.DataFrame, broken: set[str], metric: str) -> str:
    config = str(rows["config"].iloc[0])
    if config in broken:
        return f"a run of {config} has no {metric}"
    stage = STAGE_OF.get(metric)
    computed = rows["stages_run"].dropna() if "stages_run" in rows else pd.Series(dtype=object)
    if stage and any(stage not in str(words).split() for words in computed):
        return f"a run of {config} found its stage {stage} in the store, so its seconds are of another hour"
    return ""


def _conditions(rows: pd.DataFrame, conditions: Sequence[Condition]) -> tuple[ConditionMet, ...]:
    return tuple(_condition(rows[one.column].astype("float64").to_numpy(), one) for one in conditions)


def _condition(values: np.ndarray, condition: Condition) -> ConditionMet:
    sign = 1.0 if condition.mean_below is not None else -1.0
    bound = condition.mean_below if condition.mean_below is not None else condition.mean_above
    assert bound is not None
    mean = float(values.mean()) if len(values) else math.nan
    try:
        test = one_sample_t(sign * values, sign * bound)
    except NoVerdict as error:
        return ConditionMet(condition, mean, len(values), None, False, str(error))
    return ConditionMet(condition, mean, len(values), test.p, test.p < condition.alpha)


def _timed(asked: Faster, runs: pd.DataFrame, neighbours: Neighbours, margin: float) -> Faster:
    try:
        ours, theirs = (_by_block(runs, config, asked.metric, neighbours) for config in (asked.config, asked.baseline))
    except NoVerdict as error:
        return replace(asked, reason=str(error))
    shared = [key for key in ours if key in theirs]
    if lone := len(ours) + len(theirs) - 2 * len(shared):
        return replace(asked, reason=f"{lone} runs have no neighbour of the other on the same machine")
    try:
        test: TTest = paired_t([ours[key] for key in shared], [theirs[key] for key in shared], margin)
    except NoVerdict as error:
        return replace(asked, reason=str(error))
    return replace(
        asked,
        n=len(shared),
        machines=len({machine for machine, _ in shared}),
        mean=float(np.mean(list(ours.values()))),
        baseline_mean=float(np.mean(list(theirs.values()))),
        difference=test.difference,
        low=test.low,
        high=test.high,
        t=test.t,
        df=test.df,
        p=test.p,
        assumption="differences between neighbours are normal and independent; what a machine and an hour add is the "
        "same for both runs of a pair",
    )


def _by_block(runs: pd.DataFrame, config: str, metric: str, neighbours: Neighbours) -> dict[tuple[str, str], float]:
    """The metric by machine and block. Raises NoVerdict where several runs share a block."""
    mine = runs[(runs["config"] == config) & is_finished(runs, metric)]
    keys = [(config, int(seed)) for seed in mine["seed"]]
    places = [(neighbours.machine_of.get(key, ""), neighbours.block_of.get(key, f"seed {key[1]}")) for key in keys]
    place, count = Counter(places).most_common(1)[0]
    if count > 1:
        raise NoVerdict(
            f"{count} runs of {config} share block '{place[1]}'{f' on {place[0]}' if place[0] else ''}, so which run "
            "is next to which is not known; give every pair a block of its own"
        )
    return dict(zip(places, mine[metric].astype("float64"), strict=True))


def _concluded(one: Faster, p_corrected: float) -> Faster:
    if one.p is None:
        return one
    shown = p_corrected < one.alpha and all(each.shown for each in one.conditions)
    return replace(one, p_corrected=p_corrected, conclusion="faster" if shown else "not shown")
