"""What would be worth running next: unfinished sweeps, confirmations near a verdict, more configurations.

Each step comes with the command that runs it, its expected seconds, and what it is expected to bring in bits per byte:
- finish:   a sweep that was interrupted; the expected gain of the configurations it has yet to score
- confirm:  the best configuration on fresh seeds; the probability that the gain seen so far is shown, times that gain
- search:   more configurations; the expected gain of the best of them over the best so far
Configurations to come are taken as draws from a normal distribution with the mean and the spread of those scored, so a
search that learns does better and a space that is exhausted does worse: figures to order steps by, not promises. A
step that was taken is not suggested again, but a space without an end always has more: a loop over these steps ends
when its budget does. Reads the store; starts neither torch nor Ray, and changes nothing.
"""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.confirm import (
    FEWEST,
    alpha_of_confirmation,
    confirmation_of,
    is_alpha_spent,
    num_seeds_for,
    spread_for,
    winner_of,
)
from orchestrator.analysis.sweep_table import baseline_of, rows_of, table_of
from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, label
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.sweep import Sweep, list_sweeps, sweep_of_space
from orchestrator.sweep.warm_start import precedents_of
from results.rows.layout import SPACE_FILE
from results.rows.read import read_outcomes
from results.rows.score_text import score_text
from results.stats.power import design_of
from results.verdicts.verdict import Verdict
from trainer.spec.errors import StoreError
from trainer.spec.fingerprint import digest
from trainer.spec.load import override_text
from trainer.spec.units import human_seconds
from trainer.store.mirror import store_option

if TYPE_CHECKING:
    from orchestrator.plan.plan import Plan

LEARNING = ("tpe", "cmaes")
"""Methods whose next configuration is worked out here; gp would start torch, the others do not learn."""
MOST_LISTED = 100
"""Configurations to come that are named: each takes milliseconds to choose."""
FEWEST_SCORED = 3
"""Configurations below which nothing is said about those to come."""
NODES = 64
"""Of a Gauss-Legendre integral over ten standard deviations: its error is below 1e-8 of the result, for up to 2,000
configurations to come."""


@dataclass(frozen=True)
class Step:
    """One thing that could be run next."""

    kind: Literal["finish", "confirm", "search"]
    sweep: str
    reason: str
    command: str
    """Runs the step, as it stands, from the same folder."""
    configurations: tuple[dict[str, Any], ...]
    """Values of those known beforehand, the baseline not among them; at most MOST_LISTED."""
    seeds: tuple[int, ...]
    runs: int
    """At most; those recorded already not counted."""
    seconds: float | None
    """Expected seconds of computing, what the store holds not counted; None if unknown."""
    gpu_hours: float | None
    exploratory: bool = False
    """Of a confirmation: whether its answer would be exploratory, since earlier attempts spent alpha."""
    chance: float | None = None
    """Of a confirmation: the probability that it shows the gain seen so far."""
    value_bpb: float | None = None
    """Expected gain in bits per byte; None where too little is known."""
    chosen: bool = True
    """Whether it is among the best steps that fit into the budget together."""

    @property
    def value_per_hour(self) -> float:
        """What the order follows; a step of no cost comes first, one of unknown value last."""
        if self.value_bpb is None or self.seconds is None:
            return -math.inf
        return math.inf if self.seconds == 0 else self.value_bpb / self.seconds * 3600

    @property
    def time_in_words(self) -> str:
        """'about 3 min 05 s of computing'."""
        if self.seconds is None:
            return "computing time not known yet"
        return f"about {human_seconds(self.seconds)} of computing"


def next_steps(
    store: Path,
    sweeps: Sequence[Sweep] | None = None,
    budget_s: float | None = None,
    gpu_hours: float | None = None,
    left_out: Callable[[str], None] | None = None,
) -> list[Step]:
    """Steps for these sweeps, by default for all of the store; unfinished ones first, then by gain per hour.

    budget_s, gpu_hours:  what is left; steps are chosen in their order as long as they fit, those of unknown cost never
    left_out:             called with why a sweep cannot be read; without it that raises StoreError
    """
    asked = [sweep for sweep in (list_sweeps(store) if sweeps is None else sweeps) if not sweep.is_locked()]
    steps: list[Step] = []
    for sweep in asked:
        try:
            steps += steps_of(sweep)
        except StoreError as fault:
            if left_out is None:
                raise
            left_out(f"sweep '{sweep.name}': {fault}")
    steps.sort(key=lambda step: (step.kind != "finish", -step.value_per_hour))
    return _within(steps, budget_s, gpu_hours)


