"""`orchestrator import`: runs of anybody as a sweep that is only read."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.commands.options import Store
from orchestrator.output import console_for
from trainer.spec.errors import UserError
from trainer.store.mirror import USUAL_STORE


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="CSV, JSON lines, JSON, Parquet, an Optuna study, folders with a submission.json."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the sweep.")],
    metric: Annotated[str, typer.Option(help="The compared column; default: val_bpb, else val_loss.")] = "",
    goal: Annotated[
        Literal["minimize", "maximize"] | None,
        typer.Option(help="Which way is better; default: minimize."),
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the metric, in words.")] = "",
    baseline: Annotated[
        str | None, typer.Option(help="The configuration others are compared with; default: the first one.")
    ] = None,
    column: Annotated[
        list[str],
        typer.Option("--column", metavar="FIELD=COLUMN", help="Which column is which field, e.g. seed=trial."),
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    knobs: Annotated[str, typer.Option(help="Columns that make a configuration, e.g. lr,epochs.")] = "",
    blocks: Annotated[
        Literal["artifact", "seed", "none"], typer.Option(help="What pairs the runs of two configurations.")
    ] = "artifact",
    preset: Annotated[str, typer.Option(help="The preset whose runs these are: plans of it take their spread.")] = "",
    description: Annotated[str, typer.Option(help="The question, in a sentence.")] = "",
    store: Store = USUAL_STORE,
) -> None:
    """Read a table of runs (configuration or knobs, seed, score) into a sweep that table, compare and report read.

    Also exports of W&B and MLflow, and studies of Optuna (journal or SQLite file). Any metric in any direction will do;
    what is missing or wrong is named with its row and column.
    """
    from orchestrator.sweep.imported import read_files, write_import
    from results.rows.imported_rows import ImportTerms
    from trainer.spec.load import load_preset

    if preset:
        load_preset(preset)  # an unknown one is refused with the nearest
    columns = dict(_pair(text) for text in column)
    terms = ImportTerms(metric, goal, unit, columns, [knob.strip() for knob in knobs.split(",") if knob.strip()])
    read = read_files(files, terms)
    kept = write_import(
        store,
        name,
        files,
        read,
        baseline=baseline,
        blocks=blocks,
        preset=preset,
        description=description,
        command=shlex.join(["orchestrator", *sys.argv[1:]]),
    )
    console = console_for()
    count = len(kept.configs)
    which = "higher" if kept.measure.higher_first else "lower"
    console.print(
        f"sweep {kept.name}: {len(kept.rows):,} runs of {count:,} configuration{'s' if count > 1 else ''}, compared by "
        f"{kept.measure.measured}, {which} is better; baseline {kept.header.baseline}",
        soft_wrap=True,
    )
    for note in kept.header.notes:
        console.print(note, style="yellow", soft_wrap=True)
    console.print(f"  {kept.command('compare')}", soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    name, found, column = text.partition("=")
    if not found or not name or not column:
        raise UserError(f"--column {text} is no FIELD=COLUMN; for example: --column seed=trial")
    return name.strip(), column.strip()
