"""`orchestrator export`: a sweep's runs for an experiment tracker, after they ended."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.commands.options import Name, Store
from orchestrator.output import console_for
from trainer.spec.errors import UserError
from trainer.spec.units import human_count
from trainer.store.mirror import USUAL_STORE


def export(
    name: Name,
    to: Annotated[Literal["tensorboard", "mlflow", "wandb"], typer.Option("--to", help="The tracker.")],
    place: Annotated[
        str | None,
        typer.Option(help="MLflow's URI or folder, W&B's project; default: in the sweep's folder, and its name."),
    ] = None,
    store: Store = USUAL_STORE,
) -> None:
    """A sweep's runs into TensorBoard, MLflow or W&B: curves, scores, values. A second export logs them once more."""
    from orchestrator.run.tracking import Trackers
    from orchestrator.sweep.lost_records import demand_undamaged
    from orchestrator.sweep.sweep import find_sweep

    sweep = find_sweep(store, name)
    trackers = Trackers.named(to, place, sweep)
    trackers.check()
    records = list(sweep.records().values())
    if not records:
        raise UserError(f"sweep '{name}' has no finished run yet; go on with: {sweep.command('resume')}")
    from orchestrator.run.tuner import export_runs  # late: Ray, whose callbacks write to trackers

    export_runs(trackers, sweep, records)
    console_for().print(f"{human_count(len(records), 'run')} logged to {trackers.where(sweep)}", soft_wrap=True)
    demand_undamaged(sweep.lost_records())
