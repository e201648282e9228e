"""`plan` and `sweep` as Python functions: what the commands of that name do, with values in place of printed text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.sweep import run_sweep
from orchestrator.output import console_for
from trainer.spec.errors import UserError
from trainer.store.mirror import store_folder

if TYPE_CHECKING:
    from orchestrator.analysis.opened import OpenedSweep
    from orchestrator.plan.plan import Plan


def _file(space: object, function: str) -> Path:
    """The path of the search space. Raises UserError for anything else, as a mapping: a sweep keeps its file's text."""
    if isinstance(space, str | PathLike):
        return Path(space)
    raise UserError(
        f"{function}() takes the path of a search space file, not a {type(space).__name__}; write it to a file first, "
        f'for one: Path("mine.yaml").write_text(yaml.safe_dump(...)), then {function}("mine.yaml")'
    )


def plan(
    space: str | Path,
    *,
    preset: str | None = None,
    set: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    trials: int | None = None,
    slots: int | None = None,
    store: str | Path = "runs",
) -> Plan:
    """What a sweep would run and cost: `.total_runs`, `.seconds`, `.gpu_hours`, `.usd`, `.stages`. Runs nothing.

    space:  a search space file
    set:    recipe keys changed in the preset: {"model.num_layers": 3}
    """
    from orchestrator.plan.estimate import plan_here
    from orchestrator.space.load_space import load_space

    read = load_space(_file(space, "plan"), preset=preset, overrides=set, seeds=seeds, trials=trials)
    return plan_here(read, slots, None, store_folder(store))


def sweep(
    space: str | Path,
    *,
    preset: str | None = None,
    set: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    trials: int | None = None,
    name: str | None = None,
    on_ray: bool = False,
    slots: int | None = None,
    check: bool = True,
    store: str | Path = "runs",
) -> OpenedSweep:
    """Runs a sweep, or what is missing of it, and returns it opened; its progress is printed.

    on_ray:  on Ray, so many `slots` at once; else one run after another in this process
    check:   whether every switch must be shown alive first
    Raises KeyboardInterrupt when it is interrupted: what is finished is kept, and the same call goes on from there.
    """
    from orchestrator.analysis.opened import open_by_name
    from orchestrator.run.drive_options import DriveOptions
    from orchestrator.search.run_queue import default_lag
    from orchestrator.space.load_space import load_space
    from orchestrator.sweep.sweep import open_sweep
    from orchestrator.sweep.warm_start import precedents_of

    folder = store_folder(store)
    read = load_space(_file(space, "sweep"), preset=preset, overrides=set, seeds=seeds, trials=trials)
    lag = default_lag(read, slots)
    opened = open_sweep(folder, read, name=name, lag=lag, precedents=lambda: precedents_of(folder, read))
    options = DriveOptions(slots, None, None, not on_ray, check=check)
    end, _ = run_sweep(opened, options, console_for())
    if end == "interrupted":
        raise KeyboardInterrupt(f"go on with: {opened.command('resume')}")
    return open_by_name(opened.name, folder)
