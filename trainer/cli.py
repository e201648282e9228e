"""`python -m trainer run|check|explain|score|data`: one recipe in, one record out, without Ray."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trainer.data_cli import data_app
from trainer.spec.certain_failures import refuse_certain_failure
from trainer.spec.checked_json import without_checksum
from trainer.spec.console import PlainConsole
from trainer.spec.environment import num_gpus
from trainer.spec.errors import Interrupted, RecipeError, UserError
from trainer.spec.exit_status import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_WRONG, exit_for_people, print_version
from trainer.spec.field_docs import fields_described, sentence_of
from trainer.spec.field_index import FIELDS, FieldInfo, fields_matching
from trainer.spec.fingerprint import configuration_id
from trainer.spec.launched import Launched, launched
from trainer.spec.load import load_preset, parse_overrides, spelled, unknown_key
from trainer.spec.messages import TEXT_BEGUN, Progress
from trainer.spec.number_options import not_negative
from trainer.spec.plain_group import PlainGroup
from trainer.spec.printable import printable, printable_json
from trainer.spec.recipe import Recipe
from trainer.spec.record import NAME_PATTERN, Record, run_id_of
from trainer.spec.units import human_bytes, human_seconds
from trainer.stages.checked_data import sound_data
from trainer.stages.run_record import RunRequest, adopt, keep_record
from trainer.store.mirror import USUAL_STORE, store_folder
from trainer.store.shared import stage_store

if TYPE_CHECKING:
    from trainer.liveness.check import Finding

PROGRESS_EVERY = 0.1
TABLE_WIDTH = 120
"""Characters that the table of `explain` needs so that no key is broken."""

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,  # of `python -m` no shell completes anything
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=__doc__,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


app.add_typer(data_app, name="data")
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the preset.")]
RowsOption = Annotated[Literal["text", "json"], typer.Option("--format", help="json: rows on stdout, nothing else.")]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        parser=store_folder,
        metavar="PLACE",
        help="Folder of runs and finished stages, or s3://BUCKET/PREFIX.",
    ),
]


@app.command(epilog="Example: python -m trainer run tiny --seed 1 --set ttt.mode=score_first --set ttt.lr=5e-3")
def run(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a recipe file.")],
    overrides: SetOption = [],  # noqa: B006 - typer reads the default, nobody changes it
    seed: Annotated[int | None, typer.Option(help="Seed of the run; default: the preset's.")] = None,
    store: StoreOption = USUAL_STORE,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; default: configuration and seed.")] = None,
    snapshot_every_s: Annotated[float, typer.Option(callback=not_negative, help="Seconds a kill may cost.")] = 60.0,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="json: the record as one line, nothing else.")
    ] = "text",
) -> None:
    """Train, compress and score one recipe; stages that the store holds are not run again.

    All GPUs of a machine train one recipe with torchrun --standalone --nproc-per-node 8 -m trainer run PRESET
    """
    values = parse_overrides(overrides) | ({} if seed is None else {"seed": seed})
    launch = launched()
    console = PlainConsole(stderr=True, quiet=launch is not None and launch.rank > 0)
    with _said_once(launch):
        loaded = load_preset(preset, values)
        refuse_certain_failure(loaded.recipe, f"preset {preset}")
        name = run_id or run_id_of(f"{loaded.name}-{configuration_id(loaded.recipe)}", loaded.recipe.seed)
        path = store / "single" / name / "run.json"
        request = RunRequest.of(name, loaded.name, loaded.recipe, path)
        record = _run(request, loaded.recipe, store, launch, console, snapshot_every_s)
    if launch is None or launch.rank == 0:
        if format == "json":
            print(printable_json(record.model_dump_json()))
        else:
            _print_record(record, path)
    if record.status != "done":
        console.print(Text.assemble((f"run {name} failed:", "red"), f" {record.error}"), soft_wrap=True)
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="Example: python -m trainer prepare tiny --store runs")
def prepare(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a recipe file.")],
    overrides: SetOption = [],  # noqa: B006
    store: StoreOption = USUAL_STORE,
) -> None:
    """Compute a recipe's tokenizer and shards ahead of its runs; a sweep does so while Ray starts."""
    _prepare(load_preset(preset, parse_overrides(overrides)).recipe, store, PlainConsole())


