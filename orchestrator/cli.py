"""`orchestrator`: plan a sweep, run it, look at it, compare it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.cache_cli import cache
from orchestrator.next_cli import next_
from orchestrator.options import (
    RUNS,
    Address,
    Inline,
    MLflow,
    Name,
    NoCheck,
    Policy,
    Preset,
    Price,
    Seeds,
    Sets,
    Slots,
    SnapshotEvery,
    Space,
    Store,
    TableFormat,
    TensorBoard,
    TextOrJson,
    Trials,
    WandB,
    WarmStart,
    Workers,
    parse_seeds,
)
from orchestrator.output import console_for, print_rows
from orchestrator.question import SearchSpace
from orchestrator.space import load_space
from orchestrator.tracking import Trackers
from trainer.cli import EXIT_FAILED, EXIT_INTERRUPTED, exit_for_people
from trainer.spec.errors import UserError
from trainer.spec.load import parse_overrides
from trainer.spec.mirror import store_name, store_option
from trainer.stages.shared import stage_store

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(cache, name="cache")
app.command("next", epilog="Example: orchestrator next ttt --budget-seconds 3600 --format json")(next_)


@app.command(epilog="Example: orchestrator plan search_spaces/ttt.yaml")
def plan(
    space: Space,
    preset: Preset = None,
    overrides: Sets = [],  # noqa: B006 - typer reads the default, nobody changes it
    seeds: Seeds = None,
    trials: Trials = None,
    warm_start: WarmStart = [],  # noqa: B006
    slots: Slots = None,
    workers: Workers = None,
    price: Price = None,
    gain: Annotated[float | None, typer.Option(min=0, help="How many seeds show this gain? Bits per byte.")] = None,
    per: Annotated[Literal["stage", "run"], typer.Option(help="A line per stage, or per run.")] = "stage",
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """What a sweep would run, cost and prove, and what is in the store already. Starts neither torch nor Ray."""
    from orchestrator.plan import plan_here
    from orchestrator.plan_table import plan_rows, plan_text, run_rows, runs_text

    made = plan_here(_question(space, preset, overrides, seeds, trials, warm_start, price), slots, workers, store)
    if format == "json":
        print_rows(plan_rows(made) if per == "stage" else run_rows(made))
    else:
        console = console_for()
        console.print(plan_text(made, gain) if per == "stage" else runs_text(made))


@app.command(epilog="Example: orchestrator sweep search_spaces/ttt.yaml --seeds 1,2,3")
def sweep(
    space: Space,
    preset: Preset = None,
    overrides: Sets = [],  # noqa: B006
    seeds: Seeds = None,
    trials: Trials = None,
    warm_start: WarmStart = [],  # noqa: B006
    slots: Slots = None,
    workers: Workers = None,
    price: Price = None,
    address: Address = None,
    inline: Inline = False,
    snapshot_every_s: SnapshotEvery = 60.0,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
    wandb: WandB = None,
    no_check: NoCheck = False,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; default: the file's.")] = None,
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """Run a sweep, or what is missing of it, and end in a table, a verdict and a figure."""
    from orchestrator.journal import open_sweep
    from orchestrator.precedents import precedents_of
    from orchestrator.run_queue import default_lag

    question = _question(space, preset, overrides, seeds, trials, warm_start, price)
    trackers = Trackers(tensorboard, mlflow, wandb)
    options = _options(slots, workers, address, inline, snapshot_every_s, not no_check, trackers)
    found = open_sweep(
        store,
        question,
        name=name,
        lag=default_lag(question, slots),
        precedents=lambda: precedents_of(store, question),
    )
    _drive(found, options, store, format)


@app.command(epilog="Example: orchestrator resume ttt")
def resume(
    name: Name,
    slots: Slots = None,
    workers: Workers = None,
    address: Address = None,
    inline: Inline = False,
    snapshot_every_s: SnapshotEvery = 60.0,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
    wandb: WandB = None,
    no_check: NoCheck = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed runs again, once mended.")] = False,
    trust: Annotated[list[str], typer.Option(help="A quarantined machine that may run again.")] = [],  # noqa: B006
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """Go on with a sweep that was interrupted or killed; nothing finished is run again."""
    from orchestrator.journal import find_sweep
    from orchestrator.quarantine import trust_machine

    trackers = Trackers(tensorboard, mlflow, wandb)
    options = _options(slots, workers, address, inline, snapshot_every_s, not no_check, trackers)
    found = find_sweep(store, name)
    with found.lock():
        for machine in trust:
            trust_machine(found, machine)
    _drive(found, options, store, format, retry_failed)


@app.command(epilog="Example: orchestrator confirm ttt")
def confirm(
    name: Name,
    config: Annotated[str | None, typer.Option(help="A configuration; default: the best of the sweep.")] = None,
    num_seeds: Annotated[
        int | None, typer.Option(help="Fresh seeds; default: enough for the gain seen.", min=2)
    ] = None,
    slots: Slots = None,
    workers: Workers = None,
    address: Address = None,
    inline: Inline = False,
    no_check: NoCheck = False,
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """Run the winner and the baseline again, on fresh seeds declared beforehand: what they say is a proof."""
    from orchestrator.conclude import rows_of
    from orchestrator.confirm import confirmation_of, num_seeds_for, winner_of
    from orchestrator.driver import DriveOptions
    from orchestrator.journal import find_sweep, open_sweep

    chosen_in = find_sweep(store, name)
    frame = rows_of(chosen_in)
    winner = winner_of(chosen_in, frame, config)
    question = confirmation_of(chosen_in, winner, num_seeds or num_seeds_for(chosen_in, frame, winner))
    found = open_sweep(store, question, purpose="confirm")
    seeds = ", ".join(str(seed) for seed in found.space.seeds)
    console_for(stderr=format == "json").print(
        f"sweep {found.name}: {winner.id} and the baseline on fresh seeds {seeds}", soft_wrap=True
    )
    _drive(found, DriveOptions(slots, workers, address, inline, check=not no_check), store, format)


@app.command(epilog="Example: orchestrator status ttt")
def status(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; default: the newest.")] = None,
    watching: Annotated[bool, typer.Option("--watch", help="Go on showing it until it ends.")] = False,
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """Where a sweep stands; works from another terminal while it runs."""
    from orchestrator.journal import find_sweep, list_sweeps
    from orchestrator.standing import print_standing, standing, watch

    if name is None and not list_sweeps(store):
        raise UserError(
            f"{store_name(store)}: no sweeps yet; start one with: "
            f"orchestrator sweep search_spaces/ttt.yaml{store_option(store)}"
        )
    found = find_sweep(store, name) if name else list_sweeps(store)[-1]
    if format == "json":
        print_rows([standing(found)])
        return
    (watch if watching else print_standing)(found, console_for())


@app.command("list", epilog="Example: orchestrator list --format json")
def list_(store: Store = RUNS, format: TextOrJson = "text") -> None:
    """All sweeps of the store."""
    from orchestrator.journal import damaged_sweeps, list_sweeps
    from orchestrator.standing import listing_line, standing

    rows = [standing(found) for found in list_sweeps(store)]
    for damaged in damaged_sweeps(store):
        console_for(stderr=True).print(f"left out: sweep '{damaged}': its journal cannot be read", style="red")
    for row in rows:
        row.pop("live")
    if format == "json":
        print_rows(rows)
        return
    lines = [listing_line(row) for row in rows] or [
        f"{store_name(store)}: no sweeps yet; start one: orchestrator sweep FILE{store_option(store)}"
    ]
    console_for().print("\n".join(lines), soft_wrap=True)


@app.command(epilog="Example: orchestrator table ttt --per run --format csv > rows.csv")
def table(
    name: Name,
    per: Annotated[Literal["run", "config"], typer.Option(help="A row per run, or per configuration.")] = "config",
    format: TableFormat = "text",
    store: Store = RUNS,
) -> None:
    """The rows of a sweep, per run or per configuration: n, mean, sd, 95% interval, best."""
    from orchestrator.conclude import print_table
    from orchestrator.journal import find_sweep

    print_table(find_sweep(store, name), per, format)


@app.command(epilog="Example: orchestrator compare ttt --baseline record:1413 --margin 0.005")
def compare(
    name: Name,
    baseline: Annotated[
        str | None, typer.Option(help="A configuration, sweep:NAME, record:PR, record:frontier; default: the space's.")
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Gain that counts, in the unit; default: the space's.")] = None,
    unit: Annotated[Literal["nats", "bpb"] | None, typer.Option(help="Unit of the margin.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Largest probability of a false 'better'.")] = None,
    policy: Policy = None,
    format: TextOrJson = "text",
    store: Store = RUNS,
) -> None:
    """Is it really better? Every configuration against a baseline, with a test of significance.

    With --policy: would it be accepted, by the rule of that name?
    """
    from orchestrator.acceptance import print_acceptance
    from orchestrator.conclude import print_comparison
    from orchestrator.journal import find_sweep

    if policy is not None:
        said = [name for name, value in (("margin", margin), ("unit", unit), ("alpha", alpha)) if value is not None]
        if said:
            raise UserError(f"--policy {policy} brings its own thresholds; leave out --{', --'.join(said)}")
        print_acceptance(find_sweep(store, name), store, policy, baseline, format)
        return
    print_comparison(find_sweep(store, name), store, baseline, margin, unit, alpha, format)


@app.command(epilog="Example: orchestrator records pr1530 --policy pg-written")
def records(
    record: Annotated[str | None, typer.Argument(help="A name or pull request; default: all in turn.")] = None,
    policy: Policy = None,
    format: TextOrJson = "text",
) -> None:
    """Published records, and what a policy says of them: would they be accepted by their own rule?"""
    from orchestrator.acceptance import print_records

    print_records(record, policy, format)


@app.command(epilog="Example: orchestrator report ttt --out ttt.html")
def report(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The file; default: report.html in the sweep's folder.")] = None,
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """One self-contained HTML page: verdict, ranking, figures, budget, failures, how to reproduce."""
    from orchestrator.dossier import dossier_of
    from orchestrator.journal import find_sweep
    from results.report import write_report

    found = find_sweep(store, name)
    page = write_report(dossier_of(found), out or found.folder / "report.html")
    if format == "json":
        print_rows([{"sweep": found.name, "report": str(page)}])
    else:
        print(page)


@app.command(epilog="Example: orchestrator schema space > space.schema.json")
def schema(
    what: Annotated[Literal["space", "recipe", "rows"], typer.Argument(help="Files to check, or the rows to read.")],
) -> None:
    """JSON Schema: of search spaces and recipes for editors, of every command's `--format json` rows for programs."""
    from orchestrator.output import schema_of_rows
    from orchestrator.space_schema import schema_of_space
    from trainer.spec.schema import schema_of_recipe

    made = {"space": schema_of_space, "recipe": schema_of_recipe, "rows": schema_of_rows}[what]
    print(json.dumps(made(), indent=1))


