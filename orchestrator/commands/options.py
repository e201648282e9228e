"""Options that several commands share, each with its one sentence of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from trainer.spec.errors import UserError
from trainer.spec.number_options import finite, not_negative
from trainer.store.mirror import store_folder

Space = Annotated[Path, typer.Argument(help="A search space file.", metavar="SPACE.yaml")]
Name = Annotated[str, typer.Argument(help="A sweep's name; see `orchestrator list`.")]
Preset = Annotated[str | None, typer.Option(help="Use this preset instead of the file's.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the preset.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, e.g. 1,2,3.")]
Trials = Annotated[int | None, typer.Option(help="Configurations beside the baseline.")]
WarmStart = Annotated[list[str], typer.Option("--warm-start", metavar="NAME", help="Learn from this sweep.")]
Slots = Annotated[int | None, typer.Option(min=1, metavar="N", help="Worker groups; default: what fits.")]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Workers of a slot; default: 1 on CPU, a node's GPUs.")
]
Address = Annotated[str | None, typer.Option(help="Ray cluster, e.g. auto; default: a local one.")]
WaitForNodes = Annotated[
    float | None,
    typer.Option(
        "--wait-for-nodes",
        min=0.0,
        metavar="S",
        help="Seconds to wait for nodes; default: 1800 while none fits.",
    ),
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=1, metavar="PORT", help="Port for Ray's Prometheus metrics.")
]
Price = Annotated[
    float | None,
    typer.Option(min=0.0, callback=finite, metavar="USD", help="USD per GPU-hour; default: the file's."),
]
Inline = Annotated[bool, typer.Option("--inline", help="One run after another in this process, without Ray.")]
SnapshotEvery = Annotated[
    float, typer.Option(callback=not_negative, help="Seconds of training that a kill may cost at most.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Leave each run's curve and row for TensorBoard.")]
MLflow = Annotated[str | None, typer.Option("--mlflow", metavar="URI", help="Tell MLflow at this URI or folder.")]
WandB = Annotated[str | None, typer.Option("--wandb", metavar="PROJECT", help="Tell W&B; offline without a key.")]
OnEnd = Annotated[str | None, typer.Option("--on-end", metavar="CMD", help="Command to run when the sweep ends.")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not check liveness first; data are always checked.")]
Store = Annotated[
    Path,
    typer.Option(
        "--store",
        parser=store_folder,
        metavar="PLACE",
        help="Folder of sweeps and finished stages, or s3://BUCKET/PREFIX.",
    ),
]
TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", help="json: rows on stdout, nothing else.")]
Policy = Annotated[
    str | None, typer.Option(help="A rule by name: pg-written, pg-frontier-p25, mng-track1 or mng-track3.")
]
TableFormat = Annotated[Literal["text", "csv", "json", "parquet", "md"], typer.Option("--format")]

LONGEST_SHOWN = 60
"""Characters of a wrong argument that its message repeats."""


def parse_seeds(text: str | None) -> list[int] | None:
    """'1337,42' as [1337, 42]; None when none are given. Raises UserError."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        raise UserError(f"--seeds {shown} is not a list of whole numbers; for example: --seeds 1337,42,2025") from None
