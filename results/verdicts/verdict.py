"""What can be said about a configuration, as a frozen value and as a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from results.rows.ranking import Breach, Measure, Ranking
from results.rows.score_text import largest_of, score_text
from results.stats.many_against_one import Correction

CHOSEN_ON_THESE_SEEDS = "the choice was made on these very seeds"
OUTCOMES_KNOWN = "the outcome of some of these seeds was known when they were declared"
OTHER_TERMS = "its terms were chosen after the results were known"
Unit = Literal["nats", "bpb"]
Headline = Literal["better", "not shown", "cannot say", "infeasible"]
SCORE_IN: dict[Unit, str] = {"nats": "val_loss", "bpb": "val_bpb"}
"""The column that is compared when the margin is in this unit."""


def other_order(ranking: Ranking, compared: Measure = Measure()) -> str:  # noqa: B008  a frozen value
    """What to know where configurations are ranked by one number and compared by another; empty where both agree."""
    both_scores = {ranking.metric, compared.column} <= set(SCORE_IN.values())
    if (both_scores or ranking.metric == compared.column) and ranking.higher_first == compared.higher_first:
        return ""
    which = "higher is better" if compared.higher_first else "lower is better"
    return f"Ranked by {ranking.axis}; compared by {compared.column} ({compared.unit}, {which})."


@dataclass(frozen=True)
class Effect:
    """Candidate minus baseline in one unit; negative is better."""

    difference: float
    low: float
    high: float
    """Ends of the interval at the level of the decision: it lies beyond the margin where the verdict is 'better'."""
    margin: float
    error: float
    """Standard error of the difference."""
    at_least: float = -math.inf
    """Lower bound of the gain; those of all configurations hold together with probability 1 - alpha."""
    shrunken: float | None = None
    """The difference with the candidate's mean drawn toward those of the others, since the best was selected."""

    @property
    def expected_gain(self) -> float:
        """The gain to plan with: shrunken where there is a shrunken one."""
        return -(self.difference if self.shrunken is None else self.shrunken)

    @property
    def largest(self) -> float:
        """The largest finite magnitude of gain and interval, which are read beside each other."""
        return largest_of((self.difference, self.low, self.high))

    def with_ends(self, critical: float, at_least: float) -> Effect:
        """The same with an interval of so many standard errors to either side."""
        half = critical * self.error
        return replace(self, low=self.difference - half, high=self.difference + half, at_least=at_least)


