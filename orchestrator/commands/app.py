"""The `orchestrator` application: every command with its name and an example for its help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.commands.audit import audit
from orchestrator.commands.audit_evaluator import audit_evaluator
from orchestrator.commands.cache import cache
from orchestrator.commands.cluster import cluster
from orchestrator.commands.export_runs import export
from orchestrator.commands.imports import import_
from orchestrator.commands.keep import rm, stop
from orchestrator.commands.next import next_
from orchestrator.commands.package import package, verify
from orchestrator.commands.reproduce import first_step, reproduce
from orchestrator.commands.results import compare, records, report, table
from orchestrator.commands.schema import schema
from orchestrator.commands.status import list_, status
from orchestrator.commands.sweep import confirm, plan, resume, sweep
from orchestrator.commands.winner import best, curves, show
from trainer.spec.exit_status import print_version
from trainer.spec.plain_group import PlainGroup

COMMANDS = (
    ("plan", plan, "plan search_spaces/ttt.yaml"),
    ("sweep", sweep, "sweep search_spaces/ttt.yaml --seeds 1,2,3"),
    ("resume", resume, "resume ttt"),
    ("confirm", confirm, "confirm ttt"),
    ("status", status, "status ttt"),
    ("stop", stop, "stop ttt"),
    ("list", list_, "list presets"),
    ("rm", rm, "rm ttt --dry-run"),
    ("table", table, "table ttt --per run --format csv > rows.csv"),
    ("compare", compare, "compare ttt --baseline record:1413 --margin 0.005"),
    ("best", best, "best ttt --out my_winner.yaml"),
    ("show", show, "show ttt a1b2c3d4e5-s42"),
    ("curves", curves, "curves ttt --out curves.svg"),
    ("import", import_, "import runs.csv --name mine --metric accuracy --goal maximize"),
    ("reproduce", reproduce, "reproduce --original 1.10979,0.00021,3 --rerun 1.11350"),
    ("first-step", first_step, "first-step soap --rule mng-track3"),
    ("records", records, "records pr1530 --policy pg-written"),
    ("export", export, "export ttt --to mlflow --place sqlite:///mlflow.db"),
    ("report", report, "report ttt --out ttt.html"),
    ("package", package, "package ttt best --out submission"),
    ("verify", verify, "verify submission"),
    ("schema", schema, "schema space > space.schema.json"),
    ("next", next_, "next ttt --budget-seconds 3600 --format json"),
    ("audit", audit, "audit train_gpt.py"),
    ("audit-evaluator", audit_evaluator, "audit-evaluator mine:evaluate"),
)
"""Name, function and example of each command, in the order of `--help`."""


def app_for(words: Sequence[str]) -> typer.Typer:
    """The application for these words of a command line: with the one command that they begin with, else with all.

    Typer reads the signatures of all its commands before it calls one of them, which takes longer than most commands.
    """
    named = words[0] if words else ""
    known = any(named == name for name, _, _ in COMMANDS)
    built = typer.Typer(
        cls=PlainGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Plan a sweep, run it, look at it, compare it.",
    )
    built.callback()(_options)
    if not known:
        built.add_typer(cache, name="cache")
        built.add_typer(cluster, name="cluster")
    for name, function, example in COMMANDS:
        if not known or name == named:
            built.command(name, epilog=f"Example: orchestrator {example}")(function)
    return built


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


app = app_for(())