def _prepare(recipe: Recipe, store: Path, out: Console) -> None:
    from trainer.stages.pipeline import prepare_texts  # late: it starts torch

    for stage, computed in prepare_texts(recipe, stage_store(store)).items():
        out.print(f"{stage}: {'computed' if computed else 'in the store already'}")


def _check_name(name: str, path: Path, recipe: Recipe) -> None:
    """Refuses a name that is no file name, or one of another configuration's record."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UserError(f"--run-id '{name}' cannot name a run: use letters, digits, '.', '_' or '-'")
    if not path.exists():
        return
    try:
        record = Record.model_validate_json(without_checksum(path.read_bytes())[0])
        same = configuration_id(Recipe.model_validate(dict(record.recipe))) == configuration_id(recipe)
    except ValueError:
        return  # unreadable, or of an older version: it is replaced
    if not same or record.seed != recipe.seed:
        raise UserError(f"{path}: run id '{name}' belongs to another recipe; choose another --run-id")


@contextlib.contextmanager
def _said_once(launch: Launched | None) -> Iterator[None]:
    """An error that all processes of a launch meet is said by the first one; the others end with its exit status."""
    try:
        yield
    except UserError:
        if launch is None or launch.rank == 0:
            raise
        raise typer.Exit(EXIT_WRONG) from None


def _run(
    request: RunRequest,
    recipe: Recipe,
    store: Path,
    launch: Launched | None,
    console: Console,
    snapshot_every_s: float,
) -> Record:
    path = Path(request.record_path)
    if launch is None:
        _check_name(request.run_id, path, recipe)
        _say_idle_gpus(console)
    from trainer.ranks import Ranks  # late: these load torch, without which wrong names are refused
    from trainer.stages.launched_ranks import join_launched, on_first
    from trainer.stages.pipeline import run_pipeline

    ranks = join_launched(store) if launch else Ranks.alone()
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

    def stored() -> Record | None:
        if launch is not None:
            _check_name(request.run_id, path, recipe)
        path.unlink(missing_ok=True)  # the record is made again from the stages, which are kept
        _require_sound_data(recipe, store, console)
        record = adopt(request, stage_store(store), num_ranks=ranks.size)
        if record is not None:
            keep_record(request, record)
        return record

    try:
        record = on_first(ranks, stored) or run_pipeline(
            request, stage_store(store), ranks, report, stopping=stop.is_set, snapshot_every_s=snapshot_every_s
        )
    except Interrupted:
        console.print("interrupted; finished stages are kept, the same command goes on from there")
        ranks.leave()
        raise typer.Exit(EXIT_INTERRUPTED) from None
    ranks.leave()
    return record


def _say_idle_gpus(console: Console) -> None:
    if (gpus := num_gpus()) > 1:
        console.print(
            f"this machine has {gpus} GPUs, and this trains on 1 of them; on all of them: torchrun --standalone "
            f"--nproc-per-node {min(gpus, 8)} -m trainer run PRESET, or a sweep, of one configuration too: "
            f"orchestrator sweep SPACE.yaml --workers {min(gpus, 8)}",
            style="yellow",
            soft_wrap=True,
            highlight=False,
        )


def _require_sound_data(recipe: Recipe, store: Path, console: Console) -> None:
    """Refuses shards that may not be scored, and prints what should be known of the others."""
    if recipe.data.source == "shards":
        with console.status("checking the shards"):
            report = sound_data(recipe.data, store)
        for note in report.notes:
            console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def _print_record(record: Record, path: Path) -> None:
    """Prints scores, size, seconds of the stages and the record's path."""
    out = PlainConsole(soft_wrap=True)
    model_bytes = record.metric("export", "model_bytes")
    lines = [
        ("val_bpb", record.metric(record.headline, "val_bpb"), "bits per byte, the headline"),
        ("val_loss", record.metric(record.headline, "val_loss"), "nats per token"),
        ("sliding_bpb", record.metric("evaluate", "val_bpb"), "without test-time training"),
        ("roundtrip_bpb", record.metric("diagnose", "roundtrip_bpb"), "after quantisation, non-overlapping windows"),
        ("pre_quant_bpb", record.metric("diagnose", "pre_quant_bpb"), "before quantisation"),
        ("fit_cost_bpb", record.metric("diagnose", "fit_cost_bpb"), "what fitting the byte limit cost"),
    ]
    for name, value, meaning in lines:
        if isinstance(value, float):
            out.print(f"{name:<14} {value:.6f}  {meaning}")
    if record.headline in record.stages:
        out.print(f"{'text':<14} {_scored_text(record)}")
    if isinstance(model_bytes, int):
        out.print(f"{'model_bytes':<14} {model_bytes:,}  ({human_bytes(model_bytes)} of artifact)")
    for stage in record.stages.values():
        how = "computed" if stage.stage in record.stages_run else "from the store"
        out.print(f"{stage.stage:<14} {human_seconds(stage.seconds)}, {how}")
    out.print(f"record         {path}")


