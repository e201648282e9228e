"""Keys of a W&B sweep file that a search space does not have, each with why and what to write instead.

The distributions and keys that it does have are read as W&B defines them: `orchestrator.space.distribution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LAUNCH = "a sweep here runs recipes on its own slots, not W&B Launch jobs; remove it: preset: tiny names the recipe"
CUSTOM = "a search here is one of grid, random, tpe, cmaes, gp; remove it and write method: tpe"
REFUSED: Mapping[str, str] = {
    "early_terminate": "runs are not cut short: a cooldown decides at the end; prune configurations after short "
    "schedules instead, stopping: {rule: asha} or {rule: median}, or between seeds, stopping: {rule: race}",
    "project": "where results are shown is no part of a search space; remove it and start with --wandb PROJECT",
    "entity": "where results are shown is no part of a search space; remove it and set WANDB_ENTITY, which W&B reads",
    "controller": "configurations are chosen by the command that runs the sweep; remove it",
    "scheduler": CUSTOM,
    "metrics": "configurations are ranked by one column, with limits on others; write metric: {name: val_bpb}, and "
    "for example constraints: {eval_s: {max: 600}}",
    "job": LAUNCH,
    "image_uri": LAUNCH,
    "apiVersion": "the file has no versions; remove it",
    "kind": "the file is always a sweep; remove it",
}
"""Top-level keys."""
LEFT_OUT: Mapping[str, str] = {
    "early_terminate": "left out: the runs of a program are not cut short, all of them end in a score",
    "project": "left out; start with --wandb PROJECT to have the runs there too",
    "entity": "left out; W&B reads WANDB_ENTITY",
    "metric.target": "left out: all configurations of a sweep run, so that its verdict keeps its error rate",
    "$schema": "left out; that of these files is printed by: orchestrator schema space",
}
"""Keys of a W&B file with a program that say nothing about its runs: named, and left out."""
REFUSED_OF_METRIC: Mapping[str, str] = {
    "target": "a sweep runs all of its configurations, so that its verdict keeps its error rate; remove it and limit "
    "them, run_cap: 20",
    "impute": "a failed configuration always counts as the worst; remove it",
    "impute_while_running": "a configuration counts once all its seeds have ended; remove it",
}
"""Keys of `metric`."""


def refused_keys(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and complaint of each key of W&B in the file that a search space does not have."""
    for key in tree:
        if key in REFUSED:
            yield (key,), f"{key}: {REFUSED[key]}{_as_stopping(key, tree[key])}"
    metric = tree.get("metric")
    for key in metric if isinstance(metric, Mapping) else ():
        if key in REFUSED_OF_METRIC:
            yield ("metric", key), f"metric.{key}: {REFUSED_OF_METRIC[key]}"
    if tree.get("method") == "custom":
        yield ("method",), f"method = 'custom': {CUSTOM}"
    if isinstance(tree.get("sweep"), Mapping):
        yield ("sweep",), "sweep: the keys stand at the top of the file; remove this line and the indentation below it"


def left_out(tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Paths of the keys of LEFT_OUT that a file has."""
    for key in LEFT_OUT:
        first, _, last = key.partition(".")
        block = tree.get(first)
        if first in tree and (not last or (isinstance(block, Mapping) and last in block)):
            yield (first, last) if last else (first,)


def without(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The file without the key at a path of one or two keys."""
    if len(path) == 1:
        return {key: value for key, value in tree.items() if key != path[0]}
    return {**tree, path[0]: without(tree[path[0]], path[1:])}


def _as_stopping(key: str, block: Any) -> str:
    eta = block.get("eta") if isinstance(block, Mapping) else None
    if key != "early_terminate" or not isinstance(eta, int) or eta < 2:
        return ""
    return f"; nearest to this one: stopping: {{rule: asha, eta: {eta}}}"
