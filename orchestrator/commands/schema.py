"""`orchestrator schema`: JSON Schemas of the files people write and of the rows that commands print."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer


def schema(
    what: Annotated[Literal["space", "recipe", "rows"], typer.Argument(help="Files to check, or the rows to read.")],
) -> None:
    """JSON Schema: of search spaces and recipes for editors, of every command's `--format json` rows for programs."""
    from orchestrator.output import schema_of_rows
    from orchestrator.space.json_schema import schema_of_space
    from trainer.spec.recipe_schema import schema_of_recipe

    made = {"space": schema_of_space, "recipe": schema_of_recipe, "rows": schema_of_rows}[what]
    print(json.dumps(made(), indent=1))
