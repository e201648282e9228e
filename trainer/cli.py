"""`python -m trainer run|explain`: one recipe in, one record out, without Ray."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from trainer.spec.errors import RecipeError, UserError, did_you_mean
from trainer.spec.fields import FIELDS, FieldInfo
from trainer.spec.fingerprint import configuration_id
from trainer.spec.load import load_preset, parse_overrides
from trainer.spec.record import Record
from trainer.spec.units import human_bytes, human_seconds

EXIT_FAILED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130
PROGRESS_EVERY = 0.1

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the preset.")]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of runs and finished stages.")]


@app.command(epilog="Example: python -m trainer run tiny --seed 1 --set ttt.mode=score_first --set ttt.lr=5e-3")
def run(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a recipe file.")],
    overrides: SetOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    seed: Annotated[int | None, typer.Option(help="Seed of the run; default: the preset's.")] = None,
    store: StoreOption = Path("runs"),
    run_id: Annotated[str | None, typer.Option(help="Name of the run; default: configuration and seed.")] = None,
    snapshot_every_s: Annotated[float, typer.Option(help="Seconds of training that a kill may cost at most.")] = 60.0,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="json: the record as one line, nothing else.")
    ] = "text",
) -> None:
    """Train, compress and score one recipe; stages that the store holds are not run again."""
    values = parse_overrides(overrides) | ({} if seed is None else {"seed": seed})
    loaded = load_preset(preset, values)
    name = run_id or f"{loaded.name}-{configuration_id(loaded.recipe)}-s{loaded.recipe.seed}"
    path = store / "single" / name / "run.json"
    console = Console(stderr=True)
    record = _finished(path, loaded.recipe.model_dump(mode="json"), name) or _run(
        path, name, loaded.name, loaded.recipe, store, console, snapshot_every_s
    )
    if format == "json":
        print(record.model_dump_json())
    else:
        _print_record(record, path)
    if record.status != "done":
        console.print(f"[red]run {name} failed:[/red] {record.error}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED)


def _finished(path: Path, recipe: dict, name: str) -> Record | None:
    """The record of the same run, if it is done; a name taken by another recipe is refused."""
    if not path.exists():
        return None
    record = Record.model_validate_json(path.read_bytes())
    if record.recipe != recipe:
        raise UserError(f"{path}: run id '{name}' belongs to another recipe; choose another --run-id")
    if record.status != "done":
        path.unlink()
        return None
    return record


def _run(
    path: Path, name: str, preset: str, recipe: object, store: Path, console: Console, snapshot_every_s: float
) -> Record:
    from trainer.stages.assemble import RunRequest  # late: a wrong request should not wait for torch
    from trainer.stages.cache import StageStore
    from trainer.stages.context import Interrupted, Progress
    from trainer.stages.pipeline import run_pipeline

    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    printed: dict[str, float] = {}

    def report(progress: Progress) -> None:
        if progress.fraction - printed.get(progress.stage, -1.0) >= PROGRESS_EVERY:
            printed[progress.stage] = progress.fraction
            console.print(
                f"{progress.stage:<10} {progress.fraction:4.0%}  {progress.detail}", highlight=False, soft_wrap=True
            )

    request = RunRequest.of(name, preset, recipe, path)  # type: ignore[arg-type]
    try:
        return run_pipeline(
            request, StageStore(store), report=report, stopping=stop.is_set, snapshot_every_s=snapshot_every_s
        )
    except Interrupted:
        console.print("interrupted; finished stages are kept, the same command goes on from there")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_record(record: Record, path: Path) -> None:
    """Headline, post-quantisation score and size: what people look for first."""
    out = Console(highlight=False, soft_wrap=True)
    model_bytes = record.metric("export", "model_bytes")
    lines = [
        ("val_bpb", record.metric(record.headline, "val_bpb"), "bits per byte, the headline"),
        ("val_loss", record.metric(record.headline, "val_loss"), "nats per token"),
        ("sliding_bpb", record.metric("evaluate", "val_bpb"), "without test-time training"),
        ("roundtrip_bpb", record.metric("diagnose", "roundtrip_bpb"), "after quantisation, non-overlapping windows"),
        ("pre_quant_bpb", record.metric("diagnose", "pre_quant_bpb"), "before quantisation"),
    ]
    for name, value, meaning in lines:
        if isinstance(value, float):
            out.print(f"{name:<14} {value:.6f}  {meaning}")
    if isinstance(model_bytes, int):
        out.print(f"{'model_bytes':<14} {model_bytes:,}  ({human_bytes(model_bytes)} of artifact)")
    for stage in record.stages.values():
        how = "computed" if stage.stage in record.stages_run else "from the store"
        out.print(f"{stage.stage:<14} {human_seconds(stage.seconds)}, {how}")
    out.print(f"record         {path}")


@app.command(epilog="Example: python -m trainer explain ttt")
def explain(key: Annotated[str, typer.Argument(help="A dotted key, or the start of one.")] = "") -> None:
    """What each field of a recipe means, its unit, default, and the stage it belongs to."""
    found = [info for name, info in FIELDS.items() if name == key or name.startswith(f"{key}." if key else "")]
    if not found:
        raise RecipeError("explain", [f"{key} is no recipe key{did_you_mean(key, FIELDS)}"])
    table = Table("key", "default", "unit", "stage", "meaning", box=None, pad_edge=False)
    for info in found:
        table.add_row(info.key, str(info.default), info.unit, " ".join(info.stages), _sentence(info))
    Console(highlight=False).print(table)


def _sentence(info: FieldInfo) -> str:
    choices = f" ({info.type_name})" if "|" in info.type_name else ""
    return f"{info.sentence}{choices}"


def main() -> None:
    """Entry point: people's mistakes end in a message and exit status 2."""
    exit_for_people(app)


def exit_for_people(command: Callable[[], object]) -> None:
    """Runs a command line; a UserError becomes its message on stderr and status 2, never a traceback."""
    try:
        command()
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(EXIT_WRONG)
