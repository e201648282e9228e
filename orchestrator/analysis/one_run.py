"""One run of a sweep for people: its recipe, its stages, its curve, its error. Reads records; runs nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.analysis.named_configuration import find_configuration, named_configuration
from orchestrator.analysis.sweep_table import best_row_of, rows_of, table_of
from orchestrator.output import say
from orchestrator.space.configuration import label
from orchestrator.sweep.lost_records import demand_undamaged
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import RAY_LOG
from results.rows.learning_curve import read_curve
from results.rows.row import row_of
from trainer.program.stage import LOG
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.recipe_text import differing_recipes
from trainer.spec.record import Record, run_id_of, split_run_id
from trainer.spec.runnable import is_program
from trainer.spec.stage_table import CURVE_FILE, curve_loss, curve_stage
from trainer.spec.units import human_count, human_seconds, human_time
from trainer.store.shared import stage_store

BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 60
"""Characters of a curve."""
LOG_LINES = 12
"""Lines of an error that are printed."""


def find_run(sweep: Sweep, asked: str) -> Record:
    """The record of a run by its id, the start of it, or the words of its configuration: then the best of its runs.

    Raises UserError naming the nearest.
    """
    records = {**sweep.short_records(), **sweep.records()}
    if (configuration := find_configuration(sweep, asked)) is None and "=" in asked:
        configuration = named_configuration(sweep, asked)  # raises: no run id has this sign
    if configuration is not None:
        asked = configuration.id
        frame = rows_of(sweep)
        seeds = frame.loc[frame["config"] == asked, "seed"].tolist()
        if seeds:
            best = best_row_of(sweep, frame, asked)
            return records[run_id_of(asked, int(seeds[0] if best is None else best["seed"]))]
    matching = [asked] if asked in records else [run_id for run_id in records if run_id.startswith(asked)]
    if len(matching) == 1:
        return records[matching[0]]
    if matching:
        raise UserError(f"{asked} begins {len(matching)} runs of sweep '{sweep.name}': {', '.join(matching)}")
    demand_undamaged([line for line in sweep.lost_records() if asked in line])
    known = f"known: {', '.join(records)}" if records else f"none has ended yet; see: {sweep.command('status')}"
    raise UserError(f"sweep '{sweep.name}' has no finished run '{asked}'{did_you_mean(asked, records)}; {known}")


def best_run_of_program(sweep: Sweep) -> str:
    """The first run of the best ranked configuration, the baseline's included; of a sweep without any its first."""
    ranked = table_of(sweep, rows_of(sweep))
    config = sweep.asked()[0].id if ranked.empty else str(ranked.iloc[0]["config"])
    return run_id_of(config, sweep.space.seeds[0])


def run_row(sweep: Sweep, record: Record) -> dict[str, Any]:
    """The run's row, for programs."""
    return row_of(record.model_dump(mode="json"), sweep.name, sweep.space.swept_keys)


def print_run(sweep: Sweep, record: Record, console: Console) -> None:
    """Status and scores, what differs from the baseline, a line per stage, the curve, the error in full."""
    config, seed = split_run_id(record.run_id)
    known = {item.id: item for item in sweep.asked()}
    name = label(known[config], sweep.space) if config in known else config
    console.print(Text(f"{record.run_id}: {name}, seed {seed}", style="bold"))
    style = "red" if record.status == "failed" else ""
    say(console, f"{record.status}, started {human_time(record.started_at)} on {record.hardware}", style)
    whose = "Fairway at commit" if sweep.space.program else "commit"
    for words in (*_scores(record), f"{whose} {record.commit}; {record.versions}"):
        say(console, words)
    baseline = sweep.space.recipe(sweep.asked()[0].values).model_dump(mode="json")
    changes = differing_recipes(record.recipe, baseline)
    what = "knobs" if sweep.space.program else "recipe"
    console.print(f"{what}: the baseline's" + (", but" if changes else ""))
    for key, (mine, theirs) in changes.items():
        mine, theirs = (sweep.space.value_text(value) for value in (mine, theirs))
        say(console, f"{key} = {mine}  (baseline: {theirs})")
    console.print("stages:")
    for stage, made in record.stages.items():
        how = "computed" if stage in record.stages_run else "from the store"
        console.print(f"  {stage:<11} {human_seconds(made.seconds):>8}  {how:<15} {made.fingerprint}", soft_wrap=True)
        if sweep.space.program:
            log = stage_store(sweep.store).folder(stage, made.fingerprint) / LOG
            console.print(f"    log: {log.resolve()}", soft_wrap=True)
    for line in _curve_lines(sweep, record):
        console.print(line)
    if record.error:
        console.print("it failed, and printed last:")
        for line in record.error.strip().splitlines()[-LOG_LINES:]:
            console.print(Text(f"  {line}", style="red"), soft_wrap=True)
    if (log := sweep.folder / RAY_LOG).exists():
        console.print(f"log of Ray and its workers: {log}", soft_wrap=True)


def _scores(record: Record) -> Iterator[str]:
    names = {"val_bpb": "bits per byte", "val_loss": "nats per token"}
    if is_program(record.recipe):
        names = dict.fromkeys([record.recipe["headline"]], "") | names
    for name, unit in names.items():
        if isinstance(value := record.metric(record.headline, name), float):
            yield f"{name} {value:.6f} {unit}".rstrip()
    if isinstance(model_bytes := record.metric("export", "model_bytes"), int):
        yield f"model_bytes {model_bytes:,}"


def _curve_lines(sweep: Sweep, record: Record) -> list[str]:
    """The loss as a row of bars, with its ends."""
    stage = curve_stage(sweep.space.base)
    train = record.stages.get(stage)
    content = stage_store(sweep.store).read_file(stage, train.fingerprint, CURVE_FILE) if train else None
    if train is None or content is None:
        return []
    curve = read_curve(content, f"{stage} {train.fingerprint}")
    steps = [int(step) for step, loss in zip(curve["step"], curve["train_loss"], strict=True) if math.isfinite(loss)]
    losses = [float(loss) for loss in curve["train_loss"] if math.isfinite(loss)]
    if not losses:
        return []
    from_to = f"{losses[0]:.3f} at step {steps[0]} to {losses[-1]:.3f} at step {steps[-1]}"
    return [
        f"{curve_loss(sweep.space.base)}, {from_to}, {human_count(len(losses), 'point')}:",
        f"  {bars(losses)}",
    ]


def bars(numbers: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """A row of at most so many bars, each as high as the mean of its part of the numbers; the lowest is a low one."""
    parts = min(width, len(numbers))
    edges = [len(numbers) * part // parts for part in range(parts + 1)]
    means = [sum(numbers[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[min(int((mean - low) / span * len(BARS)), len(BARS) - 1) if span else 0] for mean in means)
