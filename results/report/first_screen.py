"""The first screen of a report: the answer in a sentence, its figure and table, and the one next command."""

from __future__ import annotations

from functools import partial

import pandas as pd

from results.figures.ranking_figures import gain_facts, gain_figure
from results.report.page import Answer, Callout, Code, Plot, Table, plot, table_of
from results.report.tones import TONES
from results.rows.score_text import FIVE_DECIMALS, largest_of, score_text
from results.verdicts.sweep_results import SweepResults
from results.verdicts.verdict import Verdict

MOST_ROWS = 6
"""Configurations on the first screen; below are more."""


def answer(sweep: SweepResults) -> Answer:
    """What a reader who reads nothing else must know."""
    best = sweep.verdict_of(sweep.best)
    facts = gain_facts(sweep, MOST_ROWS)
    return Answer(_headline(sweep, best), _plot(sweep, facts), _table(sweep, facts), _next_command(sweep))


def _headline(sweep: SweepResults, best: Verdict | None) -> Callout:
    if best is None:
        why = sweep.why_none_is_best or "nothing was compared"
        return Callout("bad", "Cannot say", sweep.headline or f"{why[:1].upper()}{why[1:]}.")
    return Callout(TONES[best.headline], best.word.capitalize(), sweep.headline or _short(sweep, best))


def _short(sweep: SweepResults, best: Verdict) -> str:
    """The gain of the best configuration, where nobody wrote a sentence for it."""
    name = sweep.label(best.config)
    if best.bpb is None:
        return f"{name}, the best, cannot be judged: {best.reason}."
    gain = -best.bpb.difference
    direction = "better" if gain >= 0 else "worse"
    size = f"{score_text(abs(gain), best.unit, beside=best.bpb.largest)} {best.unit}"
    return f"{name}, the best, is {size} {direction} than {sweep.label(best.baseline)}."


def _plot(sweep: SweepResults, facts: pd.DataFrame) -> Plot | None:
    if facts["gain"].isna().all():
        return None
    beside = largest_of(facts[["gain", "low", "high"]].to_numpy(dtype="float64").ravel())
    text = partial(score_text, unit=sweep.compared.unit, signed=True, beside=beside)
    gains = "; ".join(
        f"{label}: {text(gain)}, {text(low)} to {text(high)}"
        for label, gain, low, high in facts[["label", "gain", "low", "high"]].itertuples(index=False)
    )
    words = f"Gain over the baseline in {sweep.compared.measured}, and its interval. {gains}."
    left = int(facts["num_left_out"].iloc[0])
    rest = f" The best {len(facts)} of {left + len(facts):,}; all are below." if left else ""
    caption = "Gain over the baseline, right is better; each line is its interval, "
    caption += f"ticks are pairs of runs. ◆ shown, ● not shown, × infeasible.{rest}"
    return plot("answer", "Gains", partial(gain_figure, facts), caption, words=words)


def _table(sweep: SweepResults, facts: pd.DataFrame) -> Table | None:
    if facts.empty:
        return None
    beside = largest_of(facts[["gain", "low", "high"]].to_numpy(dtype="float64").ravel())
    text = partial(score_text, unit=sweep.compared.unit, signed=True, beside=beside)
    ends = "{:+.4f}".format if sweep.compared.unit in FIVE_DECIMALS else text  # narrow enough for a telephone
    interval = facts["low"].map(ends) + " to " + facts["high"].map(ends)
    p = facts["p_corrected"].fillna(facts["p"])
    shown = facts.assign(
        gain=facts["gain"].map(text).replace("+nan", ""),
        interval=interval.where(facts["gain"].notna(), ""),
        p=p.map("{:.2g}".format, na_action="ignore"),
        verdict=[verdict.word for config in facts["config"] if (verdict := sweep.verdict_of(config))],
    )
    heads = {"label": "configuration", "gain": "gain", "interval": "interval", "p": "p", "verdict": "verdict"}
    return table_of(shown, heads, f"Gains in {sweep.compared.measured}.")


def _next_command(sweep: SweepResults) -> Code | None:
    return Code(f"Next: {sweep.next_because}", sweep.next_command) if sweep.next_command else None