def _within(steps: Sequence[Step], budget_s: float | None, gpu_hours: float | None) -> list[Step]:
    considered, left_s, left_hours = [], budget_s, gpu_hours
    for step in steps:
        fits_s = left_s is None or (step.seconds is not None and step.seconds <= left_s)
        fits_hours = left_hours is None or (step.gpu_hours is not None and step.gpu_hours <= left_hours)
        considered.append(replace(step, chosen=fits_s and fits_hours))
        if considered[-1].chosen:
            left_s = None if left_s is None else left_s - (step.seconds or 0.0)
            left_hours = None if left_hours is None else left_hours - (step.gpu_hours or 0.0)
    return considered


def steps_of(sweep: Sweep) -> Iterator[Step]:
    """What this sweep needs next, the most urgent first: to be finished, else confirmed, else searched on."""
    state = sweep.state()
    if state.missing_runs:
        yield _finish(sweep, state)
    elif sweep.purpose == "sweep":
        frame = rows_of(sweep)
        yield from _confirm(sweep, frame, (), table_of(sweep, frame))
        for step, next_space in _search(sweep):
            yield replace(step, configurations=_known_beforehand(sweep, next_space))


def urgent_step(
    sweep: Sweep, frame: pd.DataFrame, verdicts: Sequence[Verdict], table: pd.DataFrame, may_search: bool
) -> Step | None:
    """The first of these steps; None if there is none. It names no configurations of a search, which takes Optuna.

    frame, verdicts, table:  of its runs and configurations, by its declared terms
    may_search:              whether more configurations may be suggested
    """
    state = sweep.state()
    if state.missing_runs:
        return _finish(sweep, state)
    if sweep.purpose != "sweep":
        return None
    confirmation = next(_confirm(sweep, frame, verdicts, table), None)
    if confirmation is not None or not may_search:
        return confirmation
    return next((step for step, _ in _search(sweep)), None)


def _finish(sweep: Sweep, state: SweepState) -> Step:
    done = _scores(sweep) if state.configurations else []
    to_come = (sweep.space.num_configurations or 0) + 1 - len(done)
    return Step(
        kind="finish",
        sweep=sweep.name,
        reason=f"{state.missing_runs} of {state.total_runs} runs are missing; what is finished is not run again",
        command=sweep.command("resume"),
        configurations=(),
        seeds=sweep.space.seeds,
        runs=state.missing_runs,
        value_bpb=_gain_of_more(sweep, done, to_come),
        **_cost(sweep, sweep.space),
    )


def _confirm(sweep: Sweep, frame: pd.DataFrame, verdicts: Sequence[Verdict], table: pd.DataFrame) -> Iterator[Step]:
    """The best configuration, if more than the margin is expected of it and no confirmation has shown it yet."""
    space = sweep.space
    if table[table["rank"].notna() & ~table["is_baseline"]].empty or _is_outdone(sweep, table):
        return
    winner = winner_of(sweep, frame, table=table)
    verdict = next(one for one in verdicts or verdicts_of(sweep, frame) if one.config == winner.id)
    shown = verdict.conclusion == "better" and not verdict.exploratory
    if verdict.bpb is None and len(space.seeds) == 1 and not _is_confirmed(sweep, winner):
        yield from _confirm_one_seed(sweep, winner, table)
    if verdict.bpb is None or verdict.bpb.expected_gain <= verdict.bpb.margin or shown or _is_confirmed(sweep, winner):
        return
    num_seeds = num_seeds_for(sweep, frame, winner, verdict)
    block = verdict.block or None
    spread, alpha = spread_for(sweep, block), alpha_of_confirmation(sweep, winner)
    gain, chance = verdict.bpb.expected_gain, None
    if spread is not None and spread.planned > 0:
        design = design_of(block, 1, num_seeds, spread.planned, alpha)
        chance = design.power(max(0.0, gain - verdict.bpb.margin))
    next_space = confirmation_of(sweep, winner, num_seeds)
    yield Step(
        kind="confirm",
        sweep=sweep.name,
        reason=f"{label(winner, space)} looks {score_text(-verdict.bpb.difference, verdict.unit)} {verdict.unit} "
        "better than the baseline, which is not shown",
        command=sweep.command("confirm", f"--num-seeds {num_seeds}"),
        configurations=(dict(winner.values),),
        seeds=next_space.seeds,
        runs=2 * num_seeds,
        exploratory=is_alpha_spent(sweep, winner),
        chance=chance,
        value_bpb=chance * gain if chance is not None and _is_in_bpb(sweep) else None,
        **_cost_of_fresh_seeds(sweep, next_space),
    )


