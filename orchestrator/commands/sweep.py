"""`orchestrator plan`, `sweep`, `resume` and `confirm`: the commands that run something, or say what it would cost."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.commands.options import (
    Address,
    Inline,
    MetricsPort,
    MLflow,
    Name,
    NoCheck,
    OnEnd,
    Preset,
    Price,
    Seeds,
    Sets,
    Slots,
    SnapshotEvery,
    Space,
    Store,
    TensorBoard,
    TextOrJson,
    Trials,
    WaitForNodes,
    WandB,
    WarmStart,
    Workers,
    parse_seeds,
)
from orchestrator.output import console_for, print_rows, say
from trainer.spec.errors import UserError
from trainer.spec.exit_status import EXIT_FAILED, EXIT_INTERRUPTED
from trainer.spec.number_options import finite
from trainer.store.mirror import USUAL_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.run.drive_options import DriveOptions
    from orchestrator.run.driver import End
    from orchestrator.run.on_end import EndCommand
    from orchestrator.run.tracking import Trackers
    from orchestrator.search.run_queue import RunQueue
    from orchestrator.space.search_space import SearchSpace
    from orchestrator.sweep.sweep import Sweep


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
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the price from this file of orchestrator/cluster/.")
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Also say how many seeds detect this gain, in the unit compared."),
    ] = None,
    spread_from: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take the spread between seeds from this sweep, or import.")
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(callback=finite, metavar="SD", help="Assume this standard deviation between seeds or pairs."),
    ] = None,
    per: Annotated[Literal["stage", "run"], typer.Option(help="A line per stage, or per run.")] = "stage",
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """What a sweep would run and cost, the smallest gain its seeds can detect, and what the store holds already.

    Starts no Ray, and torch only in a process of its own, to estimate the bytes of large artifacts. Of the name of an
    import: what more seeds of its configurations would detect.
    """
    from orchestrator.plan.estimate import plan_here
    from orchestrator.plan.spread_from import import_plan_lines, import_plan_rows, with_assumed_spread, with_spread_of
    from orchestrator.plan.table import plan_rows, plan_text, run_rows, runs_text
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.left_out import left_out_of_estimates
    from orchestrator.sweep.lost_records import demand_undamaged

    if not space.exists() and (imported := find_import(store, str(space))):
        if format == "json":
            print_rows(import_plan_rows(imported))
        else:
            console_for().print("\n".join(import_plan_lines(imported, gain)), soft_wrap=True)
        return
    if cluster is not None:
        price = price_of(cluster, price)
    made = plan_here(_search_space(space, preset, overrides, seeds, trials, warm_start, price), slots, workers, store)
    if spread is not None and spread_from is not None:
        raise UserError(f"--spread {spread:g} and --spread-from {spread_from}: two spreads; give one of them")
    if spread is not None and made.evidence is not None:
        made = replace(made, evidence=with_assumed_spread(made.evidence, spread))
    if spread_from is not None and made.evidence is not None:
        made = replace(made, evidence=with_spread_of(made.evidence, store, spread_from))
    if format == "json":
        print_rows(plan_rows(made) if per == "stage" else run_rows(made))
    else:
        console = console_for()
        console.print(plan_text(made, gain) if per == "stage" else runs_text(made))
    demand_undamaged(left_out_of_estimates(store, made.space.preset))


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
    wait_for_nodes: WaitForNodes = None,
    metrics_port: MetricsPort = None,
    inline: Inline = False,
    snapshot_every_s: SnapshotEvery = 60.0,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
    wandb: WandB = None,
    no_check: NoCheck = False,
    on_end: OnEnd = None,
    name: Annotated[str | None, typer.Option(help="Its name; default: the file's.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Run a sweep, or what is missing of it, and end in a table, a verdict and a figure."""
    from orchestrator.run.on_end import EndCommand
    from orchestrator.run.tracking import Trackers
    from orchestrator.search.run_queue import default_lag
    from orchestrator.sweep.sweep import open_sweep
    from orchestrator.sweep.warm_start import precedents_of

    at_end = EndCommand.of(on_end)
    search_space = _search_space(space, preset, overrides, seeds, trials, warm_start, price)
    trackers = Trackers(tensorboard, mlflow, wandb)
    options = _options(
        slots, workers, address, inline, snapshot_every_s, not no_check, trackers, wait_for_nodes, metrics_port
    )
    opened = open_sweep(
        store,
        search_space,
        name=name,
        lag=default_lag(search_space, slots),
        precedents=lambda: precedents_of(store, search_space),
    )
    _drive(opened, options, format, at_end)


