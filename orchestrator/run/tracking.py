"""Runs in the form that experiment trackers take: TensorBoard, MLflow, Weights & Biases. Off by default.

A run is logged once it has its record: the curve of its training, its row as the last point, its swept values and seed.
Trackers hold copies of the records. Ray's own callbacks do the writing (`tuner`), so this imports no tracker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.sweep.sweep import Sweep
from results.rows.layout import TRACKING
from results.rows.row import row_of
from trainer.spec.errors import UserError
from trainer.spec.record import Record
from trainer.spec.stage_table import CURVE_FILE, curve_stage
from trainer.store.shared import stage_store

MOST_POINTS = 100
"""Points of a curve that are logged; trackers write each one by one."""

CREDENTIALS = re.compile(r"(?<=:)//[^/@]*@")
"""User and password in a URI, which are not printed."""


@dataclass(frozen=True)
class Trackers:
    """The trackers that a sweep's runs are logged to."""

    tensorboard: bool = False
    mlflow: str | None = None
    """Its tracking URI, or a folder."""
    wandb: str | None = None
    """The project's name."""

    @classmethod
    def named(cls, name: str, place: str | None, sweep: Sweep) -> Trackers:
        """One tracker by name.

        place:  MLflow's URI or folder, by default in the sweep's folder; W&B's project, by default the sweep's name
        """
        if name == "mlflow":
            return cls(mlflow=place or str(sweep.folder / TRACKING / name))
        if name == "wandb":
            return cls(wandb=place or sweep.name)
        if place is not None:
            raise UserError(f"--place {place}: TensorBoard reads {sweep.folder / TRACKING}; leave it out")
        return cls(tensorboard=True)

    def where(self, sweep: Sweep) -> str:
        """Where a person finds what was logged."""
        if self.mlflow:
            return f"MLflow at {CREDENTIALS.sub('//', self.mlflow_uri)}"
        return (
            f"W&B project {self.wandb}"
            if self.wandb
            else f"TensorBoard: tensorboard --logdir {sweep.folder / TRACKING}"
        )

    @property
    def mlflow_uri(self) -> str:
        """A folder becomes a database in it: MLflow keeps plain files no longer."""
        uri = self.mlflow or ""
        if ":" in uri:
            return uri
        Path(uri).mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{Path(uri).absolute() / 'mlflow.db'}"

    @property
    def wanted(self) -> dict[str, str]:
        """Package by flag of the trackers that are on."""
        packages = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
        return {f"--{flag}": package for flag, package in packages.items() if getattr(self, flag)}

    def check(self) -> None:
        """Raises UserError when one cannot be served: its package is missing."""
        for flag, package in self.wanted.items():
            if find_spec(package) is None:
                raise UserError(
                    f"the tracker {flag.removeprefix('--')} needs the package {package}: in the folder that "
                    "Fairway was installed from, pip install -e '.[tracking]'"
                )


def is_offline() -> bool:
    """Whether W&B runs without its server: there is no API key."""
    return "WANDB_API_KEY" not in os.environ


@dataclass(frozen=True)
class TrackedRun:
    """A finished run in the shape of a Tune trial, as far as Ray's logger callbacks look at one."""

    trial_id: str
    label: str
    config: Mapping[str, Any]
    local_path: str
    experiment_dir_name: str
    points: tuple[Mapping[str, Any], ...]
    """Each with `training_iteration`, the step; the last one is the run's row."""

    def __str__(self) -> str:
        return self.label

    def __hash__(self) -> int:
        return hash(self.trial_id)

    @property
    def evaluated_params(self) -> Mapping[str, Any]:
        """What TensorBoard shows as hyperparameters."""
        return self.config

    def init_local_path(self) -> None:
        """Makes the run's folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


def tracked_run(sweep: Sweep, record: Record) -> TrackedRun:
    """A run that has its record, with the curve of the training it stands on."""
    row = row_of(record.model_dump(mode="json"), sweep.name, sweep.space.swept_keys)
    values = {key: row[key] for key in sweep.space.swept_keys if row[key] is not None}
    curve = list(_curve(sweep, record))
    step = curve[-1]["training_iteration"] if curve else 0
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name not in values}
    return TrackedRun(
        trial_id=f"{sweep.name}-{record.run_id}",
        label=record.run_id,
        config={**values, "seed": record.seed, "preset": record.preset, "status": record.status},
        local_path=str(sweep.folder / TRACKING / record.run_id),
        experiment_dir_name=sweep.name,
        points=(*curve, {**numbers, "training_iteration": step + 1}),
    )


def _curve(sweep: Sweep, record: Record) -> list[dict[str, Any]]:
    """At most so many points of the training's losses; nothing when they left the store."""
    stage = curve_stage(sweep.space.base)
    train = record.stages.get(stage)
    content = stage_store(sweep.store).read_file(stage, train.fingerprint, CURVE_FILE) if train else None
    if content is None:
        return []
    head, *lines = content.decode().splitlines()
    names = head.split(",")
    every = max(1, -(-len(lines) // MOST_POINTS))
    kept = [dict(zip(names, map(float, line.split(",")), strict=True)) for line in lines[::-every][::-1]]
    return [{**point, "training_iteration": int(point.pop("step")) + 1} for point in kept]
