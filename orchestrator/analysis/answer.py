"""The answer of a sweep for people: one table, one sentence, and the one next command with its cost and chance.

The end of a sweep and `orchestrator compare` print the same; what stands behind it is in `explanation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.sweep_table import baseline_of, ranking_of, table_of
from orchestrator.analysis.verdict_table import (
    MOST_REASONS,
    MOST_SHOWN,
    counted,
    reason_lines,
    verdict_table,
    warning_lines,
    word_of,
)
from orchestrator.output import PIPED_WIDTH, console_for, say
from orchestrator.space.configuration import label
from orchestrator.status.status import again, failed_at_reading
from orchestrator.sweep.left_out import WITHOUT, left_out_of_estimates
from orchestrator.sweep.sweep import Sweep
from orchestrator.sweep.sweep_attempts import attempt_lines
from results.rows.ranking import unit_of
from results.rows.score_text import score_text
from results.rows.tables import breaches_of, why_none_is_ranked
from results.verdicts.attempts import Attempt
from results.verdicts.verdict import Verdict, other_order, selected_gain
from trainer.spec.units import human_count

if TYPE_CHECKING:
    from orchestrator.analysis.next_steps import Step


@dataclass(frozen=True)
class Answer:
    """Verdicts in the order of the ranking, with what is needed to print them."""

    sweep: Sweep
    frame: pd.DataFrame
    table: pd.DataFrame
    verdicts: Sequence[Verdict]
    labels: Mapping[str, str]
    attempts: Sequence[Attempt]
    declared: Mapping[str, Verdict]
    """By the declared terms, where the answer is by others; else empty."""

    @property
    def best(self) -> Verdict | None:
        """Of the best ranked configuration; None while none is ranked."""
        ranked = set(self.table.loc[self.table["rank"].notna() & ~self.table["is_baseline"], "config"])
        return next((verdict for verdict in self.verdicts if verdict.config in ranked), None)

    def name(self, config: str) -> str:
        """The label of a configuration; of one from elsewhere its name."""
        return self.labels.get(config, config)

    def named(self, text: str) -> str:
        """A text with labels in place of identities."""
        for config, name in self.labels.items():
            text = text.replace(config, name)
        return text


def answer_of(sweep: Sweep, frame: pd.DataFrame, table: pd.DataFrame, attempts: Sequence[Attempt] = ()) -> Answer:
    """By the terms that the sweep declared."""
    return make_answer(sweep, frame, table, verdicts_of(sweep, frame), attempts)


def make_answer(
    sweep: Sweep,
    frame: pd.DataFrame,
    table: pd.DataFrame,
    verdicts: Sequence[Verdict],
    attempts: Sequence[Attempt] = (),
    declared: Sequence[Verdict] = (),
) -> Answer:
    """By any terms; `declared` are the verdicts by the declared ones, if these are others."""
    order = {config: place for place, config in enumerate(table["config"])}
    ordered = sorted(verdicts, key=lambda verdict: order[verdict.config])
    labels = {item.id: label(item, sweep.space) for item in sweep.asked()}
    labels[baseline_of(sweep)] = "the baseline"
    return Answer(sweep, frame, table, ordered, labels, attempts, {verdict.config: verdict for verdict in declared})


def print_answer(answer: Answer, console: Console, next_command: bool = True) -> None:
    """Table, sentence, next command."""
    for line in heading_lines(answer):
        say(console, line, indent=0)
    if answer.verdicts:
        console.print()
        table = verdict_table(answer.verdicts, answer.name, declared=answer.declared)
        console.print(table, width=None if console.is_terminal else PIPED_WIDTH)
    for line in (*footnotes(answer), ""):
        say(console, line, "dim", indent=0)
    say(console, sentence(answer), "bold", indent=0)
    if next_command:
        for line in next_lines(answer):  # never broken: a command is to be copied
            console.print(line, soft_wrap=True)
        left_out = left_out_of_estimates(answer.sweep.store, answer.sweep.preset, answer.sweep.name)
        for line in left_out[:MOST_REASONS]:
            console_for(stderr=True).print(f"{WITHOUT} {line}", style="red", soft_wrap=True)


def heading_lines(answer: Answer) -> Iterator[str]:
    """The description, other attempts, the baseline, and what a gain has to be."""
    sweep, ranking = answer.sweep, ranking_of(answer.sweep)
    yield sweep.space.description or sweep.name
    yield from attempt_lines(list(answer.attempts), sweep.name)
    row = answer.table[answer.table["is_baseline"]]
    if len(row) and pd.notna(row.iloc[0]["mean"]):
        first, unit = row.iloc[0], unit_of(ranking.metric) or ranking.metric
        sd = f", sd {score_text(first['sd'], unit)}" if pd.notna(first["sd"]) else ""
        sd = ", all of them the same" if first["sd"] == 0.0 else sd
        seeds = f"{first['n']} seed{'s' if first['n'] != 1 else ''}"
        yield f"Baseline: mean {ranking.metric} {score_text(first['mean'], unit)} over {seeds}{sd}."
    if note := other_order(ranking, sweep.space.measure):
        yield note
    tested = next((verdict for verdict in answer.verdicts if verdict.bpb is not None), None)
    if tested is not None and tested.bpb is not None:
        nats = "" if tested.nats is None else f" ({tested.nats.margin:.4g} nats)"
        margin = f"; more than {score_text(tested.bpb.margin, tested.unit)}{nats} counts" if tested.bpb.margin else ""
        against = "" if tested.baseline == baseline_of(sweep) else f" over {answer.name(tested.baseline)}"
        num = tested.num_comparisons
        together = f"for all {num} together" if num > 1 else "for the one comparison"
        yield f"Gain{against} in {tested.unit}, positive is better{margin}; alpha = {tested.alpha:.4g} {together}."


def footnotes(answer: Answer) -> Iterator[str]:
    """Each reason once, with how many configurations it concerns."""
    more = len(answer.verdicts) - MOST_SHOWN
    if more > 0:
        yield f"and {more:,} more: {answer.sweep.command('compare', '--explain')}"
    yield from _infeasible(answer)
    yield from reason_lines(answer.verdicts, answer.named, answer.best.reason if answer.best else "")
    for reason, count in _exploratory(answer).items():
        yield f"suggested, no evidence yet ({counted(count)}): {reason}"
    yield from warning_lines(answer.verdicts)


def _infeasible(answer: Answer) -> Iterator[str]:
    """Which limit is broken, each once; of many different ones the first few."""
    reasons = Counter("; ".join(map(str, verdict.breaches)) for verdict in answer.verdicts if verdict.breaches)
    for reason, count in list(reasons.items())[:MOST_REASONS]:
        yield f"infeasible ({counted(count)}): {reason}"
    if len(reasons) > MOST_REASONS:
        yield f"infeasible for the like reasons: {sum(list(reasons.values())[MOST_REASONS:]):,} more"


def _exploratory(answer: Answer) -> Counter[str]:
    """Reasons that the sentence on the best does not say already."""
    said = answer.best.exploratory_because if answer.best and answer.best.word == "suggested" else ""
    suggested = [verdict for verdict in answer.verdicts if verdict.word == "suggested"]
    return Counter(one.exploratory_because for one in suggested if one.exploratory_because != said)


def sentence(answer: Answer) -> str:
    """The answer in plain English."""
    best = answer.best
    if best is None:
        if answer.frame.empty:
            return "Nothing was compared: no run has ended yet."
        if not answer.verdicts:
            return "Nothing was compared: the sweep has the baseline alone."
        return f"Cannot say: {why_none_is_ranked(answer.table, breaches_of(answer.frame, ranking_of(answer.sweep)))}."
    name, against = answer.name(best.config), answer.name(best.baseline)
    if best.bpb is None:
        metric, reason = ranking_of(answer.sweep).metric, answer.named(best.reason)
        return f"Cannot say whether {name}, the best by {metric}, is better: {reason}."
    gain, margin = 0.0 - best.bpb.difference, best.bpb.margin
    size = score_text(abs(gain), best.unit, beside=best.bpb.largest)
    counts = f"the {score_text(margin, best.unit)} that counts" if margin else "0"
    if best.headline == "better":
        return _of_better(answer, best, name, against, counts)
    if gain <= margin:
        so_far = f"gains {size} {best.unit}" if gain >= 0 else f"is {size} {best.unit} worse"
        return f"Nothing beats {against} by more than {counts}: {name}, the best, {so_far}."
    low, high = (
        score_text(-end, best.unit, signed=True, beside=best.bpb.largest) for end in (best.bpb.high, best.bpb.low)
    )
    return (
        f"Not shown: {name} looks {size} {best.unit} better than {against}{selected_gain(best)}, but runs "
        f"scatter so much that its true gain may be anything from {low} to {high}; all of that would have to be more "
        f"than {counts}."
    )


def _of_better(answer: Answer, best: Verdict, name: str, against: str, counts: str) -> str:
    assert best.bpb is not None
    gain = score_text(-best.bpb.difference, best.unit, beside=best.bpb.largest)
    others = sum(word_of(verdict) == word_of(best) for verdict in answer.verdicts) - 1
    also = f" (so {'does' if others == 1 else 'do'} {others} other{'s' if others > 1 else ''})" if others else ""
    if best.exploratory:
        return (
            f"{name} looks {gain} {best.unit} better than {against}{selected_gain(best)}, more than "
            f"{counts}{also}; but that only suggests it: {best.exploratory_because}."
        )
    return (
        f"{name} is better than {against} by {gain} {best.unit}{selected_gain(best)}; that it gains more than "
        f"{counts} is shown{also}."
    )


def next_lines(answer: Answer) -> list[str]:
    """The one command that is worth most, with its cost and chance, and where the rest is told."""
    sweep = answer.sweep
    command, words = next_command(answer) or (
        sweep.command("report"),
        "one page with figures, costs and how to repeat it",
    )
    return [f"next:    {command}", f"         {words}", f"details: {sweep.command('compare', '--explain')}"]


def next_command(answer: Answer) -> tuple[str, str] | None:
    """The command of the most urgent step, and its cost and chance; None where the answer needs no more runs.

    Where failed runs leave nothing to compare, it is the one that runs them again.
    """
    if num_failed := _failed_in_the_way(answer):
        return _after_failures(answer.sweep, human_count(num_failed, "failed run"))
    if answer.sweep.is_locked():
        return None
    from orchestrator.analysis.next_steps import urgent_step  # late: JSON, best and a running sweep need no plan

    declared = list(answer.declared.values()) or answer.verdicts
    shown = answer.best is not None and answer.best.headline == "better" and not answer.best.exploratory
    step = urgent_step(answer.sweep, answer.frame, declared, answer.table, may_search=not shown)
    return None if step is None else (step.command, _cost(step))


def _after_failures(sweep: Sweep, runs: str) -> tuple[str, str]:
    """A sweep of a program goes on with the script and the file that it began with."""
    resume = sweep.command("resume", "--retry-failed")
    if failed_at_reading(sweep):
        corrected = f"once `metrics` or `limits` are corrected: reads what the {runs} printed, and runs nothing"
        return again(sweep), f"{corrected}; once the script is mended: runs it"
    if sweep.space.program is not None:
        mended = "once the script or the search space file is mended"
        return again(sweep), f"{mended}; if the cause of the {runs} lay elsewhere: {resume}"
    return resume, f"runs the {runs} again, once the cause is mended"


def _failed_in_the_way(answer: Answer) -> int:
    """Failed runs, where they are why nothing could be compared."""
    nothing = answer.best is None or answer.best.bpb is None
    return int((answer.frame["status"] == "failed").sum()) if nothing and answer.verdicts else 0


def _cost(step: Step) -> str:
    hours = f", {step.gpu_hours:.2f} GPU-hours" if step.gpu_hours else ""
    runs = f"{human_count(step.runs, 'run')}, {step.time_in_words}{hours}"
    if step.kind == "confirm" and step.chance is not None:
        shows = "suggests (alpha is spent; declare compare.attempts next time)" if step.exploratory else "shows"
        return f"{runs}; {shows} the gain on fresh seeds with a chance of {step.chance:.0%}"
    if step.value_bpb is not None:
        return f"{runs}; expected gain {step.value_bpb:.5f} bits per byte"
    return runs


def answer_lines(sweep: Sweep, frame: pd.DataFrame) -> list[str]:
    """Everything but the table, as lines."""
    answer = answer_of(sweep, frame, table_of(sweep, frame))
    return [*heading_lines(answer), *footnotes(answer), sentence(answer), *next_lines(answer)]
