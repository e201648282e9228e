"""`orchestrator cluster`: check every node; and Ray's own launcher, for files that ask for a token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from orchestrator.commands.options import Address, Store, TextOrJson
from orchestrator.output import console_for, print_rows
from trainer.spec.exit_status import EXIT_FAILED
from trainer.spec.units import human_count
from trainer.store.mirror import USUAL_STORE

cluster = typer.Typer(no_args_is_help=True, help="Check the nodes of a cluster; start and end one by Ray's launcher.")
File = Annotated[Path, typer.Argument(help="A file of Ray's cluster launcher.", metavar="FILE.yaml")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before machines are started or ended.")]


@cluster.command(epilog="Example: orchestrator cluster check --address auto --store s3://my-bucket/runs")
def check(address: Address = None, store: Store = USUAL_STORE, format: TextOrJson = "text") -> None:
    """Look at every node: package, versions, GPUs, store, clock, disk. Exit status 1 if one cannot compute."""
    from orchestrator.cluster.node_check import check_cluster

    rows = check_cluster(address, store)
    if format == "json":
        print_rows(rows)
    else:
        _print_nodes(rows)
    if any(row["faults"] for row in rows):
        raise typer.Exit(EXIT_FAILED)


def _print_nodes(rows: list[dict[str, Any]]) -> None:
    out = console_for()
    table = Table(
        "node", "gpus", "torch", "driver", "attention", "store", "clock", "free", "writes", box=None, pad_edge=False
    )
    for row in rows:
        gpus = f"{row['gpus']}" if row["torch_gpus"] is None else f"{row['torch_gpus']} of {row['gpus']}"
        table.add_row(
            row["node"],
            gpus,
            row["torch"],
            row["driver"] or "-",
            row["attention"],
            "yes" if row["sees_store"] else "no",
            f"{row['clock_s']:+.1f} s",
            f"{row['free_bytes'] / 1e9:,.0f} GB",
            f"{row['write_bytes_per_s'] / 1e6:,.0f} MB/s",
        )
    out.print(table)
    for row in rows:
        for fault in row["faults"]:
            out.print(f"{row['node']}: {fault}", style="red", soft_wrap=True, markup=False, highlight=False)
    if not any(row["faults"] for row in rows):
        out.print(f"{human_count(len(rows), 'node')} can compute")


@cluster.command(epilog="Example: orchestrator cluster up orchestrator/cluster/aws.yaml")
def up(file: File, yes: Yes = False) -> None:
    """Start the cluster of a file by `ray up`, with a token that all its nodes share."""
    _launch("up", file, yes)


@cluster.command(epilog="Example: orchestrator cluster down orchestrator/cluster/aws.yaml")
def down(file: File, yes: Yes = False) -> None:
    """End every machine of the cluster of a file by `ray down`."""
    _launch("down", file, yes)


@cluster.command(epilog="Example: orchestrator cluster status orchestrator/cluster/aws.yaml")
def status(file: File) -> None:
    """Nodes, and what is asked for, by `ray status` on the head."""
    _launch("status", file, False)


def _launch(verb: Any, file: Path, yes: bool) -> None:
    from orchestrator.cluster.launcher import launch

    if ended := launch(verb, file, yes):
        raise typer.Exit(ended)
