"""Parameter importance: PED-ANOVA over the configurations of a sweep, compared with chance.

It shows which fields separate the best configurations from the rest, not which values are better. Noise makes every
field look a little important, so each one is shown beside the share it would get if scores were random.
Source: Watanabe, Bansal, Hutter 2023, "PED-ANOVA"; Optuna's implementation.
"""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from results.figures.style import GREY, INK, OKABE_ITO, axis_words, bar_height, name_rows, new_figure, rows_in, tidy
from results.verdicts.sweep_results import SweepResults

FEWEST = 20
"""Complete configurations below which no share is worth printing."""
BEST = 5
"""Least number of configurations that count as the best: what PED-ANOVA's authors ask for."""
BEST_SHARE = 0.1
NUM_SHUFFLES = 200
MOST_CONFIGURATIONS = 2000
"""The shuffles of more than these would take minutes and tell the same; the sample is even over ranks."""


def importance_facts(sweep: SweepResults) -> tuple[pd.DataFrame, str]:
    """One row per swept key, most important first, and why there is none; over ranked configurations, by the metric.

    Columns: key, share (of what all keys explain; they sum to 1), by_chance (the share that one key in twenty would
    reach if scores were shuffled), above_chance. The reason is empty when there are rows.
    """
    table = sweep.table
    arms = table[table["rank"].notna() & ~table["is_baseline"]]
    if arms.empty and (why := sweep.why_none_is_best):
        return pd.DataFrame(columns=["key", "share", "by_chance", "above_chance"]), why
    keys = [key for key in sweep.swept_keys if arms[key].dropna().map(_word).nunique() > 1]
    if reason := _too_little(len(arms), keys):
        return pd.DataFrame(columns=["key", "share", "by_chance", "above_chance"]), reason
    arms = arms.iloc[:: math.ceil(len(arms) / MOST_CONFIGURATIONS)]
    explained, shuffled = _explained(arms[keys], sweep.ranking.ascending(arms["mean"].to_numpy(dtype="float64")))
    total = sum(explained.values()) or 1.0
    facts = pd.DataFrame({"key": keys, "share": [explained[key] / total for key in keys]})
    facts["by_chance"] = [float(np.quantile([deal[key] for deal in shuffled], 0.95)) / total for key in keys]
    facts["above_chance"] = facts["share"] > facts["by_chance"]
    return facts.sort_values("share", ascending=False).reset_index(drop=True), ""


def _too_little(num_arms: int, keys: list[str]) -> str:
    if not keys:
        return "no key was swept over more than one value"
    if len(keys) == 1:
        return f"{keys[0]} is the only swept key, so there is none to compare it with"
    if num_arms < FEWEST:
        return f"{num_arms} configurations beside the baseline are ranked, and at least {FEWEST} are needed"
    return ""


def _explained(values: pd.DataFrame, scores: np.ndarray) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Variance that each key explains, for the scores as they are and for each shuffle of them."""
    study = _study(values)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(1.0, max(BEST_SHARE, BEST / len(values))))

    def explained(dealt: np.ndarray) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that low scores count as good, which is meant
            return evaluator.evaluate(study, target=lambda trial: float(dealt[trial.number]))

    dice = np.random.default_rng(0)
    return explained(scores), [explained(dice.permutation(scores)) for _ in range(NUM_SHUFFLES)]


def _study(values: pd.DataFrame) -> optuna.Study:
    """The configurations as Optuna's trials; a key that is empty for a configuration is no parameter of it."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(verbosity)
    spans = {key: _span(values[key].dropna()) for key in values}
    for row in values.to_dict("records"):
        given = {str(key): value for key, value in row.items() if not pd.isna(value)}
        params = {key: float(v) if isinstance(spans[key], FloatDistribution) else _word(v) for key, v in given.items()}
        study.add_trial(create_trial(params=params, distributions={key: spans[key] for key in params}, value=0.0))
    return study


def _span(values: pd.Series[Any]) -> BaseDistribution:
    """What was searched, as far as the values tell: numbers between their ends, words one by one."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return CategoricalDistribution(sorted({_word(value) for value in values}))
    low, high = float(values.min()), float(values.max())
    return FloatDistribution(low, high, log=low > 0 and high / low > 10)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def importance_figure(facts: pd.DataFrame) -> Figure:
    """Each key's share as a bar, and a line where chance alone would reach."""
    figure = new_figure(1.3 + rows_in(len(facts), 0.42))
    ax = figure.subplots()
    tidy(ax, "x")
    colours = [OKABE_ITO[0] if above else GREY for above in facts["above_chance"]]
    ax.barh(range(len(facts)), facts["share"] * 100, color=colours, height=bar_height())
    ax.scatter(facts["by_chance"] * 100, range(len(facts)), marker="|", s=260, color=INK, linewidths=1.8, zorder=3)
    name_rows(ax, list(facts["key"]))
    ax.set_xlim(left=0)
    ax.set_xlabel(axis_words("share of what all keys explain (%); the mark is what chance reaches once in twenty"))
    return figure