def _question(
    path: Path,
    preset: str | None,
    overrides: list[str],
    seeds: str | None,
    trials: int | None,
    warm_start: list[str],
    price: float | None,
) -> SearchSpace:
    found = load_space(
        path,
        preset=preset,
        overrides=parse_overrides(overrides),
        seeds=parse_seeds(seeds),
        trials=trials,
        warm_start=warm_start,
    )
    return found if price is None else found.at_price(price)


def _options(
    slots: int | None,
    workers: int | None,
    address: str | None,
    inline: bool,
    snapshot_every_s: float,
    check: bool,
    trackers: Trackers,
) -> Any:
    from orchestrator.driver import DriveOptions

    trackers.check(inline)
    return DriveOptions(slots, workers, address, inline, snapshot_every_s, check, trackers)


def _drive(found: Any, options: Any, store: Path, format: str, retry_failed: bool = False) -> None:
    from orchestrator.conclude import conclude, stranded_lines
    from orchestrator.driver import End, drive
    from orchestrator.feed import refuse_other_text
    from orchestrator.kept_plan import keep_plan
    from orchestrator.plan import plan_here
    from orchestrator.plan_table import plan_rows
    from orchestrator.precedents import precedent_lines
    from orchestrator.run_queue import queue_of

    console = console_for(stderr=format == "json")
    if found.note:
        console.print(found.note, soft_wrap=True)
    for line in precedent_lines(found.precedents):
        console.print(line, soft_wrap=True)
    with found.lock():
        if retry_failed:
            console.print(f"{found.set_aside_failed()} failed runs are done again")
        refuse_other_text(found)
        if not found.asked():  # nothing is begun: the end is held against what is expected now
            planned = plan_here(found.space, options.slots, options.workers, store, options.inline)
            keep_plan(found.folder, plan_rows(planned))
        queue = queue_of(found)
        if len(queue.records) == queue.total_runs:
            console.print(f"nothing to run: all {queue.total_runs} runs are recorded")
        end: End = "interrupted"
        with contextlib.suppress(KeyboardInterrupt):  # before the driver listens, or a second Ctrl-C
            end = drive(found, queue, stage_store(store), options, console)
    if end == "stranded":
        for line in stranded_lines(found, queue.total_runs):
            console.print(line, style="red", soft_wrap=True)
    if end == "interrupted":
        console.print(  # counted on disk: a run may have ended after the driver last listened
            f"interrupted: {len(found.records())} of {queue.total_runs} runs are kept. "
            f"Go on with:\n  {found.command('resume')}",
            soft_wrap=True,
        )
    if end == "complete" or format == "json":
        conclude(found, console, format)
    if end == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if end == "stranded" or any(record.status == "failed" for record in queue.records.values()):
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Entry point: people's mistakes end in a message and exit status 2."""
    exit_for_people(app)