@dataclass(frozen=True)
class Verdict:
    """What can be said about one configuration against the baseline, and on what evidence.

    Two things are kept apart: the `conclusion` is about scores alone, and `breaches` say why the configuration may not
    win whatever its score (a limit, its budget, legality). `headline` and `sentence` put the second first, so that an
    infeasible configuration is never announced as better.
    """

    config: str
    baseline: str
    conclusion: Literal["better", "not shown", "cannot say"]
    alpha: float
    exploratory: bool
    """p is not valid as evidence, for the reason below."""
    exploratory_because: str = ""
    """The same seeds chose the configuration, their outcomes were known, alpha is spent, or terms came afterwards."""
    sweep: str = ""
    """The sweep of the configuration, where it has one."""
    declared_alpha: float | None = None
    """Of the search space, where this attempt has a part of it only."""
    reason: str = ""
    """Why there is no verdict; then everything below is empty."""
    test: str = ""
    assumption: str = ""
    block: Literal["", "artifact", "seed"] = ""
    """What paired the runs of the two arms; empty where nothing did."""
    variance: Literal["own", "shared"] = "own"
    """Whose spread it was judged by, as declared."""
    n_candidate: int | None = None
    n_baseline: int | None = None
    """0 where a number stands for the baseline."""
    nats: Effect | None = None
    """Per token; None when the arms' tokenizers differ or nats are not known."""
    bpb: Effect | None = None
    """In bits per byte; of an imported metric in its own `unit`, turned so that lower is better."""
    unit: str = "bits per byte"
    """Unit of `bpb`."""
    t: float | None = None
    df: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    num_comparisons: int = 1
    correction: Correction = "holm"
    """How p was corrected over the configurations of the sweep."""
    interval_level: float | None = None
    """Coverage of the interval of this comparison alone; higher the more configurations are compared."""
    correlation: float | None = None
    """Between the arms, where they were paired."""
    p_new_run_better: float | None = None
    """Probability that a new run of it scores better than a new run of the baseline, seeds drawn apart."""
    p_no_worse: float | None = None
    """p of 'no worse than the baseline by the margin', of this comparison alone."""
    p_no_worse_corrected: float | None = None
    """The same corrected over the configurations of the sweep."""
    sign_flip_p: float | None = None
    """Exact p without the normal assumption; None unless there are pairs enough to reach alpha."""
    bootstrap_bpb: tuple[float, float] | None = None
    """95 % bootstrap interval of the difference; None below ten runs an arm."""
    race: str = ""
    """What became of it in a race; then the intervals hold at every look together."""
    looks: tuple[int, int] | None = None
    """Seeds at the first and the last look of a race."""
    settle: str = ""
    """The command that runs the winner on fresh seeds, in full; empty where its sweep is not known."""
    breaches: tuple[Breach, ...] = ()
    """Why the configuration is infeasible; empty if it may be ranked."""
    baseline_breaches: tuple[Breach, ...] = ()
    """The same of the baseline, which is a measure and no candidate."""

    @property
    def headline(self) -> Headline:
        """The conclusion in a word or two; 'infeasible' goes before any conclusion about the score."""
        return "infeasible" if self.breaches else self.conclusion

    @property
    def word(self) -> Headline | Literal["suggested"]:
        """The headline for people: a gain that is exploratory is suggested, not better."""
        return "suggested" if self.headline == "better" and self.exploratory else self.headline

    @property
    def sentence(self) -> str:
        """The verdict in words for readers without statistics."""
        sentence = _of_scores(self)
        if self.conclusion == "better" and (warning := few_seeds_warning(self)):
            sentence += f" Warning: {warning}."
        if self.breaches:
            sentence = f"{self.config} is infeasible: {_listed(self.breaches)}. Its score alone: {sentence}"
        elif self.exploratory and self.bpb is not None:
            sentence += f" Exploratory: {self.exploratory_because}."
            if self.exploratory_because == CHOSEN_ON_THESE_SEEDS:
                sentence = f"{sentence[:-1]}; settle it with: "
                sentence += self.settle or f"orchestrator confirm {self.sweep or 'NAME'}"
        if self.baseline_breaches:
            sentence += f"{'' if sentence.endswith('.') else '.'} {self.baseline} is itself infeasible"
            sentence += f" ({_listed(self.baseline_breaches)})."
        return sentence


def percent(level: float | None) -> str:
    """'99.7 %': as many digits as tell a high level from a higher one."""
    if level is None:
        return "95 %"
    digits = max(0, math.ceil(-math.log10(1 - level)) - 2) if level < 1 else 0
    return f"{100 * level:.{digits}f} %"


LEAST_SEEDS = 3
"""Seeds from which a spread says something; a 'better' from fewer is warned of."""


def few_seeds_warning(verdict: Verdict) -> str:
    """What a verdict on two runs has to be told with, or the empty string."""
    fewest = min(verdict.n_candidate or LEAST_SEEDS, verdict.n_baseline or LEAST_SEEDS)
    if fewest >= LEAST_SEEDS:
        return ""
    return f"from {fewest} seeds each: so few hardly show how far runs scatter; run at least {LEAST_SEEDS}"


def selected_gain(verdict: Verdict) -> str:
    """' (expect 0.01600: it was selected as the best of 6)': empty for one that was compared alone."""
    if verdict.num_comparisons < 2 or verdict.bpb is None or verdict.bpb.shrunken is None:
        return ""
    expected = score_text(verdict.bpb.expected_gain, verdict.unit, beside=verdict.bpb.largest)
    return f" (expect {expected}: it was selected as the best of {verdict.num_comparisons})"


def _listed(breaches: Sequence[Breach]) -> str:
    return "; ".join(map(str, breaches))