def _scored_text(record: Record) -> str:
    """Tokens, bytes and documents of the scored text."""
    counts = (
        (record.metric(record.headline, "num_tokens"), "tokens"),
        (record.metric(record.headline, "num_bytes"), "bytes"),
        (record.metric("val_text", "num_documents"), "documents"),
    )
    return ", ".join(f"{count:,} {unit}" for count, unit in counts if isinstance(count, int)) + " scored"


@app.command(epilog="Example: python -m trainer check pr549 --set model.xsa_layers=[10]")
def check(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a recipe file.")],
    overrides: SetOption = [],  # noqa: B006
    compiler: Annotated[
        str | None,
        typer.Option(
            help="Back end of the compiled checks; 'inductor' takes a minute. Without it graphs are captured, in "
            "seconds, if the recipe's training is compiled on a GPU."
        ),
    ] = None,
    size: Annotated[
        bool, typer.Option("--size/--no-size", help="Encode random weights of full size once; up to some minutes.")
    ] = True,
    prepare: Annotated[
        Path | None,
        typer.Option(parser=store_folder, metavar="PLACE", help="Then do what `prepare` does with this store."),
    ] = None,
    format: RowsOption = "text",
) -> None:
    """Show, on the recipe's nano sibling, that every switch does something, and how large the artifact may become."""
    from trainer.liveness import check as liveness  # late: it starts torch

    recipe = load_preset(preset, parse_overrides(overrides)).recipe
    out = PlainConsole(stderr=format == "json", soft_wrap=True)
    started_s = time.monotonic()
    findings = liveness.check_liveness(
        recipe, lambda finding: None if finding.alive else _print_dead(out, finding), compiler
    )
    dead = sum(not finding.alive for finding in findings)
    if size:
        _print_size(out, recipe)
    out.print(f"{len(findings) - dead} of {len(findings)} alive in {human_seconds(time.monotonic() - started_s)}")
    if format == "json":
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    if dead:
        raise typer.Exit(EXIT_FAILED)
    if prepare is not None:
        out.print(TEXT_BEGUN)
        _prepare(recipe, prepare, out)


def _print_size(out: Console, recipe: Recipe) -> None:
    from trainer.liveness.size import STD, size_of_random_model  # late: it starts torch

    size = size_of_random_model(recipe)
    beyond = size.model_bytes - size.limit_bytes
    verdict = (f"{beyond:,} too many", "yellow") if beyond > 0 else (f"{-beyond:,} to spare", "")
    coarser = f"; scales x {size.scale_multiplier:.3f}" if recipe.quantization.fit_bytes else ""
    what = f"artifact of a full-size model of random weights (Gaussian, standard deviation {STD})"
    limit = f" of {size.limit_bytes:,} beside the code{coarser}"
    out.print(Text.assemble(f"{what}: {size.model_bytes:,} bytes, ", verdict, limit))


def _print_dead(out: Console, finding: Finding) -> None:
    out.print(Text.assemble(("dead", "red"), f" {finding.name}: {finding.reason}"))