def resume(
    name: Name,
    slots: Slots = None,
    workers: Workers = None,
    address: Address = None,
    wait_for_nodes: WaitForNodes = None,
    metrics_port: MetricsPort = None,
    inline: Inline = False,
    snapshot_every_s: SnapshotEvery = 60.0,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = None,
    wandb: WandB = None,
    no_check: NoCheck = False,
    on_end: OnEnd = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed runs again, once their cause is fixed.")
    ] = False,
    trust: Annotated[list[str], typer.Option(help="A quarantined machine that may run again.")] = [],  # noqa: B006
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Continue a sweep that was interrupted or killed; nothing finished is run again."""
    from orchestrator.run.on_end import EndCommand
    from orchestrator.run.tracking import Trackers
    from orchestrator.sweep.quarantine import trust_machine
    from orchestrator.sweep.sweep import find_sweep
    from trainer.store.unreadable import named_in_faults

    at_end = EndCommand.of(on_end)
    trackers = Trackers(tensorboard, mlflow, wandb)
    options = _options(
        slots, workers, address, inline, snapshot_every_s, not no_check, trackers, wait_for_nodes, metrics_port
    )
    opened = find_sweep(store, name)
    with named_in_faults(opened.folder), opened.lock():
        for machine in trust:
            trust_machine(opened, machine)
    _drive(opened, options, format, at_end, retry_failed)


def confirm(
    name: Name,
    config: Annotated[str | None, typer.Option(help="A configuration: its id or words; default: the best.")] = None,
    num_seeds: Annotated[
        int | None, typer.Option(help="Fresh seeds; default: enough for the gain seen.", min=2)
    ] = None,
    slots: Slots = None,
    workers: Workers = None,
    address: Address = None,
    wait_for_nodes: WaitForNodes = None,
    inline: Inline = False,
    no_check: NoCheck = False,
    on_end: OnEnd = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Run the winner and the baseline again on fresh seeds, declared beforehand: a test free of selection bias."""
    from orchestrator.analysis.confirm import num_seeds_for, open_confirmation, winner_of
    from orchestrator.analysis.sweep_table import rows_of
    from orchestrator.run.drive_options import DriveOptions
    from orchestrator.run.on_end import EndCommand
    from orchestrator.space.configuration import label
    from orchestrator.sweep.sweep import find_sweep

    at_end = EndCommand.of(on_end)
    source = find_sweep(store, name)
    frame = rows_of(source)
    winner = winner_of(source, frame, config)
    opened = open_confirmation(source, winner, num_seeds or num_seeds_for(source, frame, winner))
    seeds = ", ".join(str(seed) for seed in opened.space.seeds)
    console_for(stderr=format == "json").print(
        f"sweep {opened.name}: {label(winner, source.space)} and the baseline on fresh seeds {seeds}", soft_wrap=True
    )
    options = DriveOptions(slots, workers, address, inline, check=not no_check, wait_for_nodes_s=wait_for_nodes)
    _drive(opened, options, format, at_end)


def price_of(cluster: Path, price: float | None) -> float:
    """USD for one GPU-hour by a cluster's file. Raises UserError when a price is given as well."""
    from orchestrator.cluster.price import read_price

    if price is not None:
        raise UserError(f"--price {price:g} and --cluster {cluster}: two prices; give one of them")
    return read_price(cluster).usd_per_gpu_hour


def _search_space(
    path: Path,
    preset: str | None,
    overrides: list[str],
    seeds: str | None,
    trials: int | None,
    warm_start: list[str],
    price: float | None,
) -> SearchSpace:
    from orchestrator.space.load_space import load_space
    from trainer.spec.load import parse_overrides

    read = load_space(
        path,
        preset=preset,
        overrides=parse_overrides(overrides),
        seeds=parse_seeds(seeds),
        trials=trials,
        warm_start=warm_start,
    )
    for note in read.notes:
        console_for(stderr=True).print(note, soft_wrap=True)
    return read if price is None else read.at_price(price)


def _options(
    slots: int | None,
    workers: int | None,
    address: str | None,
    inline: bool,
    snapshot_every_s: float,
    check: bool,
    trackers: Trackers,
    wait_for_nodes: float | None,
    metrics_port: int | None,
) -> DriveOptions:
    from orchestrator.run.drive_options import DriveOptions

    trackers.check()
    options = DriveOptions(
        slots, workers, address, inline, snapshot_every_s, check, trackers, wait_for_nodes, metrics_port
    )
    options.demand_usable()
    return options