def _of_scores(verdict: Verdict) -> str:
    """What the scores say, feasible or not."""
    if verdict.bpb is None:
        return f"{verdict.config} against {verdict.baseline}: cannot say, {verdict.reason}."
    gain = -verdict.bpb.difference
    direction = "better" if gain >= 0 else "worse"
    measured = f"{verdict.config} scores {_amount(verdict, abs(gain))} {direction} than {verdict.baseline}"
    which = "interval for all looks together" if verdict.looks else f"{percent(verdict.interval_level)} interval"
    beside = verdict.bpb.largest
    low, high = (score_text(-end, verdict.unit, beside=beside) for end in (verdict.bpb.high, verdict.bpb.low))
    interval = f"{which} of the gain {low} to {high} {verdict.unit}"
    claim = f"a gain of more than {_margin(verdict)}" if verdict.bpb.margin else "a gain"
    shown = {"better": "suggested" if verdict.exploratory else "shown"}.get(verdict.conclusion, "not shown")
    sentence = f"{measured} ({interval}). At alpha = {verdict.alpha:g} {claim} is {shown}: {_evidence(verdict)}."
    return sentence + _no_worse(verdict) + _new_run(verdict)


def _amount(verdict: Verdict, bpb: float) -> str:
    nats = "" if verdict.nats is None else f" ({abs(verdict.nats.difference):.5f} nats per token)"
    beside = verdict.bpb.largest if verdict.bpb else 0.0
    return f"{score_text(bpb, verdict.unit, beside=beside)} {verdict.unit}{nats}"


def _margin(verdict: Verdict) -> str:
    assert verdict.bpb is not None
    nats = "" if verdict.nats is None else f" ({verdict.nats.margin:.4g} nats)"
    return f"{verdict.bpb.margin:.4g} {verdict.unit}{nats}"


def _evidence(verdict: Verdict) -> str:
    """'paired t-test over 3 shared artifacts, p = 0.0007'."""
    runs = f"on {verdict.n_candidate} against {verdict.n_baseline} runs"
    if verdict.n_baseline == 0:
        runs = f"on {verdict.n_candidate} runs"
    if verdict.block:
        runs = f"over {verdict.n_candidate} shared {verdict.block}s"
        runs += "" if verdict.correlation is None else f" (correlation {verdict.correlation:.2f})"
    if verdict.looks:
        first, last = verdict.looks
        shared = f"alpha is shared by looks after {first} to {last} seeds at {verdict.num_comparisons} configurations"
        return f"{verdict.test} {runs}, p = {verdict.p:.2g} at its last look ({shared}); {verdict.race}"
    corrected = ""
    if verdict.num_comparisons > 1:
        corrected = f", {verdict.p_corrected:.2g} after correction for {verdict.num_comparisons} comparisons"
    flips = "" if verdict.sign_flip_p is None else f"; by sign flips p = {verdict.sign_flip_p:.2g}"
    return f"{verdict.test} {runs}, p = {verdict.p:.2g}{corrected}{flips}"


def _new_run(verdict: Verdict) -> str:
    """How likely a single new run of it is to score better: the size of the effect beside the spread of single runs."""
    if verdict.p_new_run_better is None:
        return ""
    other = verdict.baseline if verdict.n_baseline == 0 else f"a new run of {verdict.baseline}"
    return f" A new run of {verdict.config} beats {other} in {_percent(verdict.p_new_run_better)} of cases."


def _percent(probability: float) -> str:
    """Never 0 % or 100 % for what is only nearly so."""
    if probability > 0.999:
        return "more than 99.9 %"
    return "less than 0.1 %" if probability < 0.001 else f"{probability:.1%}".replace("%", " %")


def _no_worse(verdict: Verdict) -> str:
    """A loss that can be excluded, where a gain could not be shown."""
    p = verdict.p_no_worse_corrected
    if verdict.conclusion == "better" or not verdict.bpb or not verdict.bpb.margin or p is None or p >= verdict.alpha:
        return ""
    corrected = " after correction" if verdict.num_comparisons > 1 else ""
    return f" It is no worse by {_margin(verdict)}: p = {p:.2g}{corrected}."
