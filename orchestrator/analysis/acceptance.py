"""'Would this be accepted?' on the command line: a sweep, or a published record, under a named policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.comparison import OTHER_TEXT, evidence_of, is_foreign, reference_of, verdicts_of
from orchestrator.analysis.sweep_table import baseline_of, rows_of, table_of
from orchestrator.analysis.verdict_table import word_of
from orchestrator.output import console_for, print_rows, say
from orchestrator.space.configuration import label
from orchestrator.sweep.sweep import Sweep
from results.verdicts.policies import (
    POLICIES,
    Acceptance,
    accept,
    acceptance_of_record,
    acceptance_of_records,
    policy_of,
)
from results.verdicts.published_records import choice_of_seeds, record_losses
from results.verdicts.verdict import OTHER_TERMS, Verdict
from trainer.spec.units import human_count

STYLES = {"accepted": "bold green", "not accepted": "", "cannot say": "dim"}


def print_acceptance(sweep: Sweep, store: Path, policy: str, baseline: str | None, format: str) -> None:
    """What the policy says of every configuration of a sweep, in the order of its ranking, against its baseline or
    another incumbent. One that breaks a limit of the search space is not accepted, whatever its score."""
    frame, asked = rows_of(sweep), {item.id: item for item in sweep.asked()}
    reference = reference_of(sweep, baseline or baseline_of(sweep), store)
    assert not isinstance(reference, float)  # a number is refused without --exact, which a policy does not take
    incumbent = frame[frame["config"] == reference] if isinstance(reference, str) else reference
    name = str(incumbent["config"].iloc[0]) if len(incumbent) else str(reference)
    evidence = evidence_of(sweep, frame)
    objections, breaches = evidence.objections, evidence.breaches or {}
    order = {config: place for place, config in enumerate(table_of(sweep, frame)["config"])}
    foreign = is_foreign(sweep, baseline)
    declared = {verdict.config: verdict for verdict in verdicts_of(sweep, frame)}
    answers, state = [], sweep.state()
    for config in asked:
        if config == name:
            continue
        rows = frame[frame["config"] == config]
        answer = accept(policy_of(policy), rows, incumbent, state.seeds_of(asked[config]))
        if objection := objections.get(config) or objections.get(name):
            answer = Acceptance(answer.policy, config, name, "cannot say", objection)
        if answer.gain_bpb is not None and (reasons := breaches.get(config)):
            answer = replace(answer, answer="not accepted", note=f"Infeasible: {'; '.join(map(str, reasons))}.")
        if foreign and answer.gain_bpb is not None:
            answer = replace(answer, note=f"{answer.note} {OTHER_TEXT}".strip())
        if config in declared:
            answer = replace(answer, note=f"{answer.note} {_by_declared_terms(declared[config])}".strip())
        answers.append(answer)
    answers.sort(key=lambda answer: order.get(answer.candidate, len(order)))
    _print(answers, format, {config: label(item, sweep.space) for config, item in asked.items()})


def _by_declared_terms(verdict: Verdict) -> str:
    """What the sweep's own terms say, beside a policy that was named after the results were known."""
    corrected = "" if verdict.p_corrected is None else f", p = {verdict.p_corrected:.2g} after correction"
    return f"By the declared terms: {word_of(verdict)}{corrected}."


def print_records(record: str | None, policy: str | None, format: str) -> None:
    """Every merged record, or one of any kind, against the best one merged before it on its track."""
    policies = [policy_of(policy)] if policy else list(POLICIES.values())
    if record is None:
        answers = acceptance_of_records(policies[0])
        if format == "text":
            console_for().print(_overview(answers))
            return
    else:
        answers = [acceptance_of_record(each, record) for each in policies]
        if format == "text":
            console_for().print(_scores_line(record_losses(record)), soft_wrap=True)
    _print(answers, format, {})


def _overview(answers: Sequence[Acceptance]) -> RenderableType:
    """One line for each record; the whole sentence is printed for a single record."""
    table = Table(box=None, pad_edge=False)
    table.add_column("record", overflow="fold")
    for title in ("runs", "gain bpb", "margin bpb", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for answer in answers:
        table.add_row(Text(answer.candidate), *_numbers(answer), Text(answer.answer, style=STYLES[answer.answer]))
    counts: Counter[str] = Counter(answer.answer for answer in answers)
    counted = ", ".join(f"{counts[answer]} {answer}" for answer in STYLES)
    policy = answers[0].policy
    note = (
        f"{counted} under {policy.name} ({policy.rule}), each against the best record merged before it on its track. "
        f"{policy.about_single_runs} {_chosen_line(answers)}One in full: orchestrator records NAME"
    )
    return Group(table, Text(""), Text(note))


def _chosen_line(answers: Sequence[Acceptance]) -> str:
    """Which records chose among their seeds."""
    chosen = [f"{answer.candidate}: {words}" for answer in answers if (words := choice_of_seeds(answer.candidate))]
    return f"{'. '.join(chosen)}. " if chosen else ""


def _numbers(answer: Acceptance) -> list[str]:
    if answer.gain_bpb is None:
        return ["", "", "", ""]
    margin = "" if answer.margin_bpb is None else f"{answer.margin_bpb:.5f}"
    runs = f"{answer.n_candidate} v {answer.n_incumbent}" if answer.n_incumbent else f"{answer.n_candidate}"
    return [runs, f"{answer.gain_bpb:+.5f}", margin, f"{answer.p:.2g}"]


def _scores_line(rows: pd.DataFrame) -> str:
    parts = [
        f"{name} {rows[name].mean():.8f}" + (f", sd {rows[name].std():.8f}" if len(rows) > 1 else "") + f" {unit}"
        for name, unit in (("val_loss", "nats per token"), ("val_bpb", "bits per byte"))
        if rows[name].notna().all()
    ]
    return f"{rows['config'].iloc[0]}, {human_count(len(rows), 'seed')}: {'; '.join(parts)}"


def _print(answers: list[Acceptance], format: str, labels: Mapping[str, str]) -> None:
    if format == "json":
        rows = [asdict(answer) | {"policy": answer.policy.name, "sentence": answer.sentence} for answer in answers]
        print_rows(rows)
        return
    console = console_for()
    if labels:
        say(console, f"Exploratory: {OTHER_TERMS}; what the declared ones say stands beside it.", "yellow", indent=0)
    for answer in answers:
        who = labels.get(answer.candidate, answer.candidate)
        named = replace(answer, candidate=who, incumbent=labels.get(answer.incumbent, answer.incumbent))
        console.print(f"{answer.answer.upper()}  {who}", style="bold", soft_wrap=True)
        say(console, named.sentence)
