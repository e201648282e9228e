"""Reads the results of a sweep from its folder. Runs nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.analysis.answer import make_answer, next_command, sentence
from orchestrator.analysis.comparison import pairs_line, verdicts_of
from orchestrator.analysis.import_results import load_import
from orchestrator.analysis.speed import faster_of
from orchestrator.analysis.sweep_table import ranking_of, readable_rows_of
from orchestrator.search.pruner import rung_lines
from orchestrator.search.state import SweepState
from orchestrator.space.configuration import label
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.damage import space_text
from orchestrator.sweep.imported import find_import
from orchestrator.sweep.live import driven_s
from orchestrator.sweep.notes import data_words, preflight_words, read_plan
from orchestrator.sweep.sweep import Sweep, find_sweep
from orchestrator.sweep.sweep_attempts import attempts_of
from results.rows.layout import SPACE_FILE
from results.rows.machines import read_machines
from results.rows.read import read_outcomes
from results.stats.t_tests import SHARED_COST
from results.verdicts.sweep_results import SweepResults, published_results
from results.verdicts.verdict import Verdict
from trainer.program.code_store import code_digest
from trainer.spec.environment import WITHOUT_GIT
from trainer.spec.load import assigned, override_text
from trainer.spec.recipe import Recipe
from trainer.spec.record import run_id_of
from trainer.spec.runnable import by_the_clock
from trainer.spec.stage_table import CURVE_FILE, curve_loss, curve_stage
from trainer.spec.units import human_count, human_time
from trainer.store.mirror import USUAL_STORE, store_folder
from trainer.store.shared import stage_store

VARIANCES = {
    "own": "each configuration is judged by its own, with one degree of freedom borrowed from the sweep",
    "shared": f"one that the sweep shares: {SHARED_COST}",
}
"""Whose variance a verdict is based on, in words."""


def load_results(sweep: Sweep) -> SweepResults:
    """Everything that a report or a notebook shows of the sweep in its present state."""
    space, asked, frame, state = sweep.space, sweep.asked(), readable_rows_of(sweep), sweep.state()
    trained, verdicts = curve_stage(space.base), verdicts_of(sweep, frame)
    results = SweepResults(
        name=sweep.name,
        description=space.description or sweep.name,
        frame=frame,
        ranking=ranking_of(sweep),
        verdicts=verdicts,
        faster=faster_of(sweep),
        labels={item.id: label(item, space) for item in asked},
        seed_outcomes=sweep.ledger.outcomes(item.id for item in asked),
        attempts=attempts_of(sweep),
        swept_keys=space.swept_keys,
        terms=_terms(sweep, state, verdicts),
        total_runs=state.total_runs,
        adaptive=space.exploratory,
        outcomes=read_outcomes(sweep.folder),
        planned=read_plan(sweep.folder),
        wall_s=driven_s(sweep.folder),
        machines=read_machines(sweep.folder),
        by_the_clock=by_the_clock(space.base),
        compared=space.measure,
        curve_stage=trained,
        curve_loss=curve_loss(space.base),
        curve_of=partial(stage_store(sweep.store).read_file, trained, name=CURVE_FILE),
        commands=_commands(sweep),
        space_text=space_text(sweep),
    )
    return _with_answer(sweep, results.with_example(_example(sweep, results)))


def _with_answer(sweep: Sweep, results: SweepResults) -> SweepResults:
    """The same with the sentence and the next command that end the sweep on a terminal."""
    answer = make_answer(sweep, results.frame, results.table, results.verdicts, results.attempts)
    command, because = next_command(answer) or (sweep.command("compare", "--explain"), "every verdict in full")
    return replace(results, headline=sentence(answer), next_command=command, next_because=because)


def open_results(store: str = "", name: str = "", sweep_folder: str = "") -> SweepResults:
    """For notebooks: the sweep `name` of `store`, or that in `sweep_folder`; without either, the published records."""
    if sweep_folder:
        folder = Path(sweep_folder).absolute()
        store, name = str(folder.parent.parent), folder.name
    return results_of(store_folder(store or USUAL_STORE), name) if name else published_results()


def results_of(store: Path, name: str) -> SweepResults:
    """Of a sweep that was run here, or of one that was imported."""
    imported = find_import(store, name)
    return load_import(imported) if imported else load_results(find_sweep(store, name))


def _terms(sweep: Sweep, state: SweepState, verdicts: Sequence[Verdict]) -> Mapping[str, str]:
    space, terms = sweep.space, sweep.space.compare
    baseline = assigned(terms.baseline) or space.itself
    changed = assigned(space.overrides)
    terms_by_name = {
        ("Program" if space.program else "Preset"): f"{_what(space)}{f', with {changed}' if changed else ''}",
        "Search": f"{space.method}, {human_count(space.num_configurations or 0, 'configuration')} beside the baseline",
        "Swept": "; ".join(f"{key}: {item}" for key, item in space.parameters.items()),
        "Seeds": ", ".join(str(seed) for seed in space.seeds),
        "Baseline": baseline,
        "Judged by": f"{space.metric.name} ({space.metric.goal})",
        "Counts as better": f"{_gain_in_words(space)} at alpha = {terms.alpha:g}",
        "Attempts": f"{terms.attempts}, which share alpha"
        if terms.attempts > 1
        else "one, which is judged by the whole alpha",
        "Pairs": pairs_line(sweep, verdicts),
        "Variance": VARIANCES[terms.variance],
        "Stopping": _stopping(state),
        "Training ends": _end_of_training(space),
        "Liveness": preflight_words(sweep),
        "Data": data_words(sweep),
        "Limits": "; ".join(f"{name}: {_limit(limit)}" for name, limit in space.constraints.items()),
        "Created": f"{human_time(sweep.created_at)}, at commit {sweep.commit or 'unknown'}",
    }
    return {name: words for name, words in terms_by_name.items() if words}


def _gain_in_words(space: SearchSpace) -> str:
    """The gain that counts, in the unit it was declared in; of a program's own metric in that of the metric."""
    terms, measure = space.compare, space.measure
    unit = terms.unit if measure.column == "val_bpb" or terms.unit == "nats" else measure.unit
    return f"a gain of more than {terms.margin:g} {unit}" if terms.margin else "any gain"


