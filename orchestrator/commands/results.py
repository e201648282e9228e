"""`orchestrator table`, `compare`, `records` and `report`: what came out of a sweep.

Each branch imports what it calls: verdicts, plans and search spaces take as long to import as all the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.commands.options import (
    Name,
    Policy,
    Store,
    TableFormat,
    TextOrJson,
)
from orchestrator.output import print_rows
from trainer.spec.errors import UserError
from trainer.spec.number_options import finite, probability
from trainer.spec.printable import printable
from trainer.store.mirror import USUAL_STORE


def table(
    name: Name,
    per: Annotated[
        Literal["run", "config", "machine"], typer.Option(help="A row per run, configuration, or machine.")
    ] = "config",
    format: TableFormat = "text",
    store: Store = USUAL_STORE,
) -> None:
    """The rows of a sweep, per run or per configuration: n, mean, sd, 95% interval, best. Or what each machine did."""
    from orchestrator.sweep.imported import find_import

    if imported := find_import(store, name):
        from orchestrator.analysis.import_table import print_import_table

        if per == "machine":
            raise UserError(f"--per machine: '{name}' is an import: its rows do not say which machine computed what")
        print_import_table(imported, per, format)
    else:
        from orchestrator.analysis.sweep_table import print_table
        from orchestrator.sweep.sweep import find_sweep

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
    margin: Annotated[
        float | None, typer.Option(callback=finite, help="Gain that counts, in the unit; default: the space's.")
    ] = None,
    unit: Annotated[Literal["nats", "bpb"] | None, typer.Option(help="Unit of the margin.")] = None,
    alpha: Annotated[
        float | None, typer.Option(callback=probability, help="Largest probability of a false 'better'.")
    ] = None,
    policy: Policy = None,
    metric: Annotated[
        str | None, typer.Option(help="Of an import: is it faster? A column of seconds or steps, less being better.")
    ] = None,
    subject_to: Annotated[
        list[str],
        typer.Option("--subject-to", metavar="CONDITION", help="And still good enough: 'val_loss<3.28@0.01'."),
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    explain: Annotated[
        bool, typer.Option("--explain", help="Also every verdict in full, its seeds, test and assumptions, and costs.")
    ] = False,
    format: TextOrJson = "text",
    store: Store = USUAL_STORE,
) -> None:
    """Is it really better? Every configuration against a baseline, with a test of significance.

    With --policy: would it be accepted, by the rule of that name? With --metric, or where the search space declares
    one: is it faster, and still good enough?
    """
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep

    imported = find_import(store, name)
    asked = find_sweep(store, name) if imported is None else None
    if metric is not None or subject_to or (asked and asked.space.compare.metric and policy is None):
        _print_faster(imported or asked, metric, subject_to, alpha, margin, baseline, format)
        return
    if policy is not None:
        terms = (("margin", margin), ("unit", unit), ("alpha", alpha), ("exact", exact or None))
        said = [option for option, value in terms if value is not None]
        if said:
            raise UserError(f"--policy {policy} brings its own thresholds; leave out --{', --'.join(said)}")
        from orchestrator.analysis.acceptance import print_acceptance
        from orchestrator.analysis.import_results import print_import_acceptance

        if imported:
            print_import_acceptance(imported, policy, baseline, format)
        else:
            print_acceptance(find_sweep(store, name), store, policy, baseline, format)
        return
    if imported:
        from orchestrator.analysis.import_results import print_import_comparison

        print_import_comparison(imported, baseline, margin, unit, alpha, exact, format)
    else:
        from orchestrator.analysis.print_comparison import print_comparison

        print_comparison(find_sweep(store, name), store, baseline, margin, unit, alpha, format, explain, exact)


def _print_faster(
    sweep: Any,
    metric: str | None,
    subject_to: list[str],
    alpha: float | None,
    margin: float | None,
    baseline: str | None,
    format: str,
) -> None:
    from orchestrator.analysis.import_results import ALPHA, CAVEAT
    from orchestrator.analysis.speed import conditions_from, faster_of, faster_of_import, labels_of, print_faster
    from orchestrator.sweep.imported import ImportedSweep

    if isinstance(sweep, ImportedSweep):
        if metric is None:
            raise UserError("--subject-to is a condition on a claim of speed; say which: --metric train_s")
        conditions = conditions_from(subject_to)
        verdicts = faster_of_import(sweep, metric, conditions, alpha or ALPHA, margin or 0.0, baseline)
        print_faster(verdicts, {}, format, CAVEAT)
        return
    if metric or subject_to or baseline or alpha is not None or margin is not None:
        raise UserError(
            f"sweep '{sweep.name}' was run here, and a claim of speed is declared before the runs, which then take "
            "turns: compare: {metric: train_s, subject_to: {val_loss: {mean_below: 3.28}}}"
        )
    print_faster(faster_of(sweep), labels_of(sweep), format)


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
    out: Annotated[Path | None, typer.Option(help="The file; default: a page in the sweep's folder.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """One self-contained HTML page: verdict, ranking, figures, budget, failures, how to reproduce."""
    from orchestrator.analysis.load_results import results_of
    from orchestrator.analysis.sweep_table import demand_readable
    from results.report.report import write_report
    from results.rows.layout import REPORT_PAGE, sweep_folder

    results = results_of(store, name)
    page = write_report(results, out or sweep_folder(store, name) / REPORT_PAGE)
    if format == "json":
        print_rows([{"sweep": name, "report": str(page)}])
    else:
        print(printable(str(page)))
    demand_readable(results.frame)
