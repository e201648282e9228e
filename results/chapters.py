"""What a report says, chapter by chapter: dossier in, words, tables and figures out.

Each chapter says what it left out, and why it has nothing to show when it has not. Nothing is computed here that is not
a count: numbers come from the facts of figures and from tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from results.curves import curve_facts, curve_figure
from results.dossier import Dossier
from results.drawing import as_svg
from results.figures import score_figure
from results.importance import importance_facts, importance_figure
from results.page import Callout, Chapter, Code, Part, Plot, Table, Text, table_of
from results.ranking import gain_facts, gain_figure, ranking_facts, ranking_figure
from results.seeds import scatter_facts, spread_lines
from results.spending import in_words, limit_facts, stage_facts, use_facts, use_figure
from results.tables import is_finished, per_run
from results.verdict import Verdict
from results.yardsticks import scale_lines
from trainer.spec.units import human_seconds

SAVED = "a stage that several runs need is computed once"
TONES: dict[str, Literal["good", "plain", "bad"]] = {"better": "good", "not shown": "plain", "cannot say": "bad"}


def verdict(dossier: Dossier) -> Chapter:
    """The answer in words, for the best configuration, and how many others could be told apart."""
    best = dossier.best
    found = dossier.verdict_of(best)
    if best is None or found is None:
        words = "No configuration beside the baseline is complete, legal and within budget, so nothing can be compared."
        return Chapter("verdict", "Verdict", [Callout("bad", "Cannot say", words)])
    counts = pd.Series([item.conclusion for item in dossier.verdicts]).value_counts()
    told = ", ".join(f"{counts.get(conclusion, 0):,} {conclusion}" for conclusion in TONES)
    parts: list[Part] = [
        Text(f"Best configuration: {dossier.label(best)} ({best})."),
        Callout(TONES[found.conclusion], found.conclusion.capitalize(), in_words_of_people(dossier, found)),
    ]
    if found.assumption:
        parts.append(Text(f"The test assumes: {found.assumption}."))
    parts.append(Text(f"Of all {len(dossier.verdicts):,} configurations compared: {told}."))
    return Chapter("verdict", "Verdict", parts)


def in_words_of_people(dossier: Dossier, found: Verdict) -> str:
    """The verdict on a configuration that was just named, as a sentence without identities."""
    against = "the baseline" if found.baseline == dossier.baseline else dossier.label(found.baseline)
    sentence = found.sentence.replace(found.config, "it").replace(found.baseline, against)
    return sentence[:1].upper() + sentence[1:]


def question(dossier: Dossier) -> Chapter:
    """What was asked, of whom, and what would count as an answer."""
    rows = [[name, words] for name, words in dossier.terms.items()]
    table = Table("How the question was asked, before anybody saw a number.", ["What", "How"], rows, [False, False])
    parts: list[Part] = [table if rows else Text(dossier.question)]
    if dossier.space_text:
        parts.append(Code("The search space file, space.yaml", dossier.space_text, folded=True))
    return Chapter("question", "Question", parts)


def plan(dossier: Dossier) -> Chapter:
    """What was expected against what was computed, stage by stage and run by run."""
    facts = stage_facts(dossier)
    if facts.empty:
        return Chapter("plan", "Plan against actual", [Text("No run of ours stands behind these numbers.")])
    saved_s = facts["unshared_s"].sum() - facts["spent_s"].sum()
    shown = facts.assign(
        planned=_expected(dossier, facts, "planned", str),
        planned_s=_expected(dossier, facts, "planned_s", human_seconds),
        spent_s=facts["spent_s"].map(human_seconds),
        unshared_s=facts["unshared_s"].map(human_seconds),
    )
    heads = {
        "stage": "stage", "runs": "runs that need it", "distinct": "distinct", "planned": "planned to compute",
        "computed": "computed", "planned_s": "planned time", "spent_s": "time spent", "unshared_s": "if never shared",
    }  # fmt: skip
    signs = " ≤ marks an upper bound, ? what the store had no experience of."
    caption = f"Stages: {SAVED}.{signs if dossier.planned else ' No plan was kept when this sweep began.'}"
    spent = human_seconds(float(facts["spent_s"].sum()))
    runs = _runs_in_words(dossier)
    words = f"{runs} They took {spent} of computing; sharing stages saved {human_seconds(float(saved_s))}."
    return Chapter("plan", "Plan against actual", [Text(words), table_of(shown, heads, caption)])


def _expected(dossier: Dossier, facts: pd.DataFrame, column: str, words: Callable[[float], str]) -> list[str]:
    """What the plan expected of each stage, in words; empty without a plan."""
    if dossier.planned is None:
        return [""] * len(facts)
    known = facts[[column, "exact"]].itertuples(index=False)
    return ["?" if pd.isna(value) else f"{'' if exact else '≤ '}{words(value)}" for value, exact in known]


def _runs_in_words(dossier: Dossier) -> str:
    recorded, total = len(per_run(dossier.frame)), dossier.total_runs
    return f"{recorded:,} runs are recorded." if total is None else f"{recorded:,} of {total:,} runs are recorded."


def ranking(dossier: Dossier) -> Chapter:
    """The configurations in their order, with intervals."""
    facts = ranking_facts(dossier)
    if facts.empty:
        return Chapter("ranking", "Ranking", [Text("No configuration is complete, legal and within budget yet.")])
    caption = (
        "Configurations by their mean over seeds; the dashed line is the baseline. Intervals hold the spread between "
        f"seeds; where runs share a trained artifact, their differences below are far sharper.{left_out(facts)}"
    )
    heads = {
        "rank": "rank", "status": "status", "label": "configuration", "n": "seeds", "mean": "mean (bits per byte)",
        "sd": "sd", "ci95_low": "95 % from", "ci95_high": "to", "total_bytes": "bytes", "eval_s": "scoring (s)",
    }  # fmt: skip
    table = dossier.table.assign(label=dossier.table["config"].map(dossier.label))
    parts: list[Part] = [
        plot("ranking", "Ranking", ranking_figure(facts), caption),
        table_of(table, heads, "Every configuration with its spread over seeds."),
    ]
    metrics = ((dossier.example or {}).get("stages", {}).get("val_text") or {}).get("metrics")
    if metrics:
        means = table.set_index("config")["mean"]
        lines = scale_lines(metrics, means.get(dossier.baseline), means.get(dossier.best))
        parts.append(Code("For scale, the same text under codes that need no model:", "\n".join(lines)))
    return Chapter("ranking", "Ranking", parts)


def differences(dossier: Dossier) -> Chapter:
    """Gains over the baseline with their intervals and tests."""
    facts = gain_facts(dossier)
    if facts.empty:
        return Chapter("differences", "Differences", [Text("Nothing was compared: there is only one configuration.")])
    caption = (
        "Gain over what each is compared with, 95 % interval; small dots are pairs that share a trained artifact. "
        f"◆ shown, ● not shown.{left_out(facts)}"
    )
    heads = {
        "label": "configuration", "conclusion": "verdict", "gain": "gain (bits per byte)", "low": "95 % from",
        "high": "to", "margin": "margin", "n": "n", "test": "test", "p": "p", "p_corrected": "p, corrected",
        "reason": "reason",
    }  # fmt: skip
    signed = {name: facts[name].map("{:+.5f}".format).replace("+nan", "") for name in ("gain", "low", "high")}
    signed |= {name: facts[name].map("{:.2g}".format, na_action="ignore") for name in ("p", "p_corrected")}
    table = table_of(facts.assign(**signed), heads, "Each difference with the test behind its verdict.")
    return Chapter("differences", "Differences", [plot("gains", "Gains", gain_figure(facts), caption), table])


def importance(dossier: Dossier) -> Chapter:
    """Which knobs told the best configurations from the rest."""
    facts, reason = importance_facts(dossier)
    if reason:
        return Chapter("importance", "Parameter importance", [Text(f"Not shown: {reason}.")])
    above = [str(key) for key in facts.loc[facts["above_chance"], "key"]]
    told = f"More than chance explains: {', '.join(above)}." if above else "No key stands out from chance."
    percent = facts.assign(share=facts["share"].map("{:.0%}".format), by_chance=facts["by_chance"].map("{:.0%}".format))
    heads = {"key": "key", "share": "share", "by_chance": "by chance", "above_chance": "above chance"}
    caption = "PED-ANOVA: which keys tell the best configurations from the rest; grey bars are within chance."
    figure = plot(
        "importance",
        "Parameter importance",
        importance_figure(facts),
        caption,
        table_of(percent, heads, "The shares as numbers"),
    )
    return Chapter("importance", "Parameter importance", [Text(told), figure])


def scatter(dossier: Dossier) -> Chapter:
    """Every run over the values of each swept key, and every declared run with what became of it."""
    facts, told = scatter_facts(dossier)
    if facts.empty:
        return Chapter("seeds", "Seeds", [Text(f"No figure: {told}."), *_spread(dossier)])
    caption = f"Each run over the values of each swept key; lines join runs of one trained artifact. {told}".strip()
    return Chapter("seeds", "Seeds", [plot("scores", "Scores", score_figure(facts), caption), *_spread(dossier)])


def _spread(dossier: Dossier) -> list[Part]:
    return [outcomes(dossier), *(Text(line) for line in spread_lines(dossier))]


def outcomes(dossier: Dossier) -> Text:
    """How many of the declared runs ended how; none is passed over."""
    runs = per_run(dossier.frame)
    finished = is_finished(runs)
    found = {"done with a result": int(finished.sum())}
    found |= {str(status): int(count) for status, count in runs.loc[~finished, "status"].value_counts().items()}
    if dossier.total_runs is not None and dossier.total_runs > len(runs):
        found["declared and not run yet"] = dossier.total_runs - len(runs)
    told = ", ".join(f"{count:,} {words}" for words, count in found.items())
    return Text(f"Every seed that was started counts: {told}.")


def curves(dossier: Dossier) -> Chapter:
    """The training loss of each distinct training."""
    facts = curve_facts(dossier)
    missing, not_drawn = facts.attrs["num_missing"], facts.attrs["num_left_out"]
    gone = f" {missing:,} are no longer in the store." if missing else ""
    if facts.empty:
        return Chapter("curves", "Learning curves", [Text(f"No learning curve is at hand.{gone}")])
    cut = f" {not_drawn:,} further trainings are not drawn." if not_drawn else ""
    steps = facts["num_steps"].max()
    averaged = f" Each point is the mean of up to {steps} steps." if steps > 1 else ""
    caption = f"Training loss of each distinct training.{averaged}{cut}{gone}"
    return Chapter("curves", "Learning curves", [plot("curves", "Learning curves", curve_figure(facts), caption)])


def spending(dossier: Dossier) -> Chapter:
    """Bytes and seconds against their limits."""
    limits = limit_facts(dossier)
    if limits.empty:
        return Chapter("budget", "Budget use", [Text("No run says what it used.")])
    used = use_facts(dossier)
    words = limits.assign(
        **{
            name: [in_words(column, value) for column, value in zip(limits["column"], limits[name], strict=True)]
            for name in ("smallest", "median", "largest", "limit")
        },
        used=limits["used"].map("{:.1%}".format),
    )
    heads = {name: name for name in limits} | {"over": "runs over", "used": "most used"}
    caption = f"What each configuration used at most over its seeds; the baseline stands on top.{left_out(used)}"
    parts = [plot("budget", "Budget use", use_figure(used, limits), caption)] if len(used) else []
    return Chapter("budget", "Budget use", [*parts, table_of(words, heads, "Limits, and what all runs used.")])


def failures(dossier: Dossier) -> Chapter:
    """What went wrong, grouped by its message."""
    runs = per_run(dossier.frame)
    errors = runs["error"].fillna("").str.strip()
    broken = runs[(runs["status"] == "failed") | (errors != "") | ((runs["status"] == "done") & ~is_finished(runs))]
    unreadable = dossier.frame.attrs.get("unreadable", [])
    parts: list[Part] = []
    if broken.empty and not unreadable:
        parts.append(Text("Nothing failed."))
    if len(broken):
        parts += _failed(broken.assign(error=errors[broken.index].where(errors[broken.index] != "", "no finite score")))
    if unreadable:
        parts.append(
            Code(f"{len(unreadable):,} records could not be read and are in no table:", "\n".join(unreadable[:20]))
        )
    return Chapter("failures", "Failures", parts)


def _failed(broken: pd.DataFrame) -> list[Part]:
    message = broken["error"].map(lambda error: error.splitlines()[-1])
    run = broken["config"] + " seed " + broken["seed"].astype("str")
    groups = pd.DataFrame({"message": message, "run": run, "error": broken["error"]}).groupby("message", sort=False)
    table = groups.agg(runs=("run", "size"), example=("run", "first"), error=("error", "first")).reset_index()
    table = table.sort_values("runs", ascending=False, kind="stable")
    heads = {"message": "message", "runs": "runs", "example": "for example"}
    longer = table[table["error"] != table["message"]].head(5)
    details = [Code(f"In full: {row['example']}", row["error"], folded=True) for row in longer.to_dict("records")]
    return [table_of(table, heads, f"{len(broken):,} runs have no result, by their message."), *details]


def reproduction(dossier: Dossier) -> Chapter:
    """Commands, recipe, commit, versions and hardware."""
    example, runs = dossier.example, dossier.frame
    parts: list[Part] = []
    if dossier.commands:
        parts.append(Code("The sweep again; space.yaml stands under Question:", "\n".join(dossier.commands)))
    origin = {"commit": "Commit", "hardware": "Hardware", "versions": "Versions"}
    rows = [[name, words, f"{count:,}"] for column, name in origin.items() for words, count in _counted(runs[column])]
    if rows:
        caption = "Where the runs were made. A '+' behind a commit: the checkout had changes."
        parts.append(Table(caption, ["What", "Which", "Runs"], rows, [False, False, True]))
    if example:
        parts.append(_recipe(example))
    return Chapter("reproduce", "How to reproduce", parts or [Text("These runs are published elsewhere.")])


def _counted(column: pd.Series) -> Sequence[tuple[str, int]]:
    return [(str(words), int(count)) for words, count in column.dropna().value_counts().head(10).items()]


def _recipe(example: Mapping[str, Any]) -> Code:
    caption = (
        f"The full recipe of run {example['run_id']} (preset {example['preset']}, started {example['started_at']})"
    )
    return Code(caption, json.dumps(example["recipe"], indent=1), folded=True)


def plot(name: str, title: str, figure: Figure, caption: str, facts: Table | None = None) -> Plot:
    """A figure of ours as a part of the page."""
    return Plot(Markup(as_svg(figure, name, title, caption)), caption, facts)  # noqa: S704  its words are escaped


def left_out(facts: pd.DataFrame) -> str:
    """' 12 others are not drawn.', or nothing."""
    count = int(facts["num_left_out"].iloc[0]) if len(facts) else 0
    return f" {count:,} others are not drawn." if count else ""


CHAPTERS = (
    verdict, question, plan, ranking, differences, importance, scatter, curves, spending, failures, reproduction
)  # fmt: skip