def _what(space: SearchSpace) -> str:
    """The preset, or the program and its code."""
    if space.program is None:
        return space.preset
    return f"{space.program.name} (code {code_digest(space.program)})"


def _end_of_training(space: SearchSpace) -> str:
    if not isinstance(space.base, Recipe):
        return "by the program itself, so the result may depend on the hardware"
    budget = space.base.budget
    if budget.train_s is None:
        steps = space.parameters.get("budget.train_steps", budget.train_steps)
        return f"after {steps} steps: different machines compute the same thing"
    return f"by the clock, after {budget.train_s:g} s: the result depends on the hardware"


def _stopping(state: SweepState) -> str:
    space = state.space
    if space.race is not None:
        return f"a race: seeds are added where they decide something, looked at from {space.race.first_look} seeds on"
    return ". ".join(rung_lines(space, state.pruning))


def _limit(limit: Any) -> str:
    bounds = (("at least", limit.min), ("at most", limit.max))
    return ", ".join(f"{words} {value:,}" for words, value in bounds if value is not None)


def _commands(sweep: Sweep) -> tuple[str, ...]:
    """The sweep once more, elsewhere; the search space is its file, and stands in the report."""
    spelled = (override_text(key, value) for key, value in sweep.space.overrides.items())
    changed = "".join(f" \\\n  --set {shlex.quote(text)}" for text in spelled)
    is_commit = sweep.commit and not sweep.commit.startswith(WITHOUT_GIT)
    checkout = (f"git checkout {sweep.commit.rstrip('+')}",) if is_commit else ()
    return (*checkout, f"orchestrator sweep {SPACE_FILE}{changed}", f"orchestrator report {sweep.name}")


def _example(sweep: Sweep, results: SweepResults) -> Mapping[str, Any] | None:
    """A finished run of the best configuration, else of any."""
    frame = results.frame
    finished = frame[frame["status"] == "done"]
    best = finished[finished["config"] == (results.best or results.baseline)]
    chosen = best if len(best) else finished if len(finished) else frame
    if chosen.empty:
        return None
    record = sweep.record(run_id_of(chosen.iloc[0]["config"], chosen.iloc[0]["seed"]))
    return None if record is None else record.model_dump(mode="json")
