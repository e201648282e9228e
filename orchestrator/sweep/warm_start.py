"""Warm start: finished configurations of earlier sweeps, as starting results of an adaptive search.

A configuration is used when the new space produces its recipe, and its runs scored the same text. Of an import (runs of
W&B, MLflow or Optuna) only knobs are known: its configurations are used where they name every parameter. Seeds may
differ, because these results only steer the search; no verdict reads them. Reads folders; runs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, Precedent, identify, outcome_of
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.imported import ImportedSweep, find_import
from orchestrator.sweep.same_text import text_complaint
from orchestrator.sweep.sweep import Sweep, find_sweep
from results.rows.optuna_files import VALUE
from results.rows.row import row_of, unfinished_row
from trainer.spec.errors import RecipeError, StoreError
from trainer.spec.field_index import flat


def precedents_of(store: Path, space: SearchSpace) -> list[Precedent]:
    """Finished configurations of the `warm_start` sweeps that lie in this space, each once, in the order asked.

    Raises StoreError naming a sweep that does not exist, or none of whose configurations can be compared, and why.
    """
    precedents: dict[str, Precedent] = {}
    for name in space.warm_start:
        imported = find_import(store, name)
        found = _imported(imported, space) if imported else _precedents_in(find_sweep(store, name), space)
        for precedent in found:
            precedents.setdefault(precedent.config, precedent)
    return list(precedents.values())


def precedent_lines(precedents: Sequence[Precedent]) -> list[str]:
    """'warm start: 12 finished configurations of sweep ttt', a line per sweep."""
    counted = Counter(precedent.sweep for precedent in precedents)
    return [
        f"warm start: {count} finished configuration{'s' if count != 1 else ''} of sweep {name}"
        for name, count in counted.items()
    ]


def _precedents_in(sweep: Sweep, space: SearchSpace) -> list[Precedent]:
    if complaint := text_complaint(sweep):
        raise StoreError(f"warm_start: sweep '{sweep.name}' cannot be compared: it {complaint}")
    state, precedents, reasons = sweep.state(), [], Counter[str]()
    for configuration in state.configurations:
        values, reason = _values_in(space, sweep, configuration)
        outcome = outcome_of(space, _rows(state, configuration))
        reason = reason or ("not finished, or failed" if outcome.score is None else "")
        if reason:
            reasons[reason] += 1
        else:
            precedents.append(Precedent(sweep.name, configuration.id, values, outcome))
    if not precedents:
        listing = "; ".join(f"{reason} ({count}x)" for reason, count in reasons.most_common(3))
        raise StoreError(
            f"warm_start: sweep '{sweep.name}' cannot be compared: none of its configurations lies in this "
            f"search space: {listing or 'it has none yet'}"
        )
    return precedents


def _imported(sweep: ImportedSweep, space: SearchSpace) -> list[Precedent]:
    """Its configurations that name every parameter of this space, by what was imported of them."""
    metric, measure = space.metric.name, sweep.measure
    if measure.column not in (metric, VALUE) or measure.higher_first != space.ranking().higher_first:
        way = "up" if measure.higher_first else "down"
        raise StoreError(
            f"warm_start: import '{sweep.name}' holds {measure.column}, better {way}, and this space is judged by "
            f"{metric}; import it again with --column {metric}=COLUMN, or --goal"
        )
    precedents, reasons = [], Counter[str]()
    for config in sweep.configs:
        rows = [unfinished_row(sweep.name, "", 0, "done", {}) | row for row in sweep.rows if row["config"] == config]
        values, reason = _named_values(space, rows[0])
        outcome = outcome_of(space, [row | {metric: row.get(measure.column)} for row in rows])
        reason = reason or ("not finished, or failed" if outcome.score is None else "")
        if reason:
            reasons[reason] += 1
        else:
            known_as = identify(space, 0, values).id
            precedents.append(Precedent(sweep.name, known_as, values, outcome))
    if not precedents:
        listing = "; ".join(f"{reason} ({count}x)" for reason, count in reasons.most_common(3))
        raise StoreError(f"warm_start: import '{sweep.name}' has no configuration that lies in this space: {listing}")
    return precedents


def _named_values(space: SearchSpace, row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The values of this space's parameters in an imported row, or why it is none of its configurations."""
    values: dict[str, Any] = {}
    for key, item in space.ordered:
        if not space.active(item, values):
            continue
        if not item.varies and key not in row:
            values[key] = item.choices[0] if item.choices else None
            continue
        if row.get(key) is None:
            return values, f"no knob {key}"
        values[key] = row[key]
    outside = [key for key, value in values.items() if not space.parameters[key].takes(value)]
    if outside:
        return values, f"{', '.join(outside)} outside this space"
    try:
        identify(space, 0, values)
    except RecipeError as fault:
        return values, fault.problems[0]
    return values, ""


def _rows(state: SweepState, configuration: Configuration) -> list[Mapping[str, Any]]:
    """A row for each seed that the configuration needs; without a record its status is `planned`."""
    run_ids = (configuration.run_id(seed) for seed in state.seeds_of(configuration))
    records = [state.records.get(run_id) for run_id in run_ids]
    return [
        {"status": "planned"} if record is None else row_of(record.model_dump(mode="json"), "", ())
        for record in records
    ]


def _values_in(space: SearchSpace, sweep: Sweep, configuration: Configuration) -> tuple[dict[str, Any], str]:
    """The values under which the new space produces the configuration, or why it never does."""
    recipe = flat(sweep.space.recipe(configuration.values))
    values: dict[str, Any] = {}
    for key, item in space.ordered:
        if space.active(item, values):
            values[key] = recipe.get(key)  # a knob of a program may be left to its default
    outside = [key for key, value in values.items() if not space.parameters[key].takes(value)]
    if outside:
        return values, f"{', '.join(outside)} outside this space"
    try:
        same = identify(space, 0, values).id == configuration.id
    except RecipeError:
        same = False
    if same:
        return values, ""
    fixed = {key: value for key, value in flat(space.base).items() if key not in space.parameters and key != "seed"}
    there = {key: recipe.get(key) for key in fixed}
    differing = [f"{key} {there[key]} there, {value} here" for key, value in fixed.items() if there[key] != value]
    return values, "; ".join(differing) or "another recipe"
