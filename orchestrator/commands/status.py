"""`orchestrator status` and `list`: the progress of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.commands.options import (
    Store,
    TextOrJson,
)
from orchestrator.output import console_for, print_lines, print_rows
from trainer.spec.errors import UserError
from trainer.store.mirror import USUAL_STORE, store_name, store_option


def status(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; default: the newest.")] = None,
    watching: Annotated[bool, typer.Option("--watch", help="Keep showing it until it ends.")] = False,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Progress of a sweep; works from another terminal while it runs."""
    from orchestrator.status.status import listing_line, print_standing, standing, standing_of_import, watch
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.lost_records import demand_undamaged
    from orchestrator.sweep.sweep import damaged_sweeps, find_sweep, list_sweeps

    if name and (imported := find_import(store, name)):
        row = standing_of_import(imported)
        if format == "json":
            print_rows([row])
        else:
            print_lines(console_for(), [listing_line(row)])
        return
    if name is None and not list_sweeps(store):
        raise UserError(
            f"{store_name(store)}: no sweeps yet; start one with: "
            f"orchestrator sweep search_spaces/ttt.yaml{store_option(store)}"
        )
    sweep = find_sweep(store, name) if name else list_sweeps(store)[-1]
    if format == "json":
        facts = standing(sweep)
        print_rows([facts])
    else:
        facts = (watch if watching else print_standing)(sweep, console_for())
    demand_undamaged([*facts["damage"], *(() if name else damaged_sweeps(store).values())])


def list_(
    what: Annotated[Literal["sweeps", "presets", "spaces"], typer.Argument(help="What to list.")] = "sweeps",
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """All sweeps of the store, the presets that ship, or the search spaces in search_spaces/."""
    if what != "sweeps":
        rows, lines = _presets() if what == "presets" else _spaces()
        if format == "json":
            print_rows(rows)
        else:
            print_lines(console_for(), lines)
        return
    from orchestrator.status.status import listing_line, standing, standing_of_import
    from orchestrator.sweep.imported import list_imports
    from orchestrator.sweep.lost_records import demand_undamaged
    from orchestrator.sweep.sweep import damaged_sweeps, list_sweeps

    rows = [*(standing(sweep) for sweep in list_sweeps(store)), *map(standing_of_import, list_imports(store))]
    damaged = list(damaged_sweeps(store).values())
    for row in rows:
        row.pop("live")
        damaged += row["damage"]
    if format == "json":
        print_rows(rows)
    else:
        none = f"{store_name(store)}: no sweeps yet; start one: orchestrator sweep FILE{store_option(store)}"
        lines = [listing_line(row) for row in rows] or ([] if damaged else [none])
        print_lines(console_for(), lines)
    demand_undamaged(damaged)


def _presets() -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and lines of the presets, each with its purpose."""
    from trainer.spec.load import load_preset, preset_names

    known = [load_preset(name) for name in preset_names()]
    rows = [
        {"preset": one.name, "description": one.description, "source": one.source, "parameters": one.parameters}
        for one in known
    ]
    width = max(len(one.name) for one in known)
    return rows, [f"{one.name:<{width}}  {one.description}" for one in known]


def _spaces(folder: Path = Path("search_spaces")) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and lines of the search space files of this folder, each with its question, or why it cannot be read."""
    from orchestrator.space.load_space import load_space

    rows, lines = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            space = load_space(path)
        except UserError as mistake:
            lines.append(f"{path}: {str(mistake).splitlines()[0]}; orchestrator plan {path} names them")
            continue
        rows.append({"space": str(path), "name": space.name, "preset": space.preset, "description": space.description})
        lines.append(f"{path}  {space.description}")
    return rows, lines or [f"no search space in {folder}/ of this folder; write one: orchestrator schema space"]