@app.command(epilog="Example: python -m trainer score final_model.pt --preset pr150_v21 --set model.bigram_first=zero")
def score(
    file: Annotated[Path, typer.Argument(help="A .pt or .ptz of the lineage, or an artifact of this program.")],
    preset: Annotated[str, typer.Option(help="The recipe whose model, text, windows and TTT are used.")],
    overrides: SetOption = [],  # noqa: B006
    store: StoreOption = USUAL_STORE,
    format: RowsOption = "text",
) -> None:
    """Score weights from a file; nothing in the file is executed."""
    from trainer.stages.score_file import score_file  # late: wrong arguments are reported without importing torch

    recipe = load_preset(preset, parse_overrides(overrides)).recipe
    console = PlainConsole(stderr=True)
    _require_sound_data(recipe, store, console)
    with console.status("scoring") as status:
        result = score_file(file, recipe, stage_store(store), lambda fraction: status.update(f"scoring {fraction:.0%}"))
    if format == "json":
        row = {name: value for name, value in vars(result).items() if name != "nll_P"}  # without the tensor
        print(json.dumps([row], indent=1))
        return
    out = PlainConsole(soft_wrap=True)
    out.print(f"{'val_bpb':<14} {result.val_bpb:.6f}  bits per byte")
    out.print(f"{'val_loss':<14} {result.val_loss:.6f}  nats per token")
    out.print(f"{'num_tokens':<14} {result.num_tokens:,}")
    out.print(f"{'num_bytes':<14} {result.num_bytes:,}")


@app.command(epilog="Example: python -m trainer sample runs/stages/export/FINGERPRINT/artifact.bin --prompt 'def '")
def sample(
    file: Annotated[Path, typer.Argument(help="An artifact of this program.", metavar="ARTIFACT")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    tokenizer: Annotated[
        Path | None, typer.Option(help="SentencePiece model; default: the one beside the artifact in its store.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Most tokens to add.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token; 1 draws as trained.")] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same text.")] = 0,
) -> None:
    """Text from an artifact: the prompt, continued by the model in the counted bytes."""
    PlainConsole(stderr=True).print(f"drawing at most {tokens:,} tokens ...", style="dim")
    from trainer.stages.sample import sample_text  # late: it starts torch

    text = sample_text(file, prompt, tokenizer, tokens, temperature, seed)
    print(printable(text))


@app.command(epilog="Example: python -m trainer explain ttt")
def explain(
    key: Annotated[str, typer.Argument(help="A dotted key, a part of it, or the start of one.")] = "",
    format: RowsOption = "text",
) -> None:
    """Meaning, unit, default and stages of each field of a recipe, found by its key, a part of it, or the start of one.

    `lr` names every learning rate, `model.ln` what starts with it, `muon` a section wherever it stands.
    """
    fields = [FIELDS[found] for found in fields_matching(key) or fields_described(key)]
    if not fields:
        raise RecipeError("explain", [unknown_key(key)])
    if format == "json":
        print(json.dumps([asdict(info) for info in fields], indent=1))
        return
    out = PlainConsole()
    if out.width < TABLE_WIDTH:
        for info in fields:
            out.print(Text(f"{info.key} = {spelled(info.default)}", style="bold"))
            out.print(Padding(Text(_facts(info)), (0, 0, 0, 2)))
        return
    table = Table("key", "default", "unit", "stage", "meaning", box=None, pad_edge=False)
    for info in fields:
        table.add_row(info.key, spelled(info.default), info.unit, " ".join(info.stages), _sentence(info))
    out.print(table)


def _facts(info: FieldInfo) -> str:
    """The sentence, unit and stages of a field, for terminals on which a table would break its words."""
    unit = f" Unit: {info.unit}." if info.unit else ""
    stages = f" Read by: {', '.join(info.stages)}." if info.stages else ""
    return f"{_sentence(info)}{unit}{stages}"


def _sentence(info: FieldInfo) -> str:
    choices = f" ({info.type_name})" if "|" in info.type_name else ""
    return f"{sentence_of(info)}{choices}"


def main() -> None:
    """Entry point: a UserError ends in a message and exit status 2."""
    exit_for_people(app)


if __name__ == "__main__":  # `python -m trainer.cli`
    main()
