"""What can be said about a configuration, as a frozen value and as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["nats", "bpb"]
SCORE_IN: dict[Unit, str] = {"nats": "val_loss", "bpb": "val_bpb"}
"""The column that is compared when the margin is in this unit."""


@dataclass(frozen=True)
class Effect:
    """Candidate minus baseline in one unit; negative is better."""

    difference: float
    low: float
    high: float
    """Ends of the two-sided 95 % interval."""
    margin: float


@dataclass(frozen=True)
class Verdict:
    """What can be said about one configuration against the baseline, and on what evidence."""

    config: str
    baseline: str
    conclusion: Literal["better", "not shown", "cannot say"]
    alpha: float
    exploratory: bool
    """The same seeds chose the configuration, or more were added after a look: p is invalid; confirm on fresh ones."""
    sweep: str = ""
    """The sweep of the configuration, where it has one."""
    reason: str = ""
    """Why nothing can be said; then everything below is empty."""
    test: str = ""
    assumption: str = ""
    n_candidate: int | None = None
    n_baseline: int | None = None
    nats: Effect | None = None
    """Per token; None when the arms' tokenizers differ or nats are not known."""
    bpb: Effect | None = None
    t: float | None = None
    df: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    num_comparisons: int = 1
    correlation: float | None = None
    """Between arms paired by artifact."""
    p_no_worse: float | None = None
    """p of 'no worse than the baseline by the margin'."""
    sign_flip_p: float | None = None
    """Exact p without the normal assumption; None unless there are pairs enough to reach alpha."""
    bootstrap_bpb: tuple[float, float] | None = None
    """95 % bootstrap interval of the difference; None below ten runs an arm."""
    race: str = ""
    """What became of it in a race; then the intervals hold at every look together."""
    looks: tuple[int, int] | None = None
    """Seeds at the first and the last look of a race."""
    settle: str = ""
    """The command that puts the winner to fresh seeds, in full; empty where nobody said where its sweep lies."""

    @property
    def sentence(self) -> str:
        """The verdict in words for somebody who never heard of a t-test."""
        if self.bpb is None:
            return f"{self.config} against {self.baseline}: cannot say, {self.reason}."
        gain = -self.bpb.difference
        direction = "better" if gain >= 0 else "worse"
        measured = f"{self.config} scores {_amount(self, abs(gain))} {direction} than {self.baseline}"
        which = "interval for all looks together" if self.looks else "95 % interval"
        interval = f"{which} of the gain {-self.bpb.high:.5f} to {-self.bpb.low:.5f} bits per byte"
        claim = f"a gain of more than {_margin(self)}" if self.bpb.margin else "a gain"
        found = {"better": "suggested" if self.exploratory else "shown"}.get(self.conclusion, "not shown")
        told = f"{measured} ({interval}). At alpha = {self.alpha:g} {claim} is {found}: {_evidence(self)}."
        told += _no_worse(self)
        warning = " Exploratory: the choice was made on these very seeds; settle it with: "
        warning += self.settle or f"orchestrator confirm {self.sweep or 'NAME'}"
        return told + (warning if self.exploratory else "")


def _amount(verdict: Verdict, bpb: float) -> str:
    nats = "" if verdict.nats is None else f" ({abs(verdict.nats.difference):.5f} nats per token)"
    return f"{bpb:.5f} bits per byte{nats}"


def _margin(verdict: Verdict) -> str:
    assert verdict.bpb is not None
    nats = "" if verdict.nats is None else f" ({verdict.nats.margin:.4g} nats)"
    return f"{verdict.bpb.margin:.4g} bits per byte{nats}"


def _evidence(verdict: Verdict) -> str:
    """'paired t-test over 3 shared artifacts, p = 0.0007'."""
    runs = f"on {verdict.n_candidate} against {verdict.n_baseline} runs"
    if verdict.test == "paired t-test":
        runs = f"over {verdict.n_candidate} shared artifacts"
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


def _no_worse(verdict: Verdict) -> str:
    """A loss that can be excluded, where a gain could not be shown; said of one comparison, without correction."""
    if verdict.conclusion == "better" or not verdict.bpb or not verdict.bpb.margin or verdict.p_no_worse is None:
        return ""
    if verdict.p_no_worse >= verdict.alpha:
        return ""
    return f" It is no worse by {_margin(verdict)}: p = {verdict.p_no_worse:.2g}."