def _confirm_one_seed(sweep: Sweep, winner: Configuration, table: pd.DataFrame) -> Iterator[Step]:
    """Of a sweep with one seed, which shows no spread: the winner on a few fresh ones, if it is better at all."""
    means = table.set_index("config")["mean"]
    if not sweep.space.measure.sign * (means[winner.id] - means[baseline_of(sweep)]) < 0:
        return
    next_space = confirmation_of(sweep, winner, FEWEST)
    yield Step(
        kind="confirm",
        sweep=sweep.name,
        reason=f"{label(winner, sweep.space)} is better than the baseline on one seed, which shows no spread",
        command=sweep.command("confirm", f"--num-seeds {FEWEST}"),
        configurations=(dict(winner.values),),
        seeds=next_space.seeds,
        runs=2 * FEWEST,
        exploratory=is_alpha_spent(sweep, winner),
        **_cost_of_fresh_seeds(sweep, next_space),
    )


def _is_confirmed(sweep: Sweep, winner: Configuration) -> bool:
    """Whether a finished confirmation of this configuration lies in the store."""
    return any(
        other.purpose == "confirm"
        and winner.id in {item.id for item in other.asked()}
        and not other.state().missing_runs
        for other in list_sweeps(sweep.store)
    )


def _is_outdone(sweep: Sweep, table: pd.DataFrame) -> bool:
    """Whether a sweep warm-started from this one, or a sweep that this one was warm-started from, scored better."""
    warm_started = [other for other in list_sweeps(sweep.store) if sweep.name in other.space.warm_start]
    others = [*_warm_start_scores(sweep), *(score for other in warm_started for score in _scores(other))]
    return min(others, default=math.inf) < min(_scores_in(sweep, table), default=-math.inf)


def _search(sweep: Sweep) -> Iterator[tuple[Step, SearchSpace]]:
    """As many configurations again, in a sweep warm-started from this one; where the space has any left.

    Beside it is that sweep's space, of which `_known_beforehand` names configurations.
    """
    space = sweep.space
    own = {digest(item.values) for item in sweep.asked() if not item.is_baseline}
    warm = {digest(precedent.values) for precedent in sweep.precedents}
    left = math.inf if space.size is None else space.size - len(own | warm)
    more = int(min(space.run_cap or 0, left))
    if space.stopping is not None or more < 1 or own <= warm:  # the last: it scored nothing that was not known before
        return
    next_space = _more(sweep, more)
    if sweep_of_space(sweep.store, next_space) is not None:  # it exists already, and has steps of its own
        return
    try:
        cost = _cost(sweep, next_space)
    except StoreError:  # no warm start: every run failed, or the text is no longer here
        return
    step = Step(
        kind="search",
        sweep=sweep.name,
        reason=f"{len(own | warm)} configurations are scored, and the space has {_count(left)} more",
        command=_search_command(sweep, next_space),
        configurations=(),
        seeds=space.seeds,
        runs=more * len(space.seeds),
        value_bpb=_gain_of_more(sweep, [*_warm_start_scores(sweep), *_scores(sweep)], more),
        **cost,
    )
    yield step, next_space


def _count(left: float) -> str:
    return "infinitely many" if math.isinf(left) else f"{int(left)}"


def _more(sweep: Sweep, more: int) -> SearchSpace:
    """The same search space with more configurations: an adaptive one is warm-started, any other continues its list."""
    name = f"{sweep.name}-more"
    if sweep.space.adaptive:
        sweeps = (*sweep.space.warm_start, sweep.name)
        return sweep.space.model_copy(update={"name": name, "run_cap": more, "warm_start": sweeps})
    return sweep.space.model_copy(update={"name": name, "run_cap": (sweep.space.run_cap or 0) + more})


def _search_command(sweep: Sweep, next_space: SearchSpace) -> str:
    changed = (f" --set {shlex.quote(override_text(key, value))}" for key, value in sweep.space.overrides.items())
    warm_starts = "".join(f" --warm-start {name}" for name in next_space.warm_start)
    return (
        f"orchestrator sweep {shlex.quote(str(sweep.folder / SPACE_FILE))}{''.join(changed)} "
        f"--trials {next_space.run_cap}{warm_starts} --name {next_space.name}{store_option(sweep.store)}"
    )


