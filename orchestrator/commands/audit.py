"""`orchestrator audit`: does a script break the challenge's rules of evaluation? Read, and run only if asked."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import TextOrJson
from trainer.spec.exit_status import EXIT_FAILED


def audit(
    path: Annotated[Path, typer.Argument(help="A training script, with its helper modules beside it.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Also import it in a process of its own, build its model, run it forward.")
    ] = False,
    format: TextOrJson = "text",
) -> None:
    """Which lines of a script break a rule of evaluation: by parsing alone, wrappers opened; status 1 if any does."""
    from orchestrator.output import print_rows
    from trainer.audit.findings.static_report import lines_of, rows_of
    from trainer.audit.smoke.smoke import lines_of_smoke, smoke_of
    from trainer.audit.static_audit import audit_file

    report = audit_file(path)
    seen = smoke_of(path) if smoke else None
    if format == "json":
        print_rows(row | {"smoke": asdict(seen) if seen else None} for row in rows_of(report))
    else:
        from orchestrator.output import console_for

        console = console_for()
        for line in (*lines_of(report), *(lines_of_smoke(seen) if seen else ())):
            console.print(line, soft_wrap=True)
        if report.verdict == "cannot tell":
            for line in _what_tells(path):
                console.print(line, soft_wrap=True)
    if report.is_illegal:
        raise typer.Exit(EXIT_FAILED)


def _what_tells(path: Path) -> list[str]:
    """What to type where reading a script does not answer: what runs it."""
    script = shlex.quote(str(path))
    lines = [
        f"next: orchestrator audit-evaluator {script}",
        "      runs its evaluation on changed texts (docs/legality.md)",
    ]
    folder = path if path.is_dir() else path.parent
    if (folder / "submission.json").is_file():
        return [f"next: orchestrator verify {shlex.quote(str(folder))}", "      scores this package again", *lines]
    return lines
