"""The findings of a report: the answer, the leader and its gain, which knob mattered, seeds and curves.

Each chapter says what it left out, and why it has nothing to show when it has not. Nothing is computed here that is not
a count: numbers come from the facts of figures and from tables. What the sweep cost is in `costs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from results.figures.curves import curve_facts, curve_figure
from results.figures.importance import importance_facts, importance_figure
from results.figures.ranking_figures import gain_facts, gain_figure, ranking_facts, ranking_figure
from results.figures.scores import score_figure
from results.figures.seeds import detectable_lines, scatter_facts, seed_outcome_table, spread_lines
from results.report.first_screen import MOST_ROWS
from results.report.page import Callout, Chapter, Code, Part, Table, Text, left_out, plot, table_of
from results.report.tones import TONES, Tone
from results.rows.layout import SPACE_FILE
from results.rows.score_text import largest_of, score_text
from results.rows.tables import is_finished, mean_bpb, per_run, same_score_lines
from results.rows.text_scale import scale_lines, scored_text_lines
from results.verdicts.policies import Policy
from results.verdicts.sweep_results import SweepResults
from results.verdicts.verdict import Verdict, other_order, selected_gain

P_VALUES = ("p", "p_corrected", "p_no_worse", "sign_flip_p")
TONES_OF_SPEED: dict[str, Tone] = {"faster": "good", "not shown": "plain", "cannot say": "bad"}
MOST_SPEEDS = 5
"""Claims on seconds that a page shows."""


def verdict(sweep: SweepResults) -> Chapter:
    """The answer in words, for the best configuration, and how many others are better, worse or cannot be judged."""
    best = sweep.best
    of_best = sweep.verdict_of(best)
    speed: list[Part] = [
        Callout(TONES_OF_SPEED[one.conclusion], one.conclusion.capitalize(), one.named(sweep.labels).sentence)
        for one in sweep.faster[:MOST_SPEEDS]
    ]
    if best is None or of_best is None:
        why = Callout("bad", "Cannot say", _as_sentence(sweep.why_none_is_best))
        return Chapter("verdict", "Verdict", [*speed, why])
    counts = pd.Series([item.headline for item in sweep.verdicts]).value_counts()
    counted = ", ".join(f"{counts.get(conclusion, 0):,} {conclusion}" for conclusion in TONES)
    parts: list[Part] = [
        *speed,
        Text(f"Best configuration by {sweep.ranking.measured}: {sweep.label(best)} ({best})."),
        Callout(TONES[of_best.headline], of_best.word.capitalize(), in_words_of_people(sweep, of_best)),
    ]
    if note := other_order(sweep.ranking, sweep.compared):
        parts.append(Text(note))
    if of_best.bpb is not None and (selected := selected_gain(of_best)):
        gain = score_text(-of_best.bpb.difference, of_best.unit, beside=of_best.bpb.largest)
        parts.append(Text(f"Measured gain {gain} {of_best.unit}{selected}."))
    if of_best.assumption:
        parts.append(Text(f"The test assumes: {of_best.assumption}."))
    num = len(sweep.verdicts)
    whole = f"Of all {num:,} configurations compared" if num > 1 else "Of the one configuration compared"
    parts.append(Text(f"{whole}: {counted}."))
    parts += [Text(line) for line in detectable_lines(sweep, of_best)]
    parts += _attempts(sweep)
    return Chapter("verdict", "Verdict", parts)


def _attempts(sweep: SweepResults) -> list[Part]:
    """Every attempt at this search space, with its part of alpha; nothing where there is no other."""
    if len(sweep.attempts) < 2:
        return []
    rows = [
        [
            str(attempt.number),
            f"{attempt.sweep}{' (this one)' if attempt.sweep == sweep.name else ''}",
            ", ".join(map(str, attempt.seeds)),
            attempt.declared_at[:10],
            attempt.part,
            "no: alpha was spent" if attempt.is_spent else "yes",
        ]
        for attempt in sweep.attempts
    ]
    heads = ["attempt", "sweep", "seeds", "declared", "tested at", "counts as evidence"]
    caption = "Every test of this search space or of a configuration of it in this store; together they have one alpha."
    return [Table(caption, heads, rows, [True, False, False, False, True, False])]


def in_words_of_people(sweep: SweepResults, verdict: Verdict) -> str:
    """The verdict on a configuration that was just named, as a sentence without identities."""
    against = "the baseline" if verdict.baseline == sweep.baseline else sweep.label(verdict.baseline)
    sentence = replace(verdict, config="it", baseline=against).sentence
    return sentence[:1].upper() + sentence[1:]


def _as_sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def search_space(sweep: SweepResults) -> Chapter:
    """The search space, and what would count as an answer."""
    rows = [[name, words] for name, words in sweep.terms.items()]
    caption = "The search space, fixed before any result was known." if sweep.declared else "How these runs are judged."
    table = Table(caption, ["What", "How"], rows, [False, False])
    parts: list[Part] = [table if rows else Text(sweep.description)]
    if sweep.space_text:
        parts.append(Code(f"The search space file, {SPACE_FILE}", sweep.space_text, folded=True))
    return Chapter("search-space", "Search space", parts)


def ranking(sweep: SweepResults) -> Chapter:
    """The configurations in their order, with intervals."""
    facts = ranking_facts(sweep)
    if facts.empty:
        return Chapter("ranking", "Ranking", [Text(_as_sentence(sweep.why_none_is_best))])
    caption = (
        f"Configurations by their mean {sweep.ranking.measured} over seeds; the dashed line is the baseline. "
        "Intervals hold the spread between seeds; where runs share a trained artifact, their differences below are far "
        f"sharper.{left_out(facts)}"
    )
    mean = f"mean {sweep.ranking.measured}"
    heads = {
        "rank": "rank", "status": "status", "label": "configuration", "n": "seeds", "mean": mean,
        "sd": "sd", "ci95_low": "95 % from", "ci95_high": "to", "total_bytes": "bytes", "eval_s": "scoring (s)",
        "breaches": "not ranked because",
    }  # fmt: skip
    table = sweep.table.assign(
        label=sweep.table["config"].map(sweep.label),
        breaches=["; ".join(map(str, sweep.breaches.get(config, ()))) for config in sweep.table["config"]],
    )
    parts: list[Part] = [
        plot("ranking", "Ranking", partial(ranking_figure, facts), caption),
        table_of(table, heads, "Every configuration with its spread over seeds."),
    ]
    parts += [Text(_as_sentence(line)) for line in same_score_lines(table)]
    parts += [Text(line) for line in scored_text_lines(per_run(sweep.frame))]
    metrics = ((sweep.example or {}).get("stages", {}).get("val_text") or {}).get("metrics")
    if metrics:
        baseline, best = (mean_bpb(sweep.frame, arm or "", sweep.seeds) for arm in (sweep.baseline, sweep.best))
        lines = scale_lines(metrics, baseline, best)
        parts.append(Code("For scale, the same text under codes that need no model:", "\n".join(lines)))
    return Chapter("ranking", "Ranking", parts)


def differences(sweep: SweepResults) -> Chapter:
    """Gains over the baseline with their intervals and tests."""
    facts = gain_facts(sweep)
    if facts.empty:
        return Chapter("differences", "Differences", [Text("Nothing was compared: there is only one configuration.")])
    raced = any(item.looks for item in sweep.verdicts)
    interval = "at the level of its decision, so that it lies beyond the margin where a gain is shown"
    interval = "that holds at all looks of the race together" if raced else interval
    caption = (
        f"Gain over what each is compared with, and the interval {interval}; ticks are pairs that share a trained "
        f"artifact. ◆ shown, ● not shown, × infeasible.{left_out(facts)}"
    )
    heads = {
        "label": "configuration", "conclusion": "verdict", "gain": f"gain in {sweep.compared.measured}",
        "low": "from", "high": "to", "at_least": "at least, all together", "n": "n", "test": "test", "p": "p",
        "p_corrected": "p, corrected", "p_no_worse": "p, no worse (corrected)", "sign_flip_p": "p, sign flips",
        "p_new_run_better": "a new run is better",
        "race": "in the race", "reason": "reason",
    }  # fmt: skip
    beside = largest_of(facts[["gain", "low", "high"]].to_numpy(dtype="float64").ravel())
    text = partial(score_text, unit=sweep.compared.unit, signed=True, beside=beside)
    signed = {name: facts[name].map(text).replace("+nan", "") for name in ("gain", "low", "high", "at_least")}
    signed |= {name: facts[name].map("{:.2g}".format, na_action="ignore") for name in P_VALUES}
    signed["p_new_run_better"] = facts["p_new_run_better"].map("{:.0%}".format, na_action="ignore")
    margin = facts["margin"].median()
    margin_note = (
        f"; the margin is {score_text(margin, sweep.compared.unit)} {sweep.compared.unit}" if margin > 0 else ""
    )
    table = table_of(facts.assign(**signed), heads, f"Each difference with the test behind its verdict{margin_note}.")
    drawn = (
        [plot("gains", "Gains", partial(gain_figure, facts), caption)] if len(facts) > MOST_ROWS else []
    )  # else it stands above
    return Chapter("differences", "Differences", [*drawn, table, *_acceptances(sweep)])


def _acceptances(sweep: SweepResults) -> list[Part]:
    """What rules of acceptance say, one folded table for each rule."""
    by_policy: dict[Policy, list[Sequence[str]]] = {}
    for item in sweep.acceptances:
        because = item.reason if item.p is None else f"p = {item.p:.2g}"
        by_policy.setdefault(item.policy, []).append((sweep.label(item.candidate), item.answer, because))
    heads = ["candidate", "answer", "because"]
    return [
        Table(f"Would it be accepted? {policy.name}: {policy.rule}", heads, rows, [False] * 3, folded=True)
        for policy, rows in by_policy.items()
    ]


def importance(sweep: SweepResults) -> Chapter:
    """Which knobs separated the best configurations from the rest."""
    facts, reason = importance_facts(sweep)
    if reason:
        return Chapter("importance", "Parameter importance", [Text(f"Not shown: {reason}.")])
    above = [str(key) for key in facts.loc[facts["above_chance"], "key"]]
    answer = f"More than chance explains: {', '.join(above)}." if above else "No key stands out from chance."
    percent = facts.assign(share=facts["share"].map("{:.0%}".format), by_chance=facts["by_chance"].map("{:.0%}".format))
    heads = {"key": "key", "share": "share", "by_chance": "by chance", "above_chance": "above chance"}
    caption = (
        f"PED-ANOVA over ranked configurations: which keys tell the best by {sweep.ranking.metric} from the rest; "
        "grey bars are within chance."
    )
    figure = plot(
        "importance",
        "Parameter importance",
        partial(importance_figure, facts),
        caption,
        table_of(percent, heads, "The shares as numbers"),
    )
    return Chapter("importance", "Parameter importance", [Text(answer), figure])


def scatter(sweep: SweepResults) -> Chapter:
    """Every run over the values of each swept key, and every declared run with what became of it."""
    facts, note = scatter_facts(sweep)
    if facts.empty:
        return Chapter("seeds", "Seeds", [Text(f"No figure: {note}."), *_spread(sweep)])
    shown = str(facts["measured"].iloc[0])
    caption = f"{shown[:1].upper()}{shown[1:]}: each run over the values of each swept key; lines join runs of one "
    caption += f"trained artifact. {note}"
    drawing = plot("scores", "Scores", partial(score_figure, facts), caption.strip())
    return Chapter("seeds", "Seeds", [drawing, *_spread(sweep)])


def _spread(sweep: SweepResults) -> list[Part]:
    declared = seed_outcome_table(sweep)
    heads = {"label": "configuration", "here": "seeds declared here", "elsewhere": "and in other sweeps"}
    listed = (
        [table_of(declared, heads, "Every declared seed with its outcome, from the ledger.")] if len(declared) else []
    )
    return [outcomes(sweep), *listed, *(Text(line) for line in spread_lines(sweep))]


def outcomes(sweep: SweepResults) -> Text:
    """How many of the declared runs ended how; none is passed over."""
    runs = per_run(sweep.frame)
    finished = is_finished(runs, sweep.compared.column)
    counts = {"done with a result": int(finished.sum())}
    counts |= {str(status): int(count) for status, count in runs.loc[~finished, "status"].value_counts().items()}
    if sweep.total_runs is not None and sweep.total_runs > len(runs):
        counts["declared and not run yet"] = sweep.total_runs - len(runs)
    listed = ", ".join(f"{count:,} {words}" for words, count in counts.items())
    return Text(f"Every {'seed that was started' if sweep.declared else 'run that is known'} counts: {listed}.")


def curves(sweep: SweepResults) -> Chapter:
    """The loss of each distinct training."""
    facts = curve_facts(sweep)
    missing, not_drawn = facts.attrs["num_missing"], facts.attrs["num_left_out"]
    gone = f" {missing:,} are no longer in the store." if missing else ""
    if facts.empty:
        return Chapter("curves", "Learning curves", [Text(f"No learning curve is at hand.{gone}")])
    cut = f" {not_drawn:,} further trainings are not drawn." if not_drawn else ""
    steps = facts["num_steps"].max()
    averaged = f" Each point is the mean of up to {steps} steps." if steps > 1 else ""
    loss = facts.attrs["loss"]
    caption = f"{loss[0].upper()}{loss[1:]}, of each distinct training.{averaged}{cut}{gone}"
    return Chapter(
        "curves", "Learning curves", [plot("curves", "Learning curves", partial(curve_figure, facts), caption)]
    )
