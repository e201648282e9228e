"""Knobs of a program that change no score: a misspelled variable of the environment is ignored without a word."""

from __future__ import annotations

import pandas as pd

from orchestrator.space.search_space import SearchSpace
from results.rows.tables import is_finished, per_run

PASSED_AS = {"env": "the variable", "args": "the argument", "file": "the key"}


def unread_lines(space: SearchSpace, frame: pd.DataFrame) -> list[str]:
    """A line for each swept knob of a program whose values all score the same on every seed, others held fixed."""
    program = space.program
    if program is None:
        return []
    lines = []
    for key in space.swept_keys:
        if _changes_nothing(key, space, frame):
            name = program.names.get(key, key)
            lines.append(
                f"no score changes with {key}: does the program read it? It is passed as "
                f"{PASSED_AS[program.knobs_by]} {'--' if program.knobs_by == 'args' else ''}{name}"
            )
    return lines


def _changes_nothing(key: str, space: SearchSpace, frame: pd.DataFrame) -> bool:
    """Whether two or more values of a knob were scored, and never differently."""
    runs = per_run(frame, space.seeds)
    runs = runs[is_finished(runs, space.metric.name)]
    others = [name for name in space.swept_keys if name != key]
    spelled = runs[[*others, key]].map(repr)
    alike = runs.assign(value=spelled[key], rest=spelled[others].agg(" ".join, axis=1) if others else "")
    groups = alike.groupby(["rest", "seed"]).agg(values=("value", "nunique"), scores=(space.metric.name, "nunique"))
    compared = groups[groups["values"] > 1]
    return not compared.empty and bool((compared["scores"] == 1).all())
