"""`orchestrator reproduce` and `first-step`: what they name on the command line, found and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from orchestrator.analysis.comparison import rows_named
from orchestrator.analysis.named_configuration import find_configuration
from orchestrator.analysis.step_curves import StepCurves
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.output import console_for, print_rows, say
from orchestrator.sweep.imported import find_import
from orchestrator.sweep.sweep import find_sweep
from results.rows.ranking import Measure
from results.rows.score_text import score_text
from results.rows.tables import is_finished, per_run
from results.stats.prediction import Summary
from results.verdicts.first_step import first_step
from results.verdicts.reproduction import Reproduction, Runs, reproduction
from trainer.spec.errors import UserError, did_you_mean


def print_reproduction(
    store: Path, name: str | None, original: str, rerun: str, against: str | None, format: str
) -> None:
    """Whether the rerun agrees with the original, and what both together show against a baseline."""
    frame, measure = _rows_of(store, name)
    arms = [
        _arm(original, "--original", frame, measure, store, name),
        _arm(rerun, "--rerun", frame, measure, store, name),
        None if against is None else _arm(against, "--against", frame, measure, store, name),
    ]
    assert arms[0] is not None
    assert arms[1] is not None
    answer = reproduction(arms[0], arms[1], arms[2], measure.unit, measure.sign)
    if format == "json":
        print_rows([_row(answer)])
        return
    console = console_for()
    console.print("REPRODUCES" if answer.reproduces else "DOES NOT REPRODUCE", style="bold")
    for sentence in answer.sentences:
        say(console, sentence)


def _row(answer: Reproduction) -> dict[str, object]:
    seen, pool = answer.prediction, answer.pool
    return {
        "original": answer.original,
        "rerun": answer.rerun,
        "reproduces": answer.reproduces,
        "n_original": seen.published.n,
        "n_rerun": seen.rerun_n,
        "low": min(answer.sign * seen.low, answer.sign * seen.high),
        "high": max(answer.sign * seen.low, answer.sign * seen.high),
        "mean_rerun": answer.sign * seen.rerun_mean,
        "t": seen.t,
        "df": seen.df,
        "p": seen.p,
        "shared_seeds": list(answer.shared_seeds),
        "pooled": None if pool is None else asdict(pool.test) | {"n": pool.runs.n, "sd": pool.runs.sd},
        "pooled_each_seed_once": None if pool is None or pool.once is None else asdict(pool.once) | {"n": pool.once_n},
        "sentence": " ".join(answer.sentences),
    }


def _rows_of(store: Path, name: str | None) -> tuple[pd.DataFrame | None, Measure]:
    if name is None:
        return None, Measure()
    imported = find_import(store, name)
    if imported is not None:
        return imported.frame, imported.measure
    sweep = find_sweep(store, name)
    return rows_of(sweep), sweep.space.measure


def _arm(text: str, option: str, frame: pd.DataFrame | None, measure: Measure, store: Path, name: str | None) -> Runs:
    """A configuration of the sweep, `record:PR`, `sweep:NAME`, scores, or MEAN,SD,N of what is published."""
    known = [] if frame is None else list(frame["config"].unique())
    if frame is not None and name and text not in known and not find_import(store, name):
        found = find_configuration(find_sweep(store, name), text)
        text = found.id if found else text
    if text in known and frame is not None:
        return _runs(text, frame[frame["config"] == text], measure)
    if ":" in text:
        rows = rows_named(text, store)
        if rows is not None:
            return _runs(text, rows, measure)
    numbers = _numbers(text)
    if numbers is None:
        of_sweep = f" of sweep '{name}'" if name else ", since no sweep is named"
        raise UserError(
            f"{option} {text} is no configuration{of_sweep}{did_you_mean(text, known)}; give a configuration, "
            "record:PR, sweep:NAME, "
            + ("scores like 1.1135" if option == "--rerun" else "or MEAN,SD,N like 1.10979,0.00021,3")
        )
    if option == "--rerun":
        return Runs("the rerun", [measure.sign * number for number in numbers], [None] * len(numbers))
    if len(numbers) != 3 or not numbers[2].is_integer():
        raise UserError(f"{option} {text}: what is published is MEAN,SD,N, for example 1.10979,0.00021,3")
    published = Summary(measure.sign * numbers[0], numbers[1], int(numbers[2]))
    return Runs("what is published" if option == "--original" else "the baseline", published=published)


def _runs(name: str, rows: pd.DataFrame, measure: Measure) -> Runs:
    if measure.column not in rows:
        raise UserError(f"{name} has no {measure.column}, which is compared")
    runs = per_run(rows)
    finished = runs[is_finished(runs, measure.column)]
    scores = (measure.sign * finished[measure.column].astype("float64")).tolist()
    return Runs(name, scores, [int(seed) for seed in finished["seed"]])


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def print_first_step(
    curves: StepCurves,
    configs: Sequence[str],
    threshold: float | None,
    alpha: float,
    rule: str | None,
    format: str,
) -> None:
    """From which step on each configuration's curve passes."""
    known = list(curves.by_config)
    for config in configs:
        if config not in known:
            raise UserError(
                f"--config {config} is no configuration with a curve{did_you_mean(config, known)}; known: "
                f"{', '.join(known[:5])}"
            )
    answers = [
        first_step(config, curves.by_config[config], threshold, alpha, rule, curves.measure)
        for config in configs or known
    ]
    if format == "json":
        print_rows(
            {"config": answer.config, "first_step": answer.first, "rule": answer.rule, "sentence": answer.sentence}
            | {"points": [asdict(point) for point in answer.points]}
            for answer in answers
        )
        return
    console = console_for()
    for answer in answers:
        for point in answer.points:
            shown = f"{point.statistic:+.5f}" if point.p is None else f"t {point.statistic:+.2f}   p {point.p:.2g}"
            mean, sd = (score_text(number, answer.unit) for number in (point.mean, point.sd))
            passes = "passes" if point.passes else "fails"
            console.print(f"step {point.step:>8,}   mean {mean}   sd {sd}   {shown}   {passes}", soft_wrap=True)
        say(console, answer.sentence, "bold", indent=0)
    if curves.note:
        say(console, curves.note, "dim", indent=0)
