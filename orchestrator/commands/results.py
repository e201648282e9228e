"""`orchestrator table`, `compare`, `records` and `report`: what came out of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.commands.options import (
    Name,
    Policy,
    Store,
    TableFormat,
    TextOrJson,
)
from orchestrator.output import print_rows
from results.rows.layout import REPORT_PAGE
from trainer.spec.errors import UserError
from trainer.store.mirror import USUAL_STORE


def table(
    name: Name,
    per: Annotated[Literal["run", "config"], typer.Option(help="A row per run, or per configuration.")] = "config",
    format: TableFormat = "text",
    store: Store = USUAL_STORE,
) -> None:
    """The rows of a sweep, per run or per configuration: n, mean, sd, 95% interval, best."""
    from orchestrator.analysis.import_results import print_import_table
    from orchestrator.analysis.sweep_table import print_table
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep

    if imported := find_import(store, name):
        print_import_table(imported, per, format)
    else:
        print_table(find_sweep(store, name), per, format)


def compare(
    name: Name,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="A configuration, sweep:NAME, record:PR, record:frontier, or a number with --exact; default: its own."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Take the baseline's mean, or number, as if it had no error.")
    ] = False,
    margin: Annotated[float | None, typer.Option(help="Gain that counts, in the unit; default: the space's.")] = None,
    unit: Annotated[Literal["nats", "bpb"] | None, typer.Option(help="Unit of the margin.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Largest probability of a false 'better'.")] = None,
    policy: Policy = None,
    format: TextOrJson = "text",
    store: Store = USUAL_STORE,
) -> None:
    """Is it really better? Every configuration against a baseline, with a test of significance.

    With --policy: would it be accepted, by the rule of that name?
    """
    from orchestrator.analysis.acceptance import print_acceptance
    from orchestrator.analysis.comparison import print_comparison
    from orchestrator.analysis.import_results import print_import_acceptance, print_import_comparison
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep

    imported = find_import(store, name)
    if policy is not None:
        terms = (("margin", margin), ("unit", unit), ("alpha", alpha), ("exact", exact or None))
        said = [option for option, value in terms if value is not None]
        if said:
            raise UserError(f"--policy {policy} brings its own thresholds; leave out --{', --'.join(said)}")
        if imported:
            print_import_acceptance(imported, policy, baseline, format)
        else:
            print_acceptance(find_sweep(store, name), store, policy, baseline, format)
        return
    if imported:
        print_import_comparison(imported, baseline, margin, unit, alpha, exact, format)
    else:
        print_comparison(find_sweep(store, name), store, baseline, margin, unit, alpha, format, exact)


def records(
    record: Annotated[str | None, typer.Argument(help="A name or pull request; default: all in turn.")] = None,
    policy: Policy = None,
    format: TextOrJson = "text",
) -> None:
    """Published records, and what a policy says of them: would they be accepted by their own rule?"""
    from orchestrator.analysis.acceptance import print_records

    print_records(record, policy, format)


def report(
    name: Name,
    out: Annotated[Path | None, typer.Option(help=f"The file; default: {REPORT_PAGE} in the sweep's folder.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """One self-contained HTML page: verdict, ranking, figures, budget, failures, how to reproduce."""
    from orchestrator.analysis.load_results import results_of
    from results.report.report import write_report
    from results.rows.layout import sweep_folder

    page = write_report(results_of(store, name), out or sweep_folder(store, name) / REPORT_PAGE)
    if format == "json":
        print_rows([{"sweep": name, "report": str(page)}])
    else:
        print(page)
