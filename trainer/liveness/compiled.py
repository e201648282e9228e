"""The liveness check of compiled training: late switches act, and no graph is compiled after the clock has started.

Uses few layers, since compile time grows with their number and a switch is removed by the compiler at any depth. The
default back end only captures the graphs (seconds); a real compiler takes about a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.liveness.bench import STEPS, Bench, Finding, differs, last_weights, same_weights
from trainer.spec.load import with_values
from trainer.spec.recipe import Recipe
from trainer.spec.record import Metric
from trainer.stages.compiling import drop_graphs, recompile_reason
from trainer.stages.train import train_model

CAPTURE = "eager"
"""Torch's back end that captures graphs and runs them with eager operators, so that the bits are the same."""
NUM_LAYERS = 3


def compiled_findings(folder: Path, recipe: Recipe, late: Mapping[str, Any], compiler: str) -> Iterator[Finding]:
    """Compares compiled with eager training, and each late switch with its off value.

    late:  the recipe's switches that act late, with their off values
    """
    bench = Bench(folder, shallow(recipe))
    weights, metrics = _trained(bench, {}, compiler)
    inside = metrics["graphs_inside_clock"]
    reason = f"{inside} compiled after the warm-up; the last because {recompile_reason()}" if inside else ""
    yield Finding("graphs inside the clock", not inside, reason)
    if compiler == CAPTURE:
        same = same_weights(weights, bench.trained({}, STEPS, clipped=True))
        yield Finding("compiled training", same, "" if same else "the trained weights differ from those of eager steps")
    for key, off in late.items():
        if compiler == CAPTURE:
            without = bench.trained({key: off}, STEPS, clipped=True)
        else:
            without, _ = _trained(bench, {key: off}, compiler)
        finding = differs(key, off, "the weights of compiled training", not same_weights(weights, without))
        yield Finding(f"compiled {finding.name}", finding.alive, finding.reason)


def shallow(recipe: Recipe) -> Recipe:
    """The recipe with few layers; positions of layers are scaled with the depth."""
    model = recipe.model
    num_layers = min(model.num_layers, NUM_LAYERS)

    def scaled(layer: int) -> int:
        return layer * num_layers // model.num_layers

    values = {
        "model.num_layers": num_layers,
        "model.xsa_layers": sorted({scaled(layer) for layer in model.xsa_layers}),
        "model.value_embed_layers": sorted({scaled(layer) for layer in model.value_embed_layers}),
        "model.parallel_from": scaled(model.parallel_from),
        "model.recur_first": scaled(model.recur_first),
        "model.recur_last": scaled(model.recur_last),
        "ttt.frozen_blocks": 0,
    }
    return with_values(recipe, values, "check")


def _trained(bench: Bench, changes: Mapping[str, Any], compiler: str) -> tuple[dict[str, Tensor], dict[str, Metric]]:
    """Weights and metrics of a compiled training of the changed recipe from the common initial weights."""
    drop_graphs()  # so that every training counts its own
    recipe = with_values(bench.recipe, {"system.compile": "on", "averaging.swa_min_step": 0, **changes}, "check")
    context = bench.context(recipe, train=f"compiled-{'-'.join(changes)}")
    context.compiler = compiler
    folder = context.folder("train")
    folder.mkdir(parents=True)
    metrics = train_model(context, folder, bench.started(recipe))
    return last_weights(folder), metrics