def _known_beforehand(sweep: Sweep, next_space: SearchSpace) -> tuple[dict[str, Any], ...]:
    """Configurations that do not depend on results to come, MOST_LISTED of a list, the first of an adaptive search."""
    if next_space.method == "gp":
        return ()
    from orchestrator.search.searcher import Searcher  # late: Optuna, which only a search pays for

    learning = next_space.method in LEARNING
    earlier = [] if learning else [item.values for item in sweep.asked() if not item.is_baseline]
    num_known = len(earlier)
    precedents = precedents_of(sweep.store, next_space) if next_space.warm_start else ()
    searcher = Searcher(next_space, sweep.sweep_seed, precedents)
    for _ in range(1 if learning else min(MOST_LISTED, (next_space.run_cap or 0) - num_known)):
        values = searcher.ask(earlier, {})
        if values is None:
            break
        earlier.append(values)
    return tuple(map(dict, earlier[num_known:]))


def _scores(sweep: Sweep) -> list[float]:
    """Mean bits per byte of every complete configuration."""
    return _scores_in(sweep, table_of(sweep, rows_of(sweep))) if _is_in_bpb(sweep) else []


def _scores_in(sweep: Sweep, table: pd.DataFrame) -> list[float]:
    if not _is_in_bpb(sweep):
        return []
    return [float(mean) for mean in table.loc[table["rank"].notna(), "mean"]]


def _is_in_bpb(sweep: Sweep) -> bool:
    """Whether means of the metric are scores in bits per byte, of which gains can be expected."""
    return (sweep.space.metric.name, sweep.space.metric.goal) == ("val_bpb", "minimize")


def _warm_start_scores(sweep: Sweep) -> list[float]:
    """Means that the sweep was warm-started with, of configurations within its limits."""
    if not _is_in_bpb(sweep):
        return []
    outcomes = [precedent.outcome for precedent in sweep.precedents]
    return [one.score for one in outcomes if one.score is not None and not any(one.violations.values())]


def _gain_of_more(sweep: Sweep, scores: Sequence[float], count: int) -> float | None:
    """Expected gain of the best of `count` more configurations over the best so far; None while too little is known.

    The integral of P(best of the new ones < x) over all x below the best.
    """
    if len(scores) < FEWEST_SCORED or count < 1:
        return None
    mean, spread, best = statistics.mean(scores), statistics.stdev(scores), min(scores)
    if spread == 0:
        return 0.0
    cdf = statistics.NormalDist().cdf
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    below = best + 5 * spread * (nodes - 1)  # ten standard deviations
    return float(5 * spread * weights @ [1 - cdf((mean - x) / spread) ** count for x in below])


def _cost(sweep: Sweep, next_space: SearchSpace) -> dict[str, Any]:
    """As planned for this machine."""
    from orchestrator.plan.estimate import plan_here  # late: nothing is planned for a sweep that needs no step

    return _cost_of_plan(sweep, plan_here(next_space, 1, None, sweep.store, costs_only=True))


def _cost_of_fresh_seeds(sweep: Sweep, next_space: SearchSpace) -> dict[str, Any]:
    """As planned for what the sweep's own runs held, whose prepared text is all that serves other seeds."""
    from orchestrator.plan.estimate import make_plan  # late, as above
    from orchestrator.plan.plan import Resources
    from trainer.store.shared import stage_store

    held = Resources(gpus_per_run=max(read_outcomes(sweep.folder)["gpus"], default=0))
    plan = make_plan(next_space, stage_store(sweep.store), None, "", held, costs_only=True, fresh_seeds=True)
    return _cost_of_plan(sweep, plan)


def _cost_of_plan(sweep: Sweep, plan: Plan) -> dict[str, Any]:
    """Where nothing of the like has run, each run takes what the runs of this sweep took in the mean."""
    from orchestrator.plan.plan import times

    if plan.seconds is not None:
        return {"seconds": plan.seconds, "gpu_hours": plan.gpu_hours}
    outcomes = read_outcomes(sweep.folder)
    each_s = outcomes.groupby("run_id")["seconds"].sum().mean()  # not a number where none has ended
    if math.isnan(each_s):
        return {"seconds": None, "gpu_hours": None}
    seconds = float(each_s) * sum(bool(run.missing) for run in plan.runs)
    return {"seconds": seconds, "gpu_hours": times(plan.resources.gpus_per_run / 3600, seconds)}
