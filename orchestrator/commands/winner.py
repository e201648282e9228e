"""`orchestrator best`, `show` and `curves`: the winner taken home, one run, all learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import Name, Store, TextOrJson
from orchestrator.output import console_for, print_rows
from trainer.store.mirror import USUAL_STORE

Out = Annotated[Path | None, typer.Option(help="The file; default: in the sweep's folder.")]


def best(
    name: Name,
    config: Annotated[
        str | None, typer.Option(help="A configuration: its id, its words ('LR=0.1'), baseline; default: the best.")
    ] = None,
    out: Out = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """The winner to take home: its recipe as a preset file, its artifact, its scores, and whether it was shown."""
    from orchestrator.analysis.best import best_of, best_row, print_best, write_recipe
    from orchestrator.sweep.sweep import find_sweep

    found = best_of(find_sweep(store, name), config)
    refused: OSError | None = None
    try:
        file = write_recipe(found, out)
    except OSError as fault:  # a store of somebody else, a full disk: what is known is shown all the same
        file, refused = None, fault
    if format == "json":
        print_rows([best_row(found, file)])
    else:
        print_best(found, file, console_for())
    if refused is not None:
        raise refused


def show(
    name: Name,
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run: CONFIG-sSEED, or its start; or a configuration ('LR=0.1', baseline), of which the best run is "
            "shown; default: best, the winner's best run."
        ),
    ] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """One run: its status and scores, its recipe against the baseline's, its stages, its curve, its error."""
    from orchestrator.analysis.best import best_of
    from orchestrator.analysis.one_run import best_run_of_program, find_run, print_run, run_row
    from orchestrator.sweep.sweep import find_sweep

    sweep = find_sweep(store, name)
    if run is None or run == "best":
        run = best_run_of_program(sweep) if sweep.space.program else best_of(sweep).run_id
    record = find_run(sweep, run)
    if format == "json":
        print_rows([run_row(sweep, record)])
    else:
        print_run(sweep, record, console_for())


def curves(name: Name, out: Out = None, store: Store = USUAL_STORE) -> None:
    """All learning curves of a sweep in one figure, with the validation loss of each training's best score."""
    from orchestrator.analysis.load_results import results_of
    from orchestrator.analysis.sweep_table import demand_readable
    from results.figures.curves import curve_facts, draw_curves
    from results.rows.layout import CURVES_FIGURE, FIGURES, sweep_folder
    from trainer.spec.errors import UserError

    results = results_of(store, name)
    demand_readable(results.frame)
    facts = curve_facts(results)
    if facts.empty:
        raise UserError(f"sweep '{name}' has no learning curve in this store: {_why_no_curve(store, name)}")
    path = out or sweep_folder(store, name) / FIGURES / CURVES_FIGURE
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(facts, path)
    left_out, missing = facts.attrs["num_left_out"], facts.attrs["num_missing"]
    console = console_for()
    drawn = facts["fingerprint"].nunique()
    words = f"{drawn} training{'s' if drawn != 1 else ''}"
    words += f", {left_out} more not drawn" if left_out else ""
    words += f", {missing} gone from the store" if missing else ""
    console.print(f"{path}\n{words}", soft_wrap=True)


def _why_no_curve(store: Path, name: str) -> str:
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep

    program = None if find_import(store, name) else find_sweep(store, name).space.program
    if program is not None and program.curve is None:
        return "its search space says of no line that it is a point; `curve:` does (docs/own_program.md)"
    return "no training of it has ended here"
