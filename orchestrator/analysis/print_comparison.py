"""`orchestrator compare`: the answer by the declared terms, or by others beside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from orchestrator.analysis.answer import make_answer, print_answer
from orchestrator.analysis.comparison import (
    OTHER_TEXT,
    are_declared,
    is_foreign,
    reference_of,
    verdicts_against_exact,
    verdicts_of,
)
from orchestrator.analysis.sweep_table import baseline_of, rows_of, table_of
from orchestrator.output import console_for, print_rows, say
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import Compare
from orchestrator.sweep.sweep import Sweep
from orchestrator.sweep.sweep_attempts import attempts_of
from results.verdicts.verdict import OTHER_TERMS, Unit, Verdict
from trainer.spec.errors import UserError

AFTERWARDS = (
    f"Exploratory: {OTHER_TERMS}. The last column has the answer by the terms that were declared before the first run."
)


def print_comparison(
    sweep: Sweep,
    store: Path,
    baseline: str | None,
    margin: float | None,
    unit: Unit | None,
    alpha: float | None,
    format: str,
    explain: bool = False,
    exact: bool = False,
) -> None:
    """A verdict for every configuration, in the order of the ranking; those that are not ranked follow.

    exact:  take the baseline's mean, or the number that stands for it, as exact
    """
    frame = rows_of(sweep)
    reference = None if baseline is None else reference_of(sweep, baseline, store, exact)
    terms = _terms(sweep.space, margin, unit, alpha)
    if exact:
        fixed = baseline_of(sweep) if reference is None else reference
        verdicts = verdicts_against_exact(sweep, frame, terms, fixed)
    else:
        assert not isinstance(reference, float)
        verdicts = verdicts_of(sweep, frame, terms, reference)
    as_declared = not exact and are_declared(sweep, terms, reference)
    declared = [] if as_declared else verdicts_of(sweep, frame)
    answer = make_answer(sweep, frame, table_of(sweep, frame), verdicts, attempts_of(sweep), declared)
    if format == "json":
        print_rows(
            asdict(verdict)
            | {"headline": verdict.headline, "sentence": verdict.sentence}
            | {"declared": _in_short(answer.declared.get(verdict.config))}
            for verdict in answer.verdicts
        )
        return
    console = console_for()
    if is_foreign(sweep, baseline):
        console.print(OTHER_TEXT, style="yellow", soft_wrap=True)
    if answer.declared:
        say(console, AFTERWARDS, "yellow", indent=0)
    print_answer(answer, console)
    if explain:
        from orchestrator.analysis.explanation import print_explanation  # late: most answers are not explained

        print_explanation(answer, console)


def _terms(space: SearchSpace, margin: float | None, unit: Unit | None, alpha: float | None) -> Compare:
    asked = space.compare
    if unit not in (None, asked.unit) and margin is None:
        raise UserError(f"--unit {unit} needs --margin too: the sweep's margin of {asked.margin:g} is in {asked.unit}")
    return space.terms(margin, unit, alpha)


def _in_short(verdict: Verdict | None) -> dict[str, object] | None:
    """The answer by the declared terms, beside one by others; None where the terms are the declared ones."""
    if verdict is None:
        return None
    names = ("baseline", "conclusion", "exploratory", "alpha", "p", "p_corrected", "sentence")
    margin = None if verdict.bpb is None else verdict.bpb.margin
    return {name: getattr(verdict, name) for name in names} | {"margin_bpb": margin}
