"""`orchestrator audit-evaluator`: which conditions an evaluator breaks, seen from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import Sets, Store, TextOrJson
from trainer.spec.exit_status import EXIT_FAILED
from trainer.store.mirror import USUAL_STORE

if TYPE_CHECKING:
    from trainer.audit.evaluators.behaviour import AuditReport

STYLES = {"violated": "red", "cannot tell": "yellow", "kept": "green", "not claimed": "dim"}


def audit_evaluator(
    target: Annotated[
        str, typer.Argument(metavar="EVALUATOR", help="MODULE:FUNCTION, a script, or an artifact with its --preset.")
    ],
    preset: Annotated[str | None, typer.Option(help="The recipe that scores an artifact.")] = None,
    overrides: Sets = [],  # noqa: B006 - typer reads the default, nobody changes it
    tokenizer: Annotated[Path | None, typer.Option(help="Counts bytes again for a function or a script.")] = None,
    seconds: Annotated[int, typer.Option(min=1, help="Longest that a foreign process may run.")] = 600,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Does an evaluator break the challenge's rules? It is run on changed texts; status 1 if any rule is broken."""
    from orchestrator.output import print_rows
    from trainer.audit.evaluators.behaviour_process import Fence
    from trainer.audit.evaluators.behaviour_targets import audit_target

    report = audit_target(target, preset, overrides, tokenizer, store, Fence(seconds))
    if format == "json":
        print_rows(report.rows())
    else:
        _print(report)
    if report.verdict == "illegal":
        raise typer.Exit(EXIT_FAILED)


def _print(report: AuditReport) -> None:
    """A line per check, then the verdict."""
    from rich.text import Text

    from orchestrator.output import console_for

    console = console_for()
    for row in report.rows():
        console.print(
            Text.assemble(
                (f"{row['outcome']:<12}", STYLES[row["outcome"]]),
                f"{row['check']:<14}{' '.join(row['conditions']):<12}  {row['sentence']}",
            ),
            soft_wrap=True,
        )
    console.print(
        f"{report.evaluator}: {report.verdict}, after {report.num_evaluations} evaluations of texts of "
        f"{report.num_tokens} tokens",
        soft_wrap=True,
        markup=False,
    )