def _drive(
    sweep: Sweep, options: DriveOptions, format: str, on_end: EndCommand | None, retry_failed: bool = False
) -> None:
    """Runs what is missing, prints how it ended, and ends the command with its status; `on_end` is run whatever the end
    was, also when it is an error."""
    console = console_for(stderr=format == "json")
    console.keep_working = f"the output is closed; the sweep goes on, to be watched by: {sweep.command('status')}"
    facts: dict[str, object] = {"outcome": "error", "sweep": sweep.name, "store": sweep.store, "folder": sweep.folder}
    try:
        facts["outcome"], status = _driven(sweep, options, console, format, retry_failed)
    except UserError as mistake:
        facts["error"] = mistake
        raise
    finally:
        if on_end is not None:
            from orchestrator.analysis.end_facts import end_facts  # late: most sweeps need none

            on_end.run(facts | end_facts(sweep, str(facts["outcome"])), console)
    if status:
        raise typer.Exit(status)


def _driven(sweep: Sweep, options: DriveOptions, console: Console, format: str, retry_failed: bool) -> tuple[str, int]:
    """Outcome in a word, and exit status."""
    from orchestrator.analysis.summary import conclude, stranded_lines
    from orchestrator.sweep.left_out import WITHOUT, left_out_of_estimates

    for line in left_out_of_estimates(sweep.store, sweep.preset, sweep.name):
        console.print(f"{WITHOUT} {line}", style="red", soft_wrap=True)
    end, queue = run_sweep(sweep, options, console, retry_failed)
    if end == "stranded":
        for line in stranded_lines(sweep, queue.total_runs):
            console.print(line, style="red", soft_wrap=True)
    if end == "interrupted":
        console.print(  # counted on disk: a run may have ended after the driver last listened
            f"interrupted: {len(sweep.records())} of {queue.total_runs} runs are kept. "
            f"Go on with:\n  {sweep.command('resume')}",
            soft_wrap=True,
        )
    if end == "complete" or format == "json":
        conclude(sweep, console, format)
    if end == "interrupted":
        return end, EXIT_INTERRUPTED
    failed = any(record.status == "failed" for record in queue.records.values())
    return "failed" if failed and end == "complete" else end, EXIT_FAILED if failed or end == "stranded" else 0


def run_sweep(
    sweep: Sweep, options: DriveOptions, console: Console, retry_failed: bool = False
) -> tuple[End, RunQueue]:
    """Runs what is missing of an opened sweep, printing its progress; how it ended, and its queue."""
    from orchestrator.plan.estimate import plan_here
    from orchestrator.plan.forecast import forecast_lines
    from orchestrator.plan.table import plan_rows
    from orchestrator.run.driver import drive
    from orchestrator.sweep.damage import set_aside_faults
    from orchestrator.sweep.discard import discarded_unless_begun
    from orchestrator.sweep.notes import keep_plan
    from orchestrator.sweep.open_queue import queue_of
    from orchestrator.sweep.same_text import refuse_other_text
    from orchestrator.sweep.warm_start import precedent_lines
    from trainer.store.shared import stage_store
    from trainer.store.unreadable import named_in_faults

    if sweep.note:
        console.print(sweep.note, soft_wrap=True)
    for line in precedent_lines(sweep.precedents):
        console.print(line, soft_wrap=True)
    if sweep.space.takes_turns:
        if (options.slots or 1) > 1:
            raise UserError(
                f"--slots {options.slots}: {sweep.space.compare.metric} is compared, so runs take turns; use 1"
            )
        options = replace(options, slots=1)
    with named_in_faults(sweep.folder), sweep.lock():
        for line in set_aside_faults(sweep, stage_store(sweep.store)):
            console.print(line, style="yellow", soft_wrap=True)
        if retry_failed:
            console.print(f"{sweep.set_aside_failed()} failed runs are run again")
        refuse_other_text(sweep)
        stored = False
        if begins := not sweep.asked():  # keep what is expected now, to compare with at the end
            planned = plan_here(sweep.space, options.slots, options.workers, sweep.store, options.inline)
            keep_plan(sweep.folder, plan_rows(planned))
            for line in forecast_lines(planned, sweep.command("status")):
                say(console, line, indent=0)
            say(console, planned.test_reason, "dim", indent=0)
            stored = planned.all_stored
        queue = queue_of(sweep)
        if len(queue.records) == queue.total_runs:
            console.print(f"nothing to run: all {queue.total_runs} runs are recorded")
        end: End = "interrupted"
        with contextlib.suppress(KeyboardInterrupt), discarded_unless_begun(sweep):
            # Ctrl-C before the driver listens, or a second one
            end = drive(sweep, queue, options, console, may_be_finished=stored or not begins)
    return end, queue
