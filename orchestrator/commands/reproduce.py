"""`orchestrator reproduce` and `first-step`: reruns of what was published, and the step from which a curve passes."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands.options import Store, TextOrJson
from trainer.spec.errors import UserError
from trainer.spec.number_options import finite, probability
from trainer.store.mirror import USUAL_STORE


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="A sweep, run here or imported, whose configurations are named.")
    ] = None,
    original: Annotated[
        str, typer.Option(help="A configuration, record:PR, sweep:NAME, or MEAN,SD,N as published.")
    ] = "",
    rerun: Annotated[str, typer.Option(help="A configuration, record:PR, sweep:NAME, or scores: 1.1135,1.1140.")] = "",
    against: Annotated[str | None, typer.Option(help="Also pool both against this: as --original takes it.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Does a rerun reproduce? Where new runs should lie, whether they do, and what both together show."""
    from orchestrator.analysis.reruns import print_reproduction

    if not original or not rerun:
        raise UserError("say what is reproduced and by what: --original 1.10979,0.00021,3 --rerun 1.11350")
    print_reproduction(store, name, original, rerun, against, format)


def first_step(
    name: Annotated[str, typer.Argument(help="An import with a column of steps, or a sweep over budget.train_steps.")],
    config: Annotated[list[str], typer.Option("--config", help="A configuration; default: all.")] = [],  # noqa: B006
    below: Annotated[
        float | None,
        typer.Option(callback=finite, help="The mean must be shown to be below this (above, where higher is better)."),
    ] = None,
    alpha: Annotated[float, typer.Option(callback=probability, help="Largest p-value that counts as shown.")] = 0.01,
    rule: Annotated[str | None, typer.Option(help="A community's rule, in its own terms: mng-track3.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """From which step on does it pass? The first point of the learning curves at which a rule holds over all seeds."""
    from orchestrator.analysis.reruns import print_first_step
    from orchestrator.analysis.step_curves import curves_of_import, curves_of_sweep
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep

    imported = find_import(store, name)
    curves = curves_of_sweep(find_sweep(store, name)) if imported is None else curves_of_import(imported)
    print_first_step(curves, config, below, alpha, rule, format)
